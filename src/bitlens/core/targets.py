"""What is asked of the network: a class, several, "not this class", a value, a similarity, anything differentiable.

A target turns the network's output into one loss per row and one value per row that people can read. Rows are copies of
samples, copy-major: row b*N + i belongs to sample i.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from bitlens.errors import TargetError


def logits_of(output: Any) -> Tensor:
    """The tensor of class scores (N, classes) in what a network returns.

    A tensor, the `logits` of a model output, or a tuple's first tensor. One column (or none) is the log-odds of class 1
    of two. Always float32 or wider.

    Raises:
        TargetError: if there is no such tensor.
    """
    tensor = _columns(output)
    return torch.cat([torch.zeros_like(tensor), tensor], 1) if tensor.shape[1] == 1 else tensor


def _columns(output: Any) -> Tensor:
    tensor = getattr(output, "logits", output)
    if isinstance(tensor, tuple | list) and tensor:
        tensor = tensor[0]
    if not isinstance(tensor, Tensor):
        raise TargetError(
            f"the network returns {type(output).__name__}: give a callable target that reads a score from it"
        )
    tensor = tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
    if tensor.dim() == 1:
        tensor = tensor[:, None]
    if tensor.dim() != 2:
        raise TargetError(
            f"the network's output has shape {tuple(tensor.shape)}, not (samples, classes): give a callable target "
            "that turns it into one score per sample"
        )
    return tensor


class Target(ABC):
    """One question per sample."""

    measure = "probability"
    """What `value` is: "probability", or "score" for anything else."""

    count: int | None = None
    """For how many samples there are questions; None if there is one for any number."""

    def check(self, output: Any) -> None:  # noqa: B027  (most targets refuse nothing)
        """Refuse a network whose clean output cannot answer the question."""

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

    def at(self, last: Tensor | None) -> "Target":  # noqa: ARG002
        """The question about texts whose last tokens (N,) are known, or about what has none; the same unless it reads them."""
        return self

    def select(self, rows: slice | Tensor) -> "Target":  # noqa: ARG002
        """The question for some samples (a slice, or indices); the same for all unless it says otherwise."""
        return self


def _chosen(values: Tensor, rows: slice | Tensor) -> Tensor:
    return values[rows if isinstance(rows, slice) else rows.to(values.device)]


def _tile(values: Tensor, rows: int) -> Tensor:
    return values.repeat(rows // len(values), *[1] * (values.dim() - 1))


class _ClassQuestion(Target):
    """A question whose answer has a probability: loss is its negative logarithm, value the probability itself."""

    @abstractmethod
    def _asked(self) -> Tensor:
        """The class indices that are named."""

    @abstractmethod
    def _answer(self, log_probabilities: Tensor) -> Tensor:
        """Ln of the answer's probability per row, from those of all classes (rows, classes); the same for logits."""

    def check(self, output: Any) -> None:
        """Refuse classes that the network does not have."""
        number, asked = logits_of(output).shape[1], self._asked()
        wrong = asked[(asked < 0) | (asked >= number)]
        if len(wrong):
            raise TargetError(f"class {int(wrong[0])} does not exist: the network has classes 0 to {number - 1}")

    def loss(self, output: Any) -> Tensor:
        """-ln of the probability."""
        return -self._answer(F.log_softmax(logits_of(output), 1))

    def value(self, output: Any) -> Tensor:
        """The probability."""
        return self._answer(F.log_softmax(logits_of(output), 1)).exp()

    def score(self, output: Any) -> Tensor:
        """The logit (of log-odds: with a minus for class 0); of several classes the log of the sum of exponentials."""
        columns = _columns(output)
        return self._answer(torch.cat([-columns, columns], 1) if columns.shape[1] == 1 else columns)


class ClassTarget(_ClassQuestion):
    """The class with this index: loss is the cross-entropy, value the softmax probability.

    Args:
        classes: (N,) class indices, one for each sample.
    """

    def __init__(self, classes: Tensor) -> None:
        self.classes, self.count = classes, len(classes)

    def _asked(self) -> Tensor:
        return self.classes

    def _answer(self, log_probabilities: Tensor) -> Tensor:
        index = _tile(self.classes.to(log_probabilities.device), len(log_probabilities))
        return log_probabilities.gather(1, index[:, None])[:, 0]

    def describe(self) -> tuple[str, ...]:
        """The index of each sample's class."""
        return tuple(str(int(index)) for index in self.classes)

    def select(self, rows: slice | Tensor) -> "ClassTarget":
        """The classes of some samples."""
        return ClassTarget(_chosen(self.classes, rows))


