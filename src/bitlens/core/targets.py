"""What is asked of the network: a class, several, "not this class", a value, a similarity, anything differentiable.

A target turns the network's output into one loss per row and one value per row that people can read. Rows are copies of
samples, copy-major: row b*N + i belongs to sample i.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.core.outputs import Numbers, OutputForm
from bitlens.errors import TargetError


def logits_of(output: Any) -> Tensor:
    """The tensor of class scores (N, classes) in what a network returns, where nothing is known of the network.

    A tensor, the `logits` of a model output, or the only tensor of a tuple. One column (or none) is the log-odds of class 1
    of two. Always float32 or wider.

    Raises:
        TargetError: if there is no such tensor, or several.
    """
    return OutputForm().scores(output)


T = TypeVar("T", bound="Target")


class Target(ABC):
    """One question per sample."""

    form: OutputForm = OutputForm()
    """How the network's output is read."""

    measure = "probability"
    """What `value` is: "probability", or "score" for anything else."""

    count: int | None = None
    """For how many samples there are questions; None if there is one for any number."""

    def check(self, output: Any) -> None:  # noqa: B027  (most targets refuse nothing)
        """Refuse a network whose clean output cannot answer the question."""

    def asked_of(self, form: OutputForm, output: Any, count: int) -> "Target":  # noqa: ARG002
        """The same question of a network whose output is read in a form.

        Args:
            form: how.
            output: the clean one of `count` samples.
            count: how many samples there are.
        """
        return _with(self, form=form)

    @abstractmethod
    def loss(self, output: Any) -> Tensor:
        """What the bottleneck minimises, per row: (rows,)."""

    @abstractmethod
    def value(self, output: Any) -> Tensor:
        """What a person reads, per row: (rows,)."""

    @abstractmethod
    def describe(self) -> tuple[str, ...]:
        """One short text per sample."""

    def score(self, output: Any) -> Tensor:
        """What methods differentiate that explain a score: (rows,), the pre-softmax logit where there is one."""
        return self.value(output)

    def select(self, rows: slice | Tensor) -> "Target":  # noqa: ARG002
        """The question for some samples (a slice, or indices); the same for all unless it says otherwise."""
        return self


def _with(target: T, **changed: Any) -> T:
    """A copy that differs in some attributes."""
    other = copy.copy(target)
    vars(other).update(changed)
    return other


def _chosen(values: Tensor, rows: slice | Tensor) -> Tensor:
    return values[rows if isinstance(rows, slice) else rows.to(values.device)]


