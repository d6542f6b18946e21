"""Single deletion: whether a map orders the cells of a grid as the network does when each is deleted alone.

Hesse et al., Benchmarking the Attribution Quality of Vision Models (NeurIPS 2024): SDS, and IDSDS where the network has been
fine-tuned on images without a cell, so that what it is asked about is not new to it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.core.passes import Passes, RunOptions
from bitlens.core.places import Places
from bitlens.errors import InputError, SettingError, at_least
from bitlens.metrics.estimate import Estimate
from bitlens.metrics.perturbation import ImageGroup, Replacement, in_groups, replaced
from bitlens.metrics.rank_correlation import spearman
from bitlens.probe import Network

_SAME = 1e-6  # of the score: float32 scores that differ by less differ by rounding


@dataclass(frozen=True, eq=False)
class SingleDeletion:
    """Worth of every cell, by the map and by the network.

    Attributes:
        attributed: (N, cells) the map's sum over each cell.
        dropped: (N, cells) score of the whole sample minus its score without the cell; NaN past the last cell of a sample
            that has fewer than others (texts).
        scores: (N,) score of the whole sample.
        cells: which cell each place of a sample belongs to; of texts that of every sample.
    """

    attributed: Tensor
    dropped: Tensor
    scores: Tensor
    cells: Tensor

    def __post_init__(self) -> None:
        if self.attributed.shape != self.dropped.shape or self.attributed.shape[:1] != self.scores.shape:
            shapes = [tuple(t.shape) for t in (self.attributed, self.dropped, self.scores)]
            raise InputError(f"attributed, dropped and scores must be (N, cells), (N, cells) and (N,); got {shapes}")

    @classmethod
    def join(cls, parts: Sequence["SingleDeletion"]) -> "SingleDeletion":
        """Return the samples of several parts."""
        attributed, dropped, scores = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("attributed", "dropped", "scores")
        )
        return cls(attributed, dropped, scores, parts[0].cells)

    def of(self, maps: Tensor) -> "SingleDeletion":
        """Return the same with what other maps (N, ...) say of the cells: what the network loses does not depend on the map."""
        return replace(self, attributed=cell_sums(maps, self.cells).cpu())

    def correlations(self) -> Tensor:
        """Return (N,) Spearman's correlation over the cells: in [-1, 1], higher is better, random maps 0.

        A map whose sums are all equal says nothing and scores 0, where the authors' code has no number; NaN where no cell
        changes the score beyond rounding.
        """
        there = ~self.dropped.isnan()
        spread = self.dropped.nan_to_num(-torch.inf).amax(1) - self.dropped.nan_to_num(torch.inf).amin(1)
        each = zip(self.attributed, self.dropped, there, strict=True)
        found = torch.stack([spearman(says[own], drops[own]) for says, drops, own in each]).nan_to_num(0.0)
        return torch.where(spread > _SAME * self.scores.abs(), found, torch.nan)

    def score(self) -> Estimate:
        """Return the mean over samples of `correlations`: the score, with its standard error."""
        return Estimate.of(self.correlations())


def cell_numbers(size: Sequence[int], cells: int) -> Tensor:
    """Return which cell each place belongs to, of a grid with as many along every axis, numbered row by row.

    Args:
        size: of the places, (H, W) of images.
        cells: along each axis.

    Raises:
        SettingError: if an axis is shorter than that.
    """
    at_least(2, cells=cells)
    if cells > min(size):
        raise SettingError(f"cells must be at most {min(size)}, the shortest side; got {cells}")
    number = torch.zeros(*size, dtype=torch.long)
    for axis, length in enumerate(size):
        own = torch.arange(length) * cells // length
        number = number * cells + own.reshape([-1 if a == axis else 1 for a in range(len(size))])
    return number


def cells_of(places: Places, cells: int) -> Tensor:
    """Return which cell each place belongs to; the features of a table have no neighbours and are cells by themselves."""
    return torch.arange(places.size[0]) if places.unordered else cell_numbers(places.size, cells)


def cell_sums(maps: Tensor, numbers: Tensor) -> Tensor:
    """Return the sum over each cell (n, cells), float64, of maps (n, ...) with cells as `cell_numbers` says."""
    sums = maps.new_zeros(len(maps), int(numbers.max()) + 1, dtype=torch.float64)
    return sums.index_add_(1, numbers.flatten().to(maps.device), maps.flatten(1).double())


def single_deletion(
    model: nn.Module | Network,
    images: Any,
    targets: Any,
    maps: Tensor,
    cells: int = 4,
    *,
    replacement: Replacement = "zero",
    progress: Callable[[int], None] | None = None,
    **run: Unpack[RunOptions],
) -> SingleDeletion:
    """Delete each cell of a grid alone, and compare what the score loses with the map's sum over the cell.

    Args:
        model: the network, left as it was (a `Network` keeps what it has learnt about inputs like these).
        images: (N, C, H, W), or a tuple or mapping of arguments of which the first tensor is the images; or series, volumes
            and tables, whose cells are windows, blocks and single features.
        targets: None for the predicted class, a class index, (N,) indices, a `Target`, or a callable. The score of a class
            is its logit.
        maps: (N, H, W), signed: what lowers the score should be negative.
        cells: along each side of the grid, 4 in the paper; of other inputs along each axis. Where a side is no multiple, cells
            differ by a pixel.
        replacement: of a deleted cell: "zero" (the paper; the data set's mean colour), "mean" colour of the image, "blur",
            or images.
        progress: called with the number of images measured so far.
        **run: `precision` ("float32" if not given) and `internal_batch_size`, see `Passes`.

    Returns:
        Sums and drops of every cell, on the CPU: 17 passes for each image at 4 x 4 cells.

    Raises:
        InputError: if the inputs are no images, or maps do not fit them or are not finite.
        TargetError: if the targets do not fit the network's output.
        SettingError: if a setting makes no sense.
    """
    run.setdefault("precision", "float32")
    passes = Passes(**run)

    def measure(group: ImageGroup) -> SingleDeletion:
        numbers = cells_of(group.places, cells).to(group.images.device)
        count = int(numbers.max()) + 1

        def one_gone(steps: slice) -> Tensor:
            chosen = torch.arange(steps.start, steps.stop, device=numbers.device)
            return (numbers == chosen.reshape(-1, *[1] * numbers.dim()))[:, None, ..., None]

        left = group.answers(group.images, replaced(group, replacement), one_gone, count)
        dropped = group.clean[:, None] - left
        sums = cell_sums(group.maps, numbers)
        return SingleDeletion(sums.cpu(), dropped.cpu(), group.clean.cpu(), numbers.cpu())

    return SingleDeletion.join(in_groups(model, images, targets, maps, measure, passes, progress, quantity="score"))
