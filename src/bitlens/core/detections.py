"""What is asked of a detector: the score of the detection that overlaps a box.

A detector's output is that of torchvision's: for each image a mapping with `boxes` (K, 4), corners x0 y0 x1 y1 in pixels of the
input, `labels` (K,) and `scores` (K,), as many as it finds, the likeliest first.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, final

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.core.outputs import OutputForm
from bitlens.core.questions import Target, changed, chosen_rows, tiled
from bitlens.errors import SettingError, TargetError

Q = TypeVar("Q", bound="_Found")
_PARTS = ("boxes", "labels", "scores")


def detections_of(output: Any) -> Sequence[Mapping[str, Tensor]] | None:
    """Return what a detector found in each image; None if the output is no detector's."""
    found = isinstance(output, list | tuple) and len(output) > 0
    return (
        output
        if found and all(isinstance(one, Mapping) and all(part in one for part in _PARTS) for one in output)
        else None
    )


def summed_up(found: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """Return numbers (N, 5) that say what was found in each image, in whatever order: the scores' sum, and that of boxes."""
    rows = [torch.cat([one["scores"].sum()[None], (one["boxes"] * one["scores"][:, None]).sum(0)]) for one in found]
    return torch.stack(rows).float()


class _Found(Target):
    """A question about boxes, one for each sample: value is the score of the likeliest detection that overlaps its box."""

    each = "labels"

    def __init__(self, overlap: float) -> None:
        if not 0 < overlap <= 1:
            raise SettingError(f"overlap must be above 0 and at most 1, got {overlap!r}")
        self.overlap = overlap
        self.boxes, self.labels = torch.empty(0, 4), torch.empty(0, dtype=torch.long)

    def select(self: Q, rows: slice | Tensor) -> Q:
        """Return the question for some samples."""
        if self.count is None:
            return self
        labels = chosen_rows(self.labels, rows)
        return changed(self, boxes=chosen_rows(self.boxes, rows), labels=labels, count=len(labels))

    def loss(self, output: Any) -> Tensor:
        """Return minus the log-odds of the score."""
        return -self.score(output)

    def score(self, output: Any) -> Tensor:
        """Return the log-odds of the score, as low as numbers go where nothing overlaps the box."""
        values = self.value(output)
        kept = values.clamp(torch.finfo(values.dtype).tiny, 1 - torch.finfo(values.dtype).eps / 2)
        return kept.log() - (-kept).log1p()

    def value(self, output: Any) -> Tensor:
        """Return the score, 0 where nothing of the label overlaps the box."""
        found = _read(type(self).__name__, output)
        boxes, labels = (tiled(known.to(found[0]["boxes"].device), len(found)) for known in (self.boxes, self.labels))
        return torch.stack([self._score(*one) for one in zip(found, boxes, labels, strict=True)])

    def _score(self, found: Mapping[str, Tensor], box: Tensor, label: Tensor) -> Tensor:
        scores = found["scores"].float()
        meant = (found["labels"] == label) & (overlaps(found["boxes"].float(), box) >= self.overlap)
        return F.pad(torch.where(meant, scores, 0.0), (0, 1)).amax()  # 0 of none, without asking how many there are


@final
class Boxes(_Found):
    """The detection that overlaps a box: loss is minus the log-odds of its score, value the score.

    Args:
        boxes: (N, 4) corners x0 y0 x1 y1 in pixels of the input, one box for each sample; (4,) the same for all.
        labels: (N,) the class that it is found as, or one index for all.
        overlap: intersection over union from which a detection counts as this one, above 0 and at most 1.

    Raises:
        TargetError: if the boxes have another shape or no area, or the labels do not fit.
        SettingError: if the overlap makes no sense.
    """

    def __init__(self, boxes: Tensor, labels: int | Tensor, *, overlap: float = 0.5) -> None:
        super().__init__(overlap)
        given = torch.as_tensor(boxes, dtype=torch.float32)
        if given.shape[-1:] != (4,) or given.dim() > 2 or not bool((given[..., :2] < given[..., 2:]).all()):
            raise TargetError(f"boxes must be (N, 4) or (4,), x0 y0 x1 y1 with x0 < x1 and y0 < y1, got {boxes!r}")
        self.boxes = given.reshape(-1, 4)
        self.count = len(given) if given.dim() == 2 else None
        named = torch.as_tensor(labels)
        if named.is_floating_point() or tuple(named.shape) not in ((), (len(self.boxes),)):
            raise TargetError(f"labels must be one index, or one for each of {len(self.boxes)} boxes, got {labels!r}")
        self.labels = named.long().expand(len(self.boxes))

    def check(self, output: Any) -> None:
        """Refuse a network that is no detector, and boxes where it does not find what is asked about."""
        nothing = (self.value(output) <= 0).nonzero().flatten().tolist()
        if nothing:
            first = nothing[0]
            raise TargetError(
                f"no detection of class {int(self.labels[first % len(self.labels)])} overlaps the box of sample {first} by "
                f"{self.overlap:g}: give another box, or ask about what was found with Box(index)"
            )

    def describe(self) -> tuple[str, ...]:
        """Return the class and the box of each sample."""
        corners = (" ".join(f"{float(corner):.4g}" for corner in box) for box in self.boxes)
        return tuple(f"{int(label)} in box {box}" for label, box in zip(self.labels, corners, strict=True))


@final
class Box(_Found):
    """One of the detections in each sample, by its place among what the network finds, the likeliest first.

    It is asked about as `Boxes` does, by the box and the label that the network, by its clean answer, gives it.

    Args:
        index: which of them, from 0, in every sample.
        overlap: see `Boxes`.

    Raises:
        TargetError: if the index is no whole number, or negative.
        SettingError: if the overlap makes no sense.
    """

    def __init__(self, index: int, *, overlap: float = 0.5) -> None:
        super().__init__(overlap)
        if not isinstance(index, int) or index < 0:
            raise TargetError(f"Box takes the index of a detection, 0 or more, got {index!r}")
        self.index = index

    def asked_of(self, form: OutputForm, output: Any, count: int) -> "Box":
        """Return the same, about the boxes that the network finds.

        Raises:
            TargetError: if the network is no detector, or finds fewer.
        """
        found = _read("Box", output)
        for sample, one in enumerate(found):
            if len(one["boxes"]) <= self.index:
                raise TargetError(
                    f"Box({self.index}) asks about detection {self.index} of sample {sample}, but the network finds "
                    f"{len(one['boxes'])}: give a smaller index"
                )
        boxes, labels = (torch.stack([one[part][self.index] for one in found]).detach() for part in ("boxes", "labels"))
        return changed(self, form=form, boxes=boxes.float(), labels=labels, count=count)

    def describe(self) -> tuple[str, ...]:
        """Return the class of each sample's detection, and which it is."""
        return tuple(f"{int(label)} in box {self.index}" for label in self.labels)


def _read(name: str, output: Any) -> Sequence[Mapping[str, Tensor]]:
    found = detections_of(output)
    if found is None:
        raise TargetError(
            f"{name} asks a detector, which gives boxes, labels and scores for each image as torchvision's do, and this network "
            f"gives {type(output).__name__}: ask about a class or a Region, or give a callable target"
        )
    return found


def overlaps(boxes: Tensor, box: Tensor) -> Tensor:
    """Return intersection over union (K,) of boxes (K, 4) with one."""
    shared = (torch.minimum(boxes[:, 2:], box[2:]) - torch.maximum(boxes[:, :2], box[:2])).clamp_min(0).prod(1)
    own, wanted = (boxes[:, 2:] - boxes[:, :2]).prod(1), (box[2:] - box[:2]).prod()
    return shared / (own + wanted - shared)
