"""What is asked of a network that answers at every place: a class over a region, a keypoint where the network sees it.

Such an answer is (N, columns, places ...), as PyTorch's losses take it: segmentation (N, classes, H, W), heat maps (N, keypoints,
H, W). Each place is asked as a sample is, about a class or a label, and what is said there is averaged over the places meant.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, final

import torch
from torch import Tensor

from bitlens.core.outputs import Numbers, OutputForm
from bitlens.core.questions import LogOdds, Target, changed, check_indices, chosen_rows, tiled
from bitlens.core.scores import MultiLabel
from bitlens.errors import TargetError

Q = TypeVar("Q", bound="AtPlaces")
_SHOWN = 5
_AS_LABELS: Mapping[Numbers, Numbers] = {
    "binary": "multi-label",
    "binary-probability": "multi-label-probabilities",
    "probabilities": "multi-label-probabilities",
}
"""What is known of a heat map, said of one of several labels."""


def commonest(columns: Tensor) -> list[int]:
    """Return which columns of (rows, columns) are most often the highest of a row, the first few."""
    often = columns.argmax(1).bincount()
    return [index for index in often.argsort(descending=True).tolist() if often[index]][:_SHOWN]


class AtPlaces(Target):
    """A question about some places of an answer: loss, value and score are means over them.

    Args:
        classes: an index for all samples, or (N,) indices, one for each.

    Raises:
        TargetError: if these are no whole numbers.
    """

    each = "classes"
    where: str
    """Which places are meant, in words behind the index of the class, whose name may take its place."""

    def __init__(self, classes: int | Sequence[int] | Tensor) -> None:
        given = torch.as_tensor(classes)
        if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool or given.dim() > 1:
            raise TargetError(f"{type(self).__name__} takes one index, or one for each sample, got {classes!r}")
        self.count = len(given) if given.dim() else None
        self.classes = given.long().reshape(-1)
        self._question: Target = LogOdds(self.classes)
        self._places = torch.empty(0, dtype=torch.long)
        self._weights = torch.empty(0)
        self._size: tuple[int, ...] = ()
        self._stays = False

    def settled(self: Q) -> Q:
        """Return the question for other networks: about the places that were chosen when it was asked, whatever these say."""
        return changed(self, _stays=True)

    def asked_of(self: Q, form: OutputForm, output: Any, count: int) -> Q:
        """Return the same question of a network that answers at places, by its clean output: about which of them.

        Raises:
            TargetError: if the network does not answer at places, has no such class, or no place is meant.
        """
        answer = form.answer(output)
        if answer.dim() < 3:
            raise TargetError(
                f"{type(self).__name__} asks a network that answers at places, (samples, classes, places ...); this one gives "
                f"{tuple(answer.shape)}: ask about a class"
            )
        form = self._read(form)
        classes = self.classes.to(answer.device).expand(count)
        at_one = replace(form, part=None)
        scores = at_one.scores(form.everywhere(output))
        check_indices(classes, scores.shape[1])
        question, size = self._about(classes, at_one), tuple(answer.shape[2:])
        known = {"form": form, "classes": classes, "count": count, "_question": question, "_size": size}
        if self._stays:
            if size != self._size:
                raise TargetError(
                    f"the question is about some of {self._size} places, but the network answers at {size}"
                )
            return changed(self, **known)
        weights = self._chosen(question, classes, scores.reshape(-1, count, scores.shape[1]), size)
        places = weights.any(0).nonzero().flatten()
        return changed(self, **known, _places=places, _weights=weights[:, places] / weights.sum(1, keepdim=True))

    def select(self: Q, rows: slice | Tensor) -> Q:
        """Return the question for some samples."""
        if self.count is None:
            return self
        own = {"classes": (some := chosen_rows(self.classes, rows)), "count": len(some)}
        if len(self._places):
            own["_weights"] = chosen_rows(self._weights, rows)
        return changed(self, **own, _question=self._question.select(rows))

    def loss(self, output: Any) -> Tensor:
        """Return minus the mean log-odds."""
        return self._mean(output, "loss")

    def value(self, output: Any) -> Tensor:
        """Return the mean probability: that of a place which is drawn from those that are meant."""
        return self._mean(output, "value")

    def score(self, output: Any) -> Tensor:
        """Return the mean logit."""
        return self._mean(output, "score")

    def describe(self) -> tuple[str, ...]:
        """Return the index that each sample is asked about, and at which places."""
        return tuple(f"{int(index)}{self.where}" for index in self.classes)

    def _mean(self, output: Any, quantity: str) -> Tensor:
        if not len(self._places):
            raise TargetError(f"{type(self).__name__} means no place until it is asked of a network")
        answer = self.form.answer(output)
        there = answer.flatten(2)[..., self._places.to(answer.device)]
        each: Tensor = getattr(self._question, quantity)(there.permute(2, 0, 1).flatten(0, 1))
        weights = tiled(self._weights.to(each), len(answer))
        return (each.reshape(len(self._places), len(answer)).T * weights).sum(1)

    @abstractmethod
    def _read(self, form: OutputForm) -> OutputForm:
        """Return how the answer is read, where the question itself says something of it."""

    @abstractmethod
    def _about(self, classes: Tensor, form: OutputForm) -> Target:
        """Return the question about a single place, classes (N,) of an answer (rows, columns)."""

    @abstractmethod
    def _chosen(self, question: Target, classes: Tensor, scores: Tensor, size: tuple[int, ...]) -> Tensor:
        """Return the weight (N, P) of each place, where the network gives scores (P, N, classes); size is that of the places."""


@final
class Region(AtPlaces):
    """A class over a region: loss is minus its mean log-odds there, value its mean probability, score its mean logit.

    An index by itself, asked of a network that answers at the places of images or volumes, means `Region(index)`.

    Args:
        classes: an index for all samples, or (N,) indices, one for each.
        mask: the region in the size of the answer, bool or weights of at least 0: (places ...) the same for all samples where
            classes is an index, (N, places ...) where there are N. By default it is where the network, by its clean answer,
            predicts the class: where that is the likeliest, and of labels where it has more than half a chance.

    Raises:
        TargetError: if the classes are no whole numbers, or the mask holds something else.
    """

    def __init__(self, classes: int | Sequence[int] | Tensor, mask: Tensor | None = None) -> None:
        super().__init__(classes)
        if mask is not None:
            mask = mask if mask.dtype == torch.bool else mask.float()
            if not bool((torch.isfinite(mask) & (mask >= 0)).all()):
                raise TargetError("the mask of a Region must hold True and False, or finite weights of at least 0")
        self.mask = mask
        self.where = " where it is predicted" if mask is None else " in its region"

    def select(self, rows: slice | Tensor) -> "Region":
        """Return the question for some samples, each with its own region."""
        chosen = super().select(rows)
        return chosen if self.mask is None or self.count is None else changed(chosen, mask=chosen_rows(self.mask, rows))

    def asked_of(self, form: OutputForm, output: Any, count: int) -> "Region":
        """Return the same question of a network that answers at places; for errors see `AtPlaces`."""
        asked = super().asked_of(form, output, count)
        if self.mask is None or self.count is not None:
            return asked
        return changed(asked, mask=self.mask.expand(count, *self.mask.shape))

    def _read(self, form: OutputForm) -> OutputForm:
        if form.numbers == "regression":
            raise TargetError(
                "Region asks about classes, but the network gives values: give a callable target, the mean of some of them"
            )
        return form

    def _about(self, classes: Tensor, form: OutputForm) -> Target:
        return changed(MultiLabel(classes) if form.labels else LogOdds(classes), form=form)

    def _chosen(self, question: Target, classes: Tensor, scores: Tensor, size: tuple[int, ...]) -> Tensor:
        if self.mask is not None:
            return self._given(len(classes), size).to(scores)
        own = scores.gather(2, classes.expand(len(scores), -1)[..., None])[..., 0]
        predicted = (own > 0 if question.form.labels else own == scores.amax(2)).T
        nowhere = (~predicted.any(1)).nonzero().flatten().tolist()
        if nowhere:
            there = ", ".join(map(str, commonest(scores[:, nowhere[0]])))
            raise TargetError(
                f"the network predicts class {int(classes[nowhere[0]])} at no place of sample {nowhere[0]}, but {there}: ask "
                "about one of these, or say which places are meant with Region(class, mask)"
            )
        return predicted.to(scores)

    def _given(self, count: int, size: tuple[int, ...]) -> Tensor:
        assert self.mask is not None
        wanted = size if self.count is None else (count, *size)
        if tuple(self.mask.shape) != wanted:
            raise TargetError(
                f"the mask of a Region has shape {tuple(self.mask.shape)}, but the network answers at {size} places: give "
                f"{wanted}"
            )
        weights = self.mask.reshape(-1, *size).flatten(1).expand(count, -1)
        if not bool(weights.any(1).all()):
            raise TargetError("the mask of a Region marks no place")
        return weights


@final
class Keypoint(AtPlaces):
    """A keypoint where the network, by its clean answer, sees it: the highest place of its heat map, or a place that is given.

    Heat maps are (N, keypoints, places ...), each a label by itself: loss is minus the log-odds at that place, value the
    probability, score the log-odds. Where a sigmoid makes them they say by themselves that they are probabilities; of others
    somebody must say whether they are log-odds, see `OutputForm`: a network that was taught heights (0 to 1) gives neither.

    Args:
        keypoints: an index for all samples, or (N,) indices, one for each.
        at: the place in the heat map, one index for each of its axes, the same for all samples; None for the highest.

    Raises:
        TargetError: if the keypoints are no whole numbers; when it is asked, if nobody can tell what the heat maps' numbers are.
    """

    where = " where it is seen"

    def __init__(self, keypoints: int | Sequence[int] | Tensor, at: Sequence[int] | None = None) -> None:
        super().__init__(keypoints)
        self.at_place = None if at is None else tuple(at)

    def _read(self, form: OutputForm) -> OutputForm:
        if form.labels or form.numbers in _AS_LABELS:
            return form.read_as(_AS_LABELS.get(form.numbers, form.numbers))
        raise TargetError(
            "the network does not say what the numbers of its heat maps are: say output='multi-label' if they are log-odds, "
            "output='multi-label-probabilities' if probabilities (a network says it as bitlens_output); of heights that were "
            "taught to be 0 to 1 give a callable target"
        )

    def _about(self, classes: Tensor, form: OutputForm) -> Target:
        return changed(MultiLabel(classes), form=form)

    def _chosen(self, question: Target, classes: Tensor, scores: Tensor, size: tuple[int, ...]) -> Tensor:  # noqa: ARG002
        own = scores.gather(2, classes.expand(len(scores), -1)[..., None])[..., 0].T
        weights = torch.zeros_like(own)
        if self.at_place is None:
            return weights.scatter(1, own.argmax(1, keepdim=True), 1.0)
        inside = len(self.at_place) == len(size) and all(
            0 <= place < length for place, length in zip(self.at_place, size, strict=True)
        )
        if not inside:
            raise TargetError(f"Keypoint at {self.at_place} lies outside the heat maps, which have {size} places")
        weights[:, sum(place * math.prod(size[axis + 1 :]) for axis, place in enumerate(self.at_place))] = 1.0
        return weights
