"""Insertion and deletion: how fast the network finds the target as a map's highest pixels appear, or loses it.

Petsiuk et al., RISE (BMVC 2018), with the settings of Zhang et al., NeurIPS 2021 (algorithms G5).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.core.passes import Passes, RunOptions
from bitlens.errors import InputError, at_least, one_of
from bitlens.metrics.estimate import Estimate
from bitlens.metrics.perturbation import ImageGroup, Replacement, in_groups, replaced
from bitlens.metrics.ranking import Tiles, by_rank, ranks
from bitlens.probe import Network

Area = Literal["trapezoid", "released"]


@dataclass(frozen=True, eq=False)
class InsertionDeletion:
    """Two curves for every sample, and the areas under them.

    Attributes:
        share: (N, points) share of the pixels (or tokens) that is inserted or deleted, from 0.
        insertion: (N, points) value of the target (a probability for classes) as the highest are inserted.
        deletion: (N, points) the same as the highest are deleted; the first point is the sample itself.
    """

    share: Tensor
    insertion: Tensor
    deletion: Tensor

    def __post_init__(self) -> None:
        shapes = [tuple(t.shape) for t in (self.share, self.insertion, self.deletion)]
        if len(set(shapes)) > 1 or len(shapes[0]) != 2:
            raise InputError(f"share, insertion and deletion must all be (N, points); got {shapes}")

    @classmethod
    def join(cls, parts: Sequence["InsertionDeletion"]) -> "InsertionDeletion":
        """Return the samples of several parts; curves with fewer points stay at their last one, which adds nothing to areas.

        Raises:
            InputError: if there is no part.
        """
        if not parts:
            raise InputError("there is no part to join")
        points = max(part.share.shape[1] for part in parts)

        def joined(name: str) -> Tensor:
            curves = [getattr(part, name) for part in parts]
            return torch.cat([F.pad(c[None], (0, points - c.shape[1]), mode="replicate")[0] for c in curves])

        return cls(joined("share"), joined("insertion"), joined("deletion"))

    def insertion_areas(self, area: Area = "trapezoid") -> Tensor:
        """Return (N,) area under each insertion curve, in units of the value: in [0, 1] for probabilities, higher is better.

        Args:
            area: "trapezoid" over the share, from 0, divided by the last share if that is not 1; "released" as in the InputIBA
                code, which leaves the point at 0 out and spaces the others by one over their number.
        """
        return one_of("area", area, _AREAS)(self.insertion.double(), self.share.double())

    def deletion_areas(self, area: Area = "trapezoid") -> Tensor:
        """Return (N,) the same under each deletion curve: lower is better."""
        return one_of("area", area, _AREAS)(self.deletion.double(), self.share.double())

    def insertion_score(self, area: Area = "trapezoid") -> Estimate:
        """Return the mean over samples of `insertion_areas`; higher is better."""
        return Estimate.of(self.insertion_areas(area))

    def deletion_score(self, area: Area = "trapezoid") -> Estimate:
        """Return the mean over samples of `deletion_areas`; lower is better."""
        return Estimate.of(self.deletion_areas(area))


def _released(curves: Tensor, share: Tensor) -> Tensor:
    steps = share.diff() > 0  # none where a joined curve stays at its last point
    heights = (curves[:, 1:-1] + curves[:, 2:]) / 2
    return (heights * steps[:, 1:]).sum(1) / steps.sum(1)


_AREAS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "trapezoid": lambda curves, share: torch.trapezoid(curves, share) / share[:, -1],
    "released": _released,
}


def step_counts(units: int, points: int = 224, step: int | None = None) -> list[int]:
    """Say how many units are changed at each point of a curve, from 0 to all.

    Args:
        units: how many there are.
        points: in how many steps of equal size, not counting 0.
        step: how many units in one step, in place of `points`.
    """
    at_least(1, **({"points": points} if step is None else {"step": step}))
    if step is None:
        return sorted({round(j * units / points) for j in range(points + 1)})
    return [*range(0, units, step), units]


def insertion_deletion(
    model: nn.Module | Network,
    images: Any,
    targets: Any,
    maps: Tensor,
    *,
    points: int = 224,
    step: int | None = None,
    start: Replacement = "blur",
    replacement: Replacement = "zero",
    progress: Callable[[int], None] | None = None,
    **run: Unpack[RunOptions],
) -> InsertionDeletion:
    """Insert the pixels of an image in the order of a map, and delete them, and watch the target.

    Args:
        model: the network, left as it was (a `Network` keeps what it has learnt about inputs like these).
        images: (N, C, H, W), or a tuple or mapping of arguments of which the first tensor is the images; or series, volumes
            and tables.
        targets: None for the predicted class, a class index, (N,) indices, a `Target`, or a callable.
        maps: (N, H, W), higher means more relevant; any unit, only the order counts. Ties are broken at random, alike for
            all samples.
        points: in how many steps of equal size. Measured on photos, 224 came within 0.002 of five times as many, 56 within
            0.006.
        step: pixels in one step, in place of `points`. 10 is the exact mode of the paper: 5,018 points at 224 x 224,
            10,000 passes for each image.
        start: what pixels are inserted into: "blur" (29 pixels, σ = 15, borders mirrored), "zero", "mean" colour, or images.
        replacement: what takes the place of deleted pixels, one of the same.
        progress: called with the number of images measured so far.
        **run: `seed` of the order of ties; `precision` and `internal_batch_size`, see `Passes`. The rounding of bfloat16 moved
            the areas of photos by 0.01 (standard deviation) at most, without a direction.

    Returns:
        The curves of every image, on the CPU: 2 · points passes for each.

    Raises:
        InputError: if the inputs are no images, or maps do not fit them or are not finite, or they are too small to blur.
        TargetError: if the targets do not fit the network's output.
        SettingError: if a setting makes no sense.
    """
    passes = Passes(**run)

    def measure(group: ImageGroup) -> InsertionDeletion:
        tiles = Tiles.over(group.places, 1)
        counts = step_counts(tiles.count, points, step)
        places = tiles.spread(ranks(tiles.means(group.maps), descending=True, seed=passes.seed))[..., None]
        empty, fill = replaced(group, start, "start").expand_as(group.images), replaced(group, replacement)

        def curve(before: Tensor, after: Tensor, inner: list[int]) -> Tensor:
            return group.answers(before, after, by_rank(places, inner), len(inner))

        whole = group.clean[:, None]  # where deletion begins and insertion ends
        insertion = torch.cat([curve(empty, group.images, counts[:-1]), whole], 1).cpu()
        deletion = torch.cat([whole, curve(group.images, fill, counts[1:])], 1).cpu()
        share = torch.tensor(counts, dtype=torch.float64) / tiles.count
        return InsertionDeletion(share.expand(len(insertion), -1), insertion, deletion)

    return InsertionDeletion.join(in_groups(model, images, targets, maps, measure, passes, progress))
