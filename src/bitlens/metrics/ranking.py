"""Parts of an input in the order of a map: tiles of an image, windows of a series, blocks of a volume, tokens of a text.

Units are ranked once. Which of them are changed after k steps is then one comparison on the device: rank < k.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.core.places import Places
from bitlens.errors import SettingError


@dataclass(frozen=True)
class Tiles:
    """A picture cut into square tiles from its upper left corner; those at the other edges may be smaller.

    Or a series cut into windows, a volume into blocks.

    Attributes:
        size: (H, W) in pixels, or how many places other inputs have along each axis.
        side: of a tile, in pixels, or one for each axis.
    """

    size: tuple[int, ...]
    side: int | tuple[int, ...]

    def __post_init__(self) -> None:
        sides = self.sides
        if len(sides) != len(self.size) or not all(
            isinstance(side, int) and 0 < side <= size for side, size in zip(sides, self.size, strict=True)
        ):
            raise SettingError(
                f"tile must be a whole number from 1 to {min(self.size)}, the shortest side of inputs of {self.size} places, or "
                f"one for each axis; got {self.side!r}"
            )

    @classmethod
    def over(cls, places: Places, side: "int | Sequence[int]") -> "Tiles":
        """Return the tiles of inputs with such places; features of a table have no neighbours and stand alone."""
        if places.unordered:
            return cls(places.size, 1)
        return cls(places.size, tuple(side) if isinstance(side, Sequence) else side)

    @property
    def sides(self) -> tuple[int, ...]:
        """Length of a tile along each axis."""
        return self.side if isinstance(self.side, tuple) else (self.side,) * len(self.size)

    @property
    def grid(self) -> tuple[int, ...]:
        """Tiles in a column and in a row."""
        return tuple(-(-size // side) for size, side in zip(self.size, self.sides, strict=True))

    @property
    def count(self) -> int:
        """Return how many there are."""
        return math.prod(self.grid)

    def means(self, maps: Tensor) -> Tensor:
        """Return the mean of each tile: (n, H, W) → (n, count), float64."""
        return self._pooled(maps, count_include_pad=False)

    def sums(self, maps: Tensor) -> Tensor:
        """Return sum over each tile: (n, H, W) → (n, count), float64."""
        return self._pooled(maps, divisor_override=1)

    def _pooled(self, maps: Tensor, **how: Any) -> Tensor:
        values, sides = maps[:, None].double(), self.sides
        if len(sides) == 1:  # a series is a picture of one row
            values, sides = values[:, :, None], (1, *sides)
        pool: Any = F.avg_pool2d if len(sides) == 2 else F.avg_pool3d
        pooled: Tensor = pool(values, sides, ceil_mode=True, **how)
        return pooled.flatten(1)

    def spread(self, values: Tensor) -> Tensor:
        """Return a value per tile (..., count), given to all its pixels: (..., H, W)."""
        pixels = values.reshape(*values.shape[:-1], *self.grid)
        for axis, (size, side) in enumerate(zip(self.size, self.sides, strict=True), -len(self.size)):
            pixels = pixels.repeat_interleave(side, axis) if side > 1 else pixels
            pixels = pixels.narrow(axis, 0, size)
        return pixels


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
