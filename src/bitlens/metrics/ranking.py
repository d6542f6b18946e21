"""Parts of an input in the order of a map: tiles of an image, tokens of a text.

Units are ranked once. Which of them are changed after k steps is then one comparison on the device: rank < k.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.errors import SettingError


@dataclass(frozen=True)
class Tiles:
    """A picture cut into square tiles from its upper left corner; those at the other edges may be smaller.

    Attributes:
        size: (H, W) in pixels.
        side: of a tile, in pixels.
    """

    size: tuple[int, int]
    side: int

    def __post_init__(self) -> None:
        if not isinstance(self.side, int) or not 0 < self.side <= min(self.size):
            raise SettingError(
                f"tile must be a whole number of pixels from 1 to {min(self.size)}, the image's shorter side; got {self.side!r}"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles in a column and in a row."""
        return -(-self.size[0] // self.side), -(-self.size[1] // self.side)

    @property
    def count(self) -> int:
        """Return how many there are."""
        return self.grid[0] * self.grid[1]

    def means(self, maps: Tensor) -> Tensor:
        """Return the mean of each tile: (n, H, W) → (n, count), float64."""
        pooled = F.avg_pool2d(maps[:, None].double(), self.side, ceil_mode=True, count_include_pad=False)
        return pooled.flatten(1)

    def sums(self, maps: Tensor) -> Tensor:
        """Return sum over each tile: (n, H, W) → (n, count), float64."""
        pooled = F.avg_pool2d(maps[:, None].double(), self.side, ceil_mode=True, divisor_override=1)
        return pooled.flatten(1)

    def spread(self, values: Tensor) -> Tensor:
        """Return a value per tile (..., count), given to all its pixels: (..., H, W)."""
        pixels = values.reshape(*values.shape[:-1], *self.grid)
        if self.side > 1:
            pixels = pixels.repeat_interleave(self.side, -2).repeat_interleave(self.side, -1)
        return pixels[..., : self.size[0], : self.size[1]]


def tie_order(units: int, seed: int) -> Tensor:
    """Return the order in which units of equal score are taken: random, the same for all samples (units,).

    That of the first units does not depend on how many follow, so a text's does not depend on its padding.
    """
    return torch.from_numpy(np.random.default_rng(seed).random(units).argsort(kind="stable"))


def ranks(scores: Tensor, *, descending: bool, seed: int) -> Tensor:
    """Return the place of each unit in the order of scores, from 0: (n, units) → (n, units) int32. Ties: see `tie_order`."""
    shuffle = tie_order(scores.shape[1], seed).to(scores.device)
    order = shuffle[scores[:, shuffle].argsort(dim=1, descending=descending, stable=True)]
    places = torch.arange(scores.shape[1], dtype=torch.int32, device=scores.device)
    return torch.empty_like(order, dtype=torch.int32).scatter_(1, order, places.expand_as(order))


def by_rank(places: Tensor, counts: Sequence[int] | Tensor) -> Callable[[slice], Tensor]:
    """Return what is changed at each step: for some of V steps (v,), where the rank is below the step's count (v, n, ...).

    Args:
        places: (n, ...) ranks.
        counts: (V,) the same for all samples, or (V, n).
    """
    limits = torch.as_tensor(counts, dtype=places.dtype, device=places.device)
    limits = limits.reshape(*limits.shape, *[1] * (places.dim() + 1 - limits.dim()))
    return lambda steps: places[None] < limits[steps]