class LogOdds(ClassTarget):
    """The class with this index, by its log-odds: loss is -ln(p / (1 - p)), value the softmax probability p.

    Unlike the cross-entropy it goes on to grow when the class is all but certain, so evidence that is not needed to be
    certain counts as well.

    Args:
        classes: (N,) class indices, one for each sample.
    """

    def loss(self, output: Any) -> Tensor:
        """Minus the log-odds."""
        logits = logits_of(output)
        index = _tile(self.classes.to(logits.device), len(logits))[:, None]
        return torch.logsumexp(logits.scatter(1, index, -torch.inf), 1) - logits.gather(1, index)[:, 0]

    def select(self, rows: slice | Tensor) -> "LogOdds":
        """The classes of some samples."""
        return LogOdds(_chosen(self.classes, rows))


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
        values: (N,) what the network should go on to say, its own clean output as a rule.
        scale: the error that matters (> 0); the loss is ((output - value) / scale)² / 2.
        column: which output of several.
    """

    measure = "score"

    def __init__(self, values: Tensor, *, scale: float = 1.0, column: int = 0) -> None:
        self.values, self.scale, self.column, self.count = values, scale, column, len(values)

    def loss(self, output: Any) -> Tensor:
        """Half the squared error."""
        got = self.value(output)
        return 0.5 * ((got - _tile(self.values.to(got.device), len(got))) / self.scale).square()

    def value(self, output: Any) -> Tensor:
        """The output."""
        tensor: Tensor = getattr(output, "logits", output)
        return (tensor[:, self.column] if tensor.dim() > 1 else tensor).float()

    def describe(self) -> tuple[str, ...]:
        """The value to keep, for each sample."""
        return tuple(f"value {float(value):.4g}" for value in self.values)

    def select(self, rows: slice | Tensor) -> "Regression":
        """The values of some samples."""
        return Regression(_chosen(self.values, rows), scale=self.scale, column=self.column)


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


class TextScore(Score):
    """A `Score` of texts that is told where each one ends, for networks that answer at the last token.

    In a batch the last position may be padding, and which one is the last token changes when tokens are removed.

    Args:
        function: (output, last (rows,)) → (rows,); last is the index of the last token that is no padding.
        name: how the question is called in results.
        last: (N,) of the texts, once they are known.
    """

    def __init__(
        self, function: Callable[[Any, Tensor], Tensor], name: str | None = None, last: Tensor | None = None
    ) -> None:
        super().__init__(self._told, name if name is not None else str(getattr(function, "__name__", type(function))))
        self.asked, self.last = function, last
        self.count = None if last is None else len(last)

    def _told(self, output: Any) -> Tensor:
        first = next(leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
        if self.last is None:
            raise TargetError(
                f"target {self.name!r} takes (output, last), but the inputs are no texts with a last token: let it take the "
                "output alone"
            )
        return self.asked(output, _tile(self.last.to(first.device), len(first)))

    def at(self, last: Tensor | None) -> "TextScore":
        """The question about texts whose last tokens (N,) are known."""
        return TextScore(self.asked, self.name, last)

    def select(self, rows: slice | Tensor) -> "TextScore":
        """The question for some texts."""
        return self if self.last is None else TextScore(self.asked, self.name, _chosen(self.last, rows))


def takes_last(function: Callable[..., Any]) -> bool:
    """Whether a callable must be given two arguments: the output, and the last token of each row."""
    try:
        known = inspect.signature(function.forward if isinstance(function, nn.Module) else function)
    except (TypeError, ValueError):  # built in: it does not say
        return False
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in places and p.default is p.empty for p in known.parameters.values()) == 2


def last_token(present: Tensor) -> Tensor:
    """The index of each text's last token (N,), of where there are tokens (N, T) bool."""
    return (torch.arange(present.shape[1], device=present.device) * present).amax(1)


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


def as_target(target: Any, output: Any, count: int, *, last: Tensor | None = None) -> Target:
    """Read what a user gave as a target.

    Args:
        target: None (the predicted class), a class index for all, (N,) indices, a `Target`, or a callable (`Score`). A
            callable that must be given two arguments gets the output and, of each row, the index of the last token that is
            no padding (`TextScore`): `lambda output, last: output.logits[range(len(last)), last, word]`.
        output: the network's clean output for the N samples, which says what classes there are.
        count: N.
        last: of texts, the index of each one's last token (N,).

    Raises:
        TargetError: for an index that is no class, a wrong number of indices, or anything else.
    """
    chosen = _read(target, output, count).at(last)
    _check_count(chosen.count, count)
    chosen.check(output)
    return chosen


def _read(target: Any, output: Any, count: int) -> Target:
    if isinstance(target, Target):
        return target
    if callable(target):
        return TextScore(target) if takes_last(target) else Score(target)
    logits = logits_of(output)
    if target is None:
        return ClassTarget(logits.argmax(1))
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
    classes = classes.long().to(logits.device)
    return ClassTarget(classes if classes.dim() else classes.expand(count))


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