def _tile(values: Tensor, rows: int) -> Tensor:
    return values.repeat(rows // len(values), *[1] * (values.dim() - 1))


def _check_indices(asked: Tensor, number: int) -> None:
    wrong = asked[(asked < 0) | (asked >= number)]
    if len(wrong):
        raise TargetError(f"class {int(wrong[0])} does not exist: the network has classes 0 to {number - 1}")


class _ClassQuestion(Target):
    """A question whose answer has a probability: loss is its negative logarithm, value the probability itself."""

    @abstractmethod
    def _asked(self) -> Tensor:
        """The class indices that are named."""

    @abstractmethod
    def _answer(self, log_probabilities: Tensor) -> Tensor:
        """Ln of the answer's probability per row, from those of all classes (rows, classes); the same for logits."""

    def check(self, output: Any) -> None:
        """Refuse classes that the network does not have, and columns that are no classes of which one is right."""
        number, asked = self.form.scores(output).shape[1], self._asked()
        if self.form.labels or self.form.numbers == "regression":
            raise TargetError(
                f"{type(self).__name__} asks about classes of which one is right, but the network's output is "
                f"{self.form.numbers}: give indices, {'MultiLabel' if self.form.labels else 'Regression()'} or a callable"
            )
        _check_indices(asked, number)

    def loss(self, output: Any) -> Tensor:
        """-ln of the probability."""
        return -self._answer(F.log_softmax(self.form.scores(output), 1))

    def value(self, output: Any) -> Tensor:
        """The probability."""
        return self._answer(F.log_softmax(self.form.scores(output), 1)).exp()

    def score(self, output: Any) -> Tensor:
        """The logit (of log-odds: with a minus for class 0); of several classes the log of the sum of exponentials."""
        return self._answer(self.form.margins(output))


class ClassTarget(_ClassQuestion):
    """The class with this index: loss is the cross-entropy, value the softmax probability.

    Args:
        classes: (N,) class indices, one for each sample.
    """

    def __init__(self, classes: Tensor) -> None:
        self.classes, self.count = classes, len(classes)

    def asked_of(self, form: OutputForm, output: Any, count: int) -> Target:
        """The same; of a network whose columns are labels or values, about the label or the value with this index."""
        if type(self) in (ClassTarget, LogOdds) and form.labels and not form.refusal:
            return MultiLabel(self.classes).asked_of(form, output, count)
        if type(self) in (ClassTarget, LogOdds) and form.numbers == "regression" and not form.refusal:
            column = _only_column(self.classes)
            one = column == 0 and form.columns(output).shape[1] == 1
            return Regression(column=None if one else column).asked_of(form, output, count)
        return super().asked_of(form, output, count)

    def _asked(self) -> Tensor:
        return self.classes

    def _answer(self, log_probabilities: Tensor) -> Tensor:
        index = _tile(self.classes.to(log_probabilities.device), len(log_probabilities))
        return log_probabilities.gather(1, index[:, None])[:, 0]

    def describe(self) -> tuple[str, ...]:
        """The index of each sample's class."""
        return tuple(str(int(index)) for index in self.classes)

    def select(self: T, rows: slice | Tensor) -> T:
        """The classes of some samples."""
        classes = _chosen(vars(self)["classes"], rows)
        return _with(self, classes=classes, count=len(classes))


class LogOdds(ClassTarget):
    """The class with this index, by its log-odds: loss is -ln(p / (1 - p)), value the softmax probability p.

    Unlike the cross-entropy it goes on to grow when the class is all but certain, so evidence that is not needed to be
    certain counts as well.

    Args:
        classes: (N,) class indices, one for each sample.
    """

    @classmethod
    def instead_of(cls, target: ClassTarget) -> "LogOdds":
        """The same classes of the same network, asked about otherwise."""
        return _with(cls(target.classes), form=target.form)

    def loss(self, output: Any) -> Tensor:
        """Minus the log-odds."""
        logits = self.form.scores(output)
        index = _tile(self.classes.to(logits.device), len(logits))[:, None]
        return torch.logsumexp(logits.scatter(1, index, -torch.inf), 1) - logits.gather(1, index)[:, 0]


class Binary(ClassTarget):
    """Class 0 or 1 of a network with one column, which is thereby said to be log-odds where nothing else says what it is.

    Args:
        classes: (N,) of 0 and 1, one for each sample; None for the class that the network names.
    """

    def __init__(self, classes: Tensor | None = None) -> None:
        super().__init__(classes if classes is not None else torch.empty(0, dtype=torch.long))
        self.count = None if classes is None else len(classes)

    def asked_of(self, form: OutputForm, output: Any, count: int) -> Target:  # noqa: ARG002
        """The same, about the class that the network names if none was given."""
        form = form if form.numbers == "binary-probability" else form.read_as("binary")
        classes = form.scores(output).argmax(1) if self.count is None else self.classes
        return _with(self, form=form, classes=classes, count=len(classes))

    def select(self, rows: slice | Tensor) -> "Binary":
        """The classes of some samples."""
        return self if self.count is None else super().select(rows)


class MultiLabel(Target):
    """The label with this index, whatever the others are: loss is minus its own log-odds, value its own probability.

    Args:
        labels: (N,) indices, one for each sample; None for each sample's label with the highest score.
    """

    def __init__(self, labels: Tensor | None = None) -> None:
        self.labels, self.count = labels, None if labels is None else len(labels)

    def asked_of(self, form: OutputForm, output: Any, count: int) -> Target:  # noqa: ARG002
        """The same of a network whose columns are labels, which is thereby said where nothing else says what they are."""
        behind: Numbers = "multi-label-probabilities" if "probabilit" in form.numbers else "multi-label"
        form = form.read_as(behind)
        labels = form.scores(output).argmax(1) if self.labels is None else self.labels
        return _with(self, form=form, labels=labels, count=len(labels))

    def check(self, output: Any) -> None:
        """Refuse labels that the network does not have."""
        _check_indices(self._labels, self.form.scores(output).shape[1])

    def loss(self, output: Any) -> Tensor:
        """Minus the label's log-odds."""
        return -self.score(output)

    def value(self, output: Any) -> Tensor:
        """The label's probability."""
        return self.score(output).sigmoid()

    def score(self, output: Any) -> Tensor:
        """The label's log-odds."""
        scores = (self.form if self.form.labels else self.form.read_as("multi-label")).scores(output)
        index = _tile(self._labels.to(scores.device), len(scores))
        return scores.gather(1, index[:, None])[:, 0]

    def describe(self) -> tuple[str, ...]:
        """The index of each sample's label."""
        return tuple(str(int(index)) for index in self._labels)

    def select(self, rows: slice | Tensor) -> "MultiLabel":
        """The labels of some samples."""
        if self.labels is None:
            return self
        labels = _chosen(self.labels, rows)
        return _with(self, labels=labels, count=len(labels))

    @property
    def _labels(self) -> Tensor:
        if self.labels is None:
            raise TargetError("MultiLabel() names no label until it is asked of a network: give MultiLabel(labels)")
        return self.labels


class AnyOf(_ClassQuestion):
    """Any of several classes, the same ones for all samples: value is their summed probability."""

    def __init__(self, classes: Sequence[int]) -> None:
        if not classes:
            raise TargetError("AnyOf needs at least one class, got none")
        self.classes = list(dict.fromkeys(classes))  # a class that is named twice counts once

    def _asked(self) -> Tensor:
        return torch.tensor(self.classes)

    def _answer(self, log_probabilities: Tensor) -> Tensor:
        return torch.logsumexp(log_probabilities[:, self.classes], 1)

    def describe(self) -> tuple[str, ...]:
        """One text, which stands for all samples."""
        return (" or ".join(map(str, self.classes)),)


class NotClass(_ClassQuestion):
    """Anything but one class, the same for all samples: value is 1 - p(class)."""

    def __init__(self, index: int) -> None:
        self.index = index

    def _asked(self) -> Tensor:
        return torch.tensor([self.index])

    def _answer(self, log_probabilities: Tensor) -> Tensor:
        others = [i for i in range(log_probabilities.shape[1]) if i != self.index]
        return torch.logsumexp(log_probabilities[:, others], 1)

    def describe(self) -> tuple[str, ...]:
        """One text, which stands for all samples."""
        return (f"not {self.index}",)


class Regression(Target):
    """Keep an output at its value: loss is the squared error in units of `scale`, value the output itself.

    Args:
        values: (N,) what the network should go on to say; None for its own clean output.
        scale: the error that matters (> 0); the loss is ((output - value) / scale)² / 2.
        column: which output of several; None for the only one (the first, where values are given).
    """

    measure = "score"

    def __init__(self, values: Tensor | None = None, *, scale: float = 1.0, column: int | None = None) -> None:
        self.values, self.scale, self.column = values, scale, column
        self.count = None if values is None else len(values)

    def asked_of(self, form: OutputForm, output: Any, count: int) -> Target:  # noqa: ARG002
        """The same of a network that is thereby said to give values; what it gives if no other was named."""
        asked = _with(self, form=form.read_as("regression"))
        asked.check(output)
        values = asked.value(output).detach() if asked.values is None else asked.values
        return _with(asked, values=values, count=len(values))

    def check(self, output: Any) -> None:
        """Refuse columns that the network does not have, or to choose among several."""
        number = self.form.columns(output).shape[1]
        if self.column is None and self.values is None and number > 1:
            raise TargetError(
                f"the network gives {number} values for each sample: say which with Regression(column=...)"
            )
        if not -number <= (self.column or 0) < number:
            raise TargetError(f"column {self.column} does not exist: the network gives values 0 to {number - 1}")

    def loss(self, output: Any) -> Tensor:
        """Half the squared error."""
        got = self.value(output)
        if self.values is None:
            raise TargetError("Regression() knows no values until it is asked of a network: give Regression(values)")
        return 0.5 * ((got - _tile(self.values.to(got.device), len(got))) / self.scale).square()

    def value(self, output: Any) -> Tensor:
        """The output."""
        columns = self.form.columns(output)
        return columns[:, (self.column or 0) if columns.shape[1] > 1 else 0].float()

    def describe(self) -> tuple[str, ...]:
        """The value to keep, for each sample."""
        of = "" if self.column is None else f" of output {self.column}"
        return ("value",) if self.values is None else tuple(f"value {float(value):.4g}{of}" for value in self.values)

    def select(self, rows: slice | Tensor) -> "Regression":
        """The values of some samples."""
        if self.values is None:
            return self
        values = _chosen(self.values, rows)
        return _with(self, values=values, count=len(values))


def _only_column(indices: Tensor) -> int:
    columns = sorted(set(indices.tolist()))
    if len(columns) != 1:
        raise TargetError(f"targets name the values {columns[:5]} of a regression: ask about one at a time")
    return int(columns[0])


class Score(Target):
    """Any function of the output that gives one differentiable number per row; larger means more of what is asked.

    Args:
        function: output → (rows,). It must treat every row alike, since rows are noisy copies of samples.
        name: how the question is called in results.
    """

    measure = "score"

    def __init__(self, function: Callable[[Any], Tensor], name: str | None = None) -> None:
        self.function = function
        self.name = name if name is not None else str(getattr(function, "__name__", type(function).__name__))

    def loss(self, output: Any) -> Tensor:
        """The negative score."""
        return -self.value(output)

    def value(self, output: Any) -> Tensor:
        """The score."""
        score = self.function(output)
        if not isinstance(score, Tensor) or score.dim() != 1:
            shape = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
            raise TargetError(
                f"target {self.name!r} must return one number per row, shape (rows,); it returned {shape}"
            )
        return score.float()

    def describe(self) -> tuple[str, ...]:
        """One text, which stands for all samples."""
        return (self.name,)


class Similarity(Target):
    """Cosine similarity of the output with a given embedding (M2IB's fit term).

    Args:
        embeddings: (N, D), one for each sample, or (1, D) for all.
    """

    measure = "score"

    def __init__(self, embeddings: Tensor) -> None:
        self.embeddings = embeddings
        self.count = len(embeddings) if len(embeddings) > 1 else None

    def loss(self, output: Any) -> Tensor:
        """The negative similarity."""
        return -self.value(output)

    def value(self, output: Any) -> Tensor:
        """Cosine similarity in [-1, 1]."""
        tensor = output if isinstance(output, Tensor) else output[0]
        return F.cosine_similarity(tensor.float(), _tile(self.embeddings.to(tensor), len(tensor)).float(), dim=1)

    def describe(self) -> tuple[str, ...]:
        """One text, which stands for all samples."""
        return ("similarity",)

    def select(self, rows: slice | Tensor) -> "Similarity":
        """The embeddings of some samples."""
        return self if len(self.embeddings) == 1 else Similarity(_chosen(self.embeddings, rows))


def function_of(target: Any) -> Callable[[Any], Any] | None:
    """The function of the output that a target is, as the user gave it; None if it is no function."""
    if isinstance(target, Score):
        return target.function
    return target if callable(target) and not isinstance(target, Target) else None


def as_target(target: Any, output: Any, count: int, form: OutputForm | None = None) -> Target:
    """Read what a user gave as a target.

    Args:
        target: None (the predicted class, the label with the highest score, or the value), a class index for all, (N,)
            indices (of labels or values where the columns are those), a `Target`, or a callable (`Score`).
        output: the network's clean output for the N samples, which says what classes there are.
        count: N.
        form: how the output is read; as class scores where nobody knows.

    Raises:
        TargetError: for an index that is no class, a wrong number of indices, an output that nobody can read, or anything
            else.
    """
    form = form if form is not None else OutputForm()
    chosen = _read(target, output, count, form)
    _check_count(chosen.count, count)
    chosen = chosen.asked_of(form, output, count)
    chosen.check(output)
    return chosen


def _read(target: Any, output: Any, count: int, form: OutputForm) -> Target:
    if isinstance(target, Target):
        return target
    if callable(target):
        return Score(target)
    scores = form.scores(output)
    if target is None:
        return _predicted(scores, form)
    try:
        classes = torch.as_tensor(target)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TargetError(f"target must be a class index, {count} indices, or a callable; got {target!r}") from error
    if classes.is_floating_point() or classes.dtype == torch.bool or classes.is_complex():
        raise TargetError(f"target must hold whole class indices, got {classes.dtype}")
    if classes.dim() > 1:
        raise TargetError(
            f"target has shape {tuple(classes.shape)} for {count} samples: give one index, or one for each sample"
        )
    classes = classes.long().to(scores.device)
    return ClassTarget(classes if classes.dim() else classes.expand(count))


def _predicted(scores: Tensor, form: OutputForm) -> Target:
    return Regression() if form.numbers == "regression" else ClassTarget(scores.argmax(1))


def _check_count(targets: int | None, samples: int) -> None:
    if targets not in (None, samples):
        raise TargetError(f"there are {targets} targets for {samples} samples: give one for all, or one for each")


def select_targets(target: Any, start: int, stop: int, count: int) -> Any:
    """What a user gave as a target for `count` samples, for samples start..stop-1 of them.

    Raises:
        TargetError: if there are several targets, but not one for each sample.
    """
    if isinstance(target, Target):
        _check_count(target.count, count)
        return target.select(slice(start, stop))
    several = isinstance(target, list | tuple | range) or getattr(target, "ndim", 0) > 0
    if not several:
        return target
    _check_count(len(target), count)
    return target[start:stop]


def permuted_targets(target: Any, order: Tensor, count: int) -> Any:
    """What a user gave as a target for `count` samples, for the same samples in another order (indices).

    Raises:
        TargetError: if there are several targets, but not one for each sample.
    """
    if isinstance(target, Target):
        _check_count(target.count, count)
        return target.select(order) if target.count is not None else target
    if isinstance(target, list | tuple | range) or getattr(target, "ndim", 0) > 0:
        _check_count(len(target), count)
        return [target[i] for i in order.tolist()]
    return target
