"""Degradation: how fast the network loses the target when what a map calls relevant goes first, and last.

Schulz et al., ICLR 2020, section 4.4 and equation 9 (algorithms G1).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.core.passes import Passes, RunOptions
from bitlens.errors import InputError, SettingError, one_of
from bitlens.metrics.estimate import Estimate
from bitlens.metrics.perturbation import ImageGroup, Replacement, in_groups, replaced
from bitlens.metrics.ranking import Tiles, by_rank, ranks
from bitlens.probe import Network

TileSchedule = Literal["full", "released"]
Integral = Literal["trapezoid", "mean"]


@dataclass(frozen=True, eq=False)
class Degradation:
    """Two curves for every sample. The first point is the original, the last one has everything replaced.

    Curves of single samples add nothing up: equation 9 normalises by means over the data set. So parts are joined first,
    and the set is scored.

    Attributes:
        removed: (points,) the share of tiles (or tokens) that is replaced, from 0 to 1.
        morf: (N, points) value of the target (a probability for classes), most relevant parts replaced first.
        lerf: (N, points) the same, least relevant parts first.
    """

    removed: Tensor
    morf: Tensor
    lerf: Tensor

    def __post_init__(self) -> None:
        if self.morf.dim() != 2 or self.morf.shape != self.lerf.shape or self.removed.shape != self.morf.shape[1:]:
            shapes = [tuple(t.shape) for t in (self.removed, self.morf, self.lerf)]
            raise InputError(f"removed, morf and lerf must be (points,), (N, points), (N, points); got {shapes}")

    @classmethod
    def join(cls, parts: Sequence["Degradation"]) -> "Degradation":
        """Return the samples of several parts, measured at the same points.

        Raises:
            InputError: if there is no part, or the points differ.
        """
        if not parts or any(not torch.equal(part.removed, parts[0].removed) for part in parts):
            raise InputError(f"only degradations measured at the same points can be joined; got {len(parts)} parts")
        return cls(parts[0].removed, torch.cat([p.morf for p in parts]), torch.cat([p.lerf for p in parts]))

    @property
    def drop(self) -> Tensor:
        """(N,) value of the original minus that of the sample with everything replaced."""
        return (self.morf[:, 0] - self.morf[:, -1]).double()

    def areas(self, integral: Integral = "trapezoid") -> Tensor:
        """Return (N,) area between the LeRF and the MoRF curve of each sample, in units of the value.

        Args:
            integral: "trapezoid" over the removed share, or "mean" of the points as in the released code (all but the last,
                which it does not record).
        """
        between = (self.lerf - self.morf).double()
        return one_of("integral", integral, _INTEGRALS)(between, self.removed.double())

    def contributions(self, integral: Integral = "trapezoid") -> Tensor:
        """Return (N,) what each sample adds to the score: their mean is the score, their standard error the score's.

        The score is a ratio of two means, area / drop; a sample counts as score + (area - score · drop) / mean drop, the
        first-order effect of leaving it in or out (delta method). Two methods on the same samples share the drops: pair
        their contributions to test a difference.
        """
        areas, drop = self.areas(integral), self.drop
        score = areas.mean() / drop.mean()
        return score + (areas - score * drop) / drop.mean()

    def score(self, *, integral: Integral = "trapezoid", normalise: Literal["set", "none"] = "set") -> Estimate:
        """Return the degradation score of the set: the integral of LeRF - MoRF over the removed share.

        Higher is better. 0 for random maps, negative where a map ranks the wrong way round, as a rule below 1.

        Args:
            integral: see `areas`.
            normalise: "set": values p become (p - b) / (t1 - b), equation 9, where t1 is the mean over these samples of the
                original's value and b that with everything replaced; without meaning unless t1 > b. "none": the mean of
                `areas`, as in the InputIBA code.

        Returns:
            With a standard error over samples, by the delta method (see `contributions`).
        """
        choices = {"set": self.contributions, "none": self.areas}
        return Estimate.of(one_of("normalise", normalise, choices)(integral))

    def curves(self) -> tuple[Tensor, Tensor]:
        """Return the mean MoRF and LeRF curve after equation 9, (points,) each: from 1 for the originals to 0."""
        top, bottom = self.morf[:, 0].double().mean(), self.morf[:, -1].double().mean()
        morf, lerf = self.morf.double().mean(0), self.lerf.double().mean(0)
        return (morf - bottom) / (top - bottom), (lerf - bottom) / (top - bottom)


_INTEGRALS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "trapezoid": torch.trapezoid,
    "mean": lambda curves, _removed: curves[:, :-1].mean(1),
}


def tile_counts(tiles: int, points: int = 100, schedule: TileSchedule = "full") -> list[int]:
    """Return how many tiles are replaced at each point, from 0 to all, without repetitions.

    Args:
        tiles: how many there are.
        points: at most how many counts.
        schedule: "full": evenly spread. "released": as the paper's code has them, 0, 1, 9, 17, ... for 784 tiles and 100
            points; that code stops short of replacing everything, which is added here for equation 9.
    """
    if not isinstance(points, int) or points < 3 or tiles < 2:
        raise SettingError(
            f"a curve needs 3 points or more and 2 tiles or more, got points={points!r} and {tiles} tiles"
        )
    even = [round(j * tiles / (points - 1)) for j in range(points)]
    released = [0, *(count + 1 for count in even[:-1] if count < tiles), tiles]
    return sorted(set(one_of("schedule", schedule, {"full": even, "released": released})))


def degradation(
    model: nn.Module | Network,
    images: Any,
    targets: Any,
    maps: Tensor,
    tile: int | Sequence[int] = 14,
    *,
    points: int = 100,
    schedule: TileSchedule = "full",
    replacement: Replacement = "mean",
    progress: Callable[[int], None] | None = None,
    **run: Unpack[RunOptions],
) -> Degradation:
    """Replace tiles in the order of a map, most relevant first and least relevant first, and watch the target.

    Args:
        model: the network, left as it was (a `Network` keeps what it has learnt about inputs like these).
        images: (N, C, H, W), or a tuple or mapping of arguments of which the first tensor is the images; or series, volumes
            and tables, whose tiles are windows, blocks and single features.
        targets: None for the predicted class, a class index, (N,) indices, a `Target`, or a callable.
        maps: (N, H, W), higher means more relevant; any unit, only the order counts. A tile's score is the mean of its
            pixels; tiles of equal score go in one random order, the same in both directions: a constant map scores 0.
        tile: side in pixels, 8 and 14 in the paper; or one for each axis of places.
        points: at most how many points a curve has (100 in the paper). Fewer are cheaper: on real networks and photos, 34
            moved the score of a photo by 0.01 (standard deviation) and that of 16 photos by 0.002 at most, 12 by 0.03 and
            0.01.
        schedule: "full", or "released" as the paper's code has it (see `tile_counts`).
        replacement: "mean" colour of each image (the paper's code), "zero" (the InputIBA code), "blur", or images.
        progress: called with the number of images measured so far.
        **run: `seed` of the order of ties; `precision` and `internal_batch_size`, see `Passes`. On real networks and photos
            bfloat16 moved the score of a photo by 0.01 (standard deviation) and that of 32 photos by 0.003 at most, with a
            standard error of 0.06.

    Returns:
        The curves of every image, on the CPU: 2 · points - 3 passes for each.

    Raises:
        InputError: if the inputs are no images, or maps do not fit them or are not finite.
        TargetError: if the targets do not fit the network's output.
        SettingError: if a setting makes no sense.
    """
    passes = Passes(**run)

    def measure(group: ImageGroup) -> Degradation:
        tiles = Tiles.over(group.places, tile)
        counts = tile_counts(tiles.count, points, schedule)
        scores, fill = tiles.means(group.maps), replaced(group, replacement)

        def curve(descending: bool, inner: list[int]) -> Tensor:
            places = tiles.spread(ranks(scores, descending=descending, seed=passes.seed))[..., None]
            return group.answers(group.images, fill, by_rank(places, inner), len(inner))

        morf, lerf = curve(True, counts[1:]), curve(False, counts[1:-1])
        first, last = group.clean[:, None], morf[:, -1:]  # the same in both directions
        removed = torch.tensor(counts, dtype=torch.float64) / tiles.count
        return Degradation(removed, torch.cat([first, morf], 1).cpu(), torch.cat([first, lerf, last], 1).cpu())

    return Degradation.join(in_groups(model, images, targets, maps, measure, passes, progress))
