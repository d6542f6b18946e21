"""What is asked of a network: a question turns its output into one loss per row and one value per row that people can read.

Here are questions about classes of which one is right. Rows are copies of samples, copy-major: row b*N + i belongs to sample i.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.core.outputs import OutputForm
from bitlens.errors import TargetError

T = TypeVar("T", bound="Target")


class Target(ABC):
    """One question per sample."""

    form: OutputForm = OutputForm()
    """How the network's output is read."""

    measure = "probability"
    """What `value` is: "probability", or "score" for anything else."""

    count: int | None = None
    """For how many samples there are questions; None if there is one for any number."""

    each: str = ""
    """The attribute that holds an entry for each of these samples, if there is one."""

    in_nats: bool = True
    """Whether the loss counts nats; if not, nobody knows its unit, and how much of it is much must be measured."""

    two_sided: bool = False
    """Whether the answer is a value that is to stay as it is, so that it is lost by more of it as well as by less."""

    against: bool = False
    """Whether masks are to find what speaks against the answer, and not for it."""

    def check(self, output: Any) -> None:  # noqa: B027  (most targets refuse nothing)
        """Refuse a network whose clean output cannot answer the question."""

    def asked_of(self, form: OutputForm, output: Any, count: int) -> "Target":  # noqa: ARG002
        """Return the same question of a network whose output is read in a form.

        Args:
            form: how.
            output: the clean one of `count` samples.
            count: how many samples there are.
        """
        return changed(self, form=form)

    @abstractmethod
    def loss(self, output: Any) -> Tensor:
        """Return what is least where the answer is given most clearly, per row: (rows,)."""

    def minimised(self, output: Any) -> Tensor:
        """Return what the bottleneck minimises, per row: (rows,); the loss, or where it looks for what is against, minus that."""
        return -self.loss(output) if self.against else self.loss(output)

    def opposed(self: T) -> T:
        """Return the question what speaks against the same answer.

        Raises:
            TargetError: if nothing can speak against it.
        """
        return changed(self, against=True)

    @abstractmethod
    def value(self, output: Any) -> Tensor:
        """Return what a person reads, per row: (rows,)."""

    @abstractmethod
    def describe(self) -> tuple[str, ...]:
        """Return one short text per sample."""

    def score(self, output: Any) -> Tensor:
        """Return what methods differentiate that explain a score: (rows,), the pre-softmax logit where there is one."""
        return self.value(output)

    def counted(self, values: Tensor, output: Any) -> Tensor:
        """Return values (rows,) of changed inputs as metrics count them, more being better.

        That is as they are; where a value is to stay as it is, minus how far each is from the clean one.

        Args:
            values: what `value` gives, copy-major.
            output: the clean one of the samples.
        """
        return -(values - tiled(self.value(output), len(values))).abs() if self.two_sided else values

    def at(self, last: Tensor | None) -> "Target":  # noqa: ARG002
        """Return the question about texts whose last tokens (N,) are known, or that have none; the same unless it reads them."""
        return self

    def select(self: T, rows: slice | Tensor) -> T:
        """Return the question for some samples (a slice, or indices); the same for all where it is one for any number."""
        if self.count is None or not self.each:
            return self
        some = chosen_rows(getattr(self, self.each), rows)
        return changed(self, **{self.each: some}, count=len(some))


def changed(target: T, **attributes: Any) -> T:
    """Return a copy that differs in some attributes."""
    other = copy.copy(target)
    vars(other).update(attributes)
    return other


def chosen_rows(values: Tensor, rows: slice | Tensor) -> Tensor:
    """Return what belongs to some samples (a slice, or indices)."""
    return values[rows if isinstance(rows, slice) else rows.to(values.device)]


