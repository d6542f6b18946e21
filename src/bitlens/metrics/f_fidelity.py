"""F-Fidelity: what the target loses without a few of the important places, and without as few of the others.

Zheng et al., F-Fidelity: A Robust Framework for Faithfulness Evaluation of Explainable AI (ICLR 2025). Never more is deleted than
the network has been fine-tuned on (`in_domain`, with `RandomTiles`), so what it loses is not what any damage would cost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.core.passes import Passes, RunOptions
from bitlens.errors import SettingError, at_least
from bitlens.metrics.estimate import Estimate
from bitlens.metrics.perturbation import ImageGroup, Replacement, in_groups, replaced
from bitlens.metrics.ranking import Tiles, ranks
from bitlens.probe import Network

SIZES = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, eq=False)
class FFidelity:
    """Loss of the target's value, mean over draws.

    Attributes:
        sizes: (S,) shares of the tiles that are taken for the explanation.
        plus: (N, S) without some of the explanation: FFid+, higher is better.
        minus: (N, S) without some of the rest: FFid-, lower is better.
    """

    sizes: Tensor
    plus: Tensor
    minus: Tensor

    @classmethod
    def join(cls, parts: Sequence["FFidelity"]) -> "FFidelity":
        """Return the samples of several parts."""
        return cls(parts[0].sizes, *(torch.cat([getattr(part, name) for part in parts]) for name in ("plus", "minus")))

    def scores(self) -> Tensor:
        """Return (N,) the mean over sizes of FFid+ less FFid-: chance 0, higher is better."""
        return (self.plus - self.minus).mean(1)

    def score(self) -> Estimate:
        """Return the mean over samples of `scores`, with its standard error."""
        return Estimate.of(self.scores())


def f_fidelity(
    model: nn.Module | Network,
    images: Any,
    targets: Any,
    maps: Tensor,
    tile: int = 8,
    *,
    share: float = 0.1,
    part: float = 0.5,
    sizes: Sequence[float] = SIZES,
    draws: int = 10,
    replacement: Replacement = "zero",
    progress: Callable[[int], None] | None = None,
    **run: Unpack[RunOptions],
) -> FFidelity:
    """Delete some of the highest tiles by chance, then as large a part of the others, for several sizes of the explanation.

    As many go of the explanation as of the rest: `part` of the smaller of the two, and never more than `share` of all, which is
    what keeps the image among those that the network knows. The authors take `part` of each, so that more goes of the larger one
    and a random map scores below nothing; and they count how often the right class is still named, where the target's value (its
    probability) is watched here, which tells more of each image.

    Args:
        model: the network, fine-tuned on deletions of such tiles (`bitlens.metrics.in_domain`), left as it was.
        images: (N, C, H, W), or a tuple or mapping of arguments of which the first tensor is the images; or series, volumes and
            tables, whose tiles are windows, blocks and single features.
        targets: None for the predicted class, a class index, (N,) indices, a `Target`, or a callable.
        maps: (N, H, W), higher means more relevant; only the order of tiles counts.
        tile: side of a tile, in places.
        share: of the tiles that may go at most (beta of the paper).
        part: of the explanation or of the rest, whichever is smaller, that goes of both (alpha of the paper).
        sizes: shares of the tiles that are taken for the explanation, above 0 and below 1.
        draws: of each, for FFid+ and for FFid-.
        replacement: of deleted tiles; what the network was fine-tuned with.
        progress: called with the number of images measured so far.
        **run: `seed` of ties and, with the image's number, of draws; `precision` and `internal_batch_size`, see `Passes`.

    Returns:
        Both curves of every image, on the CPU: 2 * draws passes for each size.

    Raises:
        InputError: if the inputs have no places, or maps do not fit them or are not finite.
        TargetError: if the targets do not fit the network's output.
        SettingError: if a setting makes no sense.
    """
    passes, chosen = Passes(**run), sorted(set(sizes))
    at_least(1, draws=draws)
    for name, values in (("share", [share]), ("part", [part]), ("sizes", chosen)):
        if not values or not all(0 < value < 1 for value in values):
            raise SettingError(f"{name} must lie above 0 and below 1, got {values if name == 'sizes' else values[0]}")

    def measure(group: ImageGroup) -> FFidelity:
        tiles = Tiles.over(group.places, tile)
        order = ranks(tiles.means(group.maps), descending=True, seed=passes.seed)
        most = int(share * tiles.count)
        if most < 1:
            raise SettingError(
                f"share={share} of {tiles.count} tiles is less than one: use a smaller tile, or a larger share"
            )
        other = replaced(group, replacement)
        # Every image has draws of its own: with the same for all, a map's luck with them would be that of all its images
        generators = [torch.Generator().manual_seed(passes.seed + number) for number in range(len(maps))[group.samples]]

        def lost(size: float, *, explained: bool) -> Tensor:
            count = min(max(1, round(size * tiles.count)), tiles.count - 1)
            allowed = (order < count) == explained
            number = max(1, min(most, int(part * min(count, tiles.count - count))))
            keys = torch.stack(
                [torch.rand(draws, tiles.count, dtype=torch.float32, generator=generator) for generator in generators],
                1,
            )
            drawn = keys.to(order.device).masked_fill(~allowed, 2.0).argsort(2).argsort(2) < number
            gone = tiles.spread(drawn)[..., None]
            return (group.clean[:, None] - group.answers(group.images, other, gone.__getitem__, draws)).mean(1).cpu()

        plus, minus = (
            torch.stack([lost(size, explained=explained) for size in chosen], 1) for explained in (True, False)
        )
        return FFidelity(torch.tensor(chosen, dtype=torch.float64), plus, minus)

    return FFidelity.join(in_groups(model, images, targets, maps, measure, passes, progress))