def tiled(values: Tensor, rows: int) -> Tensor:
    """Return what belongs to each of the samples (N, ...), for so many rows, which are copies of them."""
    return values.repeat(rows // len(values), *[1] * (values.dim() - 1))


def check_indices(asked: Tensor, number: int) -> None:
    """Refuse indices of classes that there are not."""
    wrong = asked[(asked < 0) | (asked >= number)]
    if len(wrong):
        raise TargetError(f"class {int(wrong[0])} does not exist: the network has classes 0 to {number - 1}")


class _ClassQuestion(Target):
    """A question whose answer has a probability: loss is its negative logarithm, value the probability itself."""

    @abstractmethod
    def _asked(self) -> Tensor:
        """Return the class indices that are named."""

    @abstractmethod
    def _answer(self, log_probabilities: Tensor) -> Tensor:
        """Return ln of the answer's probability per row, from those of all classes (rows, classes); the same for logits."""

    def check(self, output: Any) -> None:
        """Refuse classes that the network does not have, and columns that are no classes of which one is right."""
        number, asked = self.form.scores(output).shape[1], self._asked()
        if self.form.labels or self.form.numbers == "regression":
            raise TargetError(
                f"{type(self).__name__} asks about classes of which one is right, but the network's output is "
                f"{self.form.numbers}: give indices, {'MultiLabel' if self.form.labels else 'Regression()'} or a callable"
            )
        check_indices(asked, number)

    def loss(self, output: Any) -> Tensor:
        """Return -ln of the probability."""
        return -self._answer(F.log_softmax(self.form.scores(output), 1))

    def value(self, output: Any) -> Tensor:
        """Return the probability."""
        return self._answer(F.log_softmax(self.form.scores(output), 1)).exp()

    def score(self, output: Any) -> Tensor:
        """Return the logit (of log-odds: with a minus for class 0); of several classes the log of the sum of exponentials."""
        return self._answer(self.form.margins(output))


class ClassTarget(_ClassQuestion):
    """The class with this index: loss is the cross-entropy, value the softmax probability.

    Args:
        classes: (N,) class indices, one for each sample.
    """

    each = "classes"

    def __init__(self, classes: Tensor) -> None:
        self.classes, self.count = classes, len(classes)

    def _asked(self) -> Tensor:
        return self.classes

    def _answer(self, log_probabilities: Tensor) -> Tensor:
        index = tiled(self.classes.to(log_probabilities.device), len(log_probabilities))
        return log_probabilities.gather(1, index[:, None])[:, 0]

    def describe(self) -> tuple[str, ...]:
        """Return the index of each sample's class."""
        return tuple(str(int(index)) for index in self.classes)


class LogOdds(ClassTarget):
    """The class with this index, by its log-odds: loss is -ln(p / (1 - p)), value the softmax probability p.

    Unlike the cross-entropy it goes on to grow when the class is all but certain, so evidence that is not needed to be
    certain counts as well.

    Args:
        classes: (N,) class indices, one for each sample.
    """

    @classmethod
    def instead_of(cls, target: ClassTarget) -> "LogOdds":
        """Return the same classes of the same network, asked about otherwise."""
        return changed(cls(target.classes), form=target.form, against=target.against)

    def loss(self, output: Any) -> Tensor:
        """Return minus the log-odds."""
        logits = self.form.scores(output)
        index = tiled(self.classes.to(logits.device), len(logits))[:, None]
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
        """Return the same, about the class that the network names if none was given."""
        form = form if form.numbers == "binary-probability" else form.read_as("binary")
        classes = form.scores(output).argmax(1) if self.count is None else self.classes
        return changed(self, form=form, classes=classes, count=len(classes))


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
        """Return one text, which stands for all samples."""
        return (" or ".join(map(str, self.classes)),)


class NotClass(_ClassQuestion):
    """Question for anything but one class, the same for all samples: value is 1 - p(class)."""

    def __init__(self, index: int) -> None:
        self.index = index

    def _asked(self) -> Tensor:
        return torch.tensor([self.index])

    def _answer(self, log_probabilities: Tensor) -> Tensor:
        others = [i for i in range(log_probabilities.shape[1]) if i != self.index]
        return torch.logsumexp(log_probabilities[:, others], 1)

    def describe(self) -> tuple[str, ...]:
        """Return one text, which stands for all samples."""
        return (f"not {self.index}",)
