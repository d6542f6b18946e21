"""What is asked of a network beside classes: a label by itself, a value, any function of the output, a similarity."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.core.inputs import tensors_of
from bitlens.core.outputs import Numbers, OutputForm
from bitlens.core.questions import Target, changed, check_indices, tiled
from bitlens.errors import TargetError


class MultiLabel(Target):
    """The label with this index, whatever the others are: loss is minus its own log-odds, value its own probability.

    Args:
        labels: (N,) indices, one for each sample; None for each sample's label with the highest score.
    """

    each = "labels"

    def __init__(self, labels: Tensor | None = None) -> None:
        self.labels, self.count = labels, None if labels is None else len(labels)

    def asked_of(self, form: OutputForm, output: Any, count: int) -> Target:  # noqa: ARG002
        """Return the same of a network whose columns are labels, which is thereby said where nothing else says what they are."""
        behind: Numbers = "multi-label-probabilities" if "probabilit" in form.numbers else "multi-label"
        form = form.read_as(behind)
        labels = form.scores(output).argmax(1) if self.labels is None else self.labels
        return changed(self, form=form, labels=labels, count=len(labels))

    def check(self, output: Any) -> None:
        """Refuse labels that the network does not have."""
        check_indices(self._labels, self.form.scores(output).shape[1])

    def loss(self, output: Any) -> Tensor:
        """Return minus the label's log-odds."""
        return -self.score(output)

    def value(self, output: Any) -> Tensor:
        """Return the label's probability."""
        return self.score(output).sigmoid()

    def score(self, output: Any) -> Tensor:
        """Return the label's log-odds."""
        scores = (self.form if self.form.labels else self.form.read_as("multi-label")).scores(output)
        index = tiled(self._labels.to(scores.device), len(scores))
        return scores.gather(1, index[:, None])[:, 0]

    def describe(self) -> tuple[str, ...]:
        """Return the index of each sample's label."""
        return tuple(str(int(index)) for index in self._labels)

    @property
    def _labels(self) -> Tensor:
        if self.labels is None:
            raise TargetError("MultiLabel() names no label until it is asked of a network: give MultiLabel(labels)")
        return self.labels


class Regression(Target):
    """Keep an output at its value: loss is the squared error in units of `scale`, value the output itself.

    Args:
        values: (N,) what the network should go on to say; None for its own clean output, of which a share is kept in any case.
        scale: the error that matters (> 0); the loss is ((output - value) / scale)² / 2. None for 1 where each bit has a price,
            and where a share is to be kept, or so many bits may pass, for what is measured against noise.
        column: which output of several; None for the only one (the first, where values are given).

    Raises:
        TargetError: if the scale is no number above 0.
    """

    measure, each, two_sided = "score", "values", True

    def __init__(self, values: Tensor | None = None, *, scale: float | None = None, column: int | None = None) -> None:
        if scale is not None and not 0 < scale < math.inf:
            raise TargetError(f"the scale of a Regression must be a number above 0, got {scale!r}")
        self.values, self.scale, self.column = values, scale, column
        self.in_nats = scale is not None
        self.count = None if values is None else len(values)

    def asked_of(self, form: OutputForm, output: Any, count: int) -> Target:  # noqa: ARG002
        """Return the same of a network that is thereby said to give values; what it gives if no other was named."""
        asked = changed(self, form=form.read_as("regression"))
        asked.check(output)
        values = asked.value(output).detach() if asked.values is None else asked.values
        return changed(asked, values=values, count=len(values))

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
        """Return half the squared error."""
        got = self.value(output)
        if self.values is None:
            raise TargetError("Regression() knows no values until it is asked of a network: give Regression(values)")
        scale = 1.0 if self.scale is None else self.scale
        return 0.5 * ((got - tiled(self.values.to(got.device), len(got))) / scale).square()

    def opposed(self) -> "Regression":
        """Refuse: what raises a value is not for it, nor what lowers it against it."""
        raise TargetError(
            "nothing speaks for or against the value of a regression: ask for what raises an output with a function of it, "
            "lambda output: output[:, 0]"
        )

    def value(self, output: Any) -> Tensor:
        """Return the output."""
        columns = self.form.columns(output)
        return columns[:, (self.column or 0) if columns.shape[1] > 1 else 0].float()

    def describe(self) -> tuple[str, ...]:
        """Return the value to keep, for each sample."""
        of = "" if self.column is None else f" of output {self.column}"
        return ("value",) if self.values is None else tuple(f"value {float(value):.4g}{of}" for value in self.values)


class Score(Target):
    """Any function of the output that gives one differentiable number per row; larger means more of what is asked.

    Args:
        function: output → (rows,). It must treat every row alike, since rows are noisy copies of samples.
        name: how the question is called in results.
    """

    measure, in_nats = "score", False

    def __init__(self, function: Callable[[Any], Tensor], name: str | None = None) -> None:
        self.function = function
        self.name = name if name is not None else str(getattr(function, "__name__", type(function).__name__))

    def loss(self, output: Any) -> Tensor:
        """Return the negative score."""
        return -self.value(output)

    def value(self, output: Any) -> Tensor:
        """Return the score."""
        score = self._told(output)
        if not isinstance(score, Tensor) or score.dim() != 1:
            shape = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
            raise TargetError(
                f"target {self.name!r} must return one number per row, shape (rows,); it returned {shape}"
            )
        return score.float()

    def _told(self, output: Any) -> Any:
        return self.function(output)

    def describe(self) -> tuple[str, ...]:
        """Return one text, which stands for all samples."""
        return (self.name,)


class TextScore(Score):
    """A `Score` of texts that is told where each one ends, for networks that answer at the last token.

    In a batch the last position may be padding, and which one is the last token changes when tokens are removed.

    Args:
        function: (output, last (rows,)) → (rows,); last is the index of the last token that is no padding.
        name: how the question is called in results.
    """

    each, last = "last", None
    function: Callable[..., Tensor]

    def _told(self, output: Any) -> Any:
        if self.last is None:
            raise TargetError(
                f"target {self.name!r} takes (output, last), but the inputs are no texts with a last token: let it take the "
                "output alone"
            )
        first = tensors_of(output)[0]
        return self.function(output, tiled(self.last.to(first.device), len(first)))

    def at(self, last: Tensor | None) -> "TextScore":
        """Return the question about texts whose last tokens (N,) are known."""
        return changed(self, last=last, count=None if last is None else len(last))


def takes_last(function: Callable[..., Any]) -> bool:
    """Say whether a callable must be given two arguments: the output, and the last token of each row."""
    try:
        known = inspect.signature(function.forward if isinstance(function, nn.Module) else function)
    except (TypeError, ValueError):  # built in: it does not say
        return False
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in places and p.default is p.empty for p in known.parameters.values()) == 2


def last_token(present: Tensor) -> Tensor:
    """Return the index of each text's last token (N,), of where there are tokens (N, T) bool."""
    return (torch.arange(present.shape[1], device=present.device) * present).amax(1)


class Similarity(Target):
    """Cosine similarity of the output with a given embedding (M2IB's fit term).

    Args:
        embeddings: (N, D), one for each sample, or (1, D) for all.
    """

    measure, each, in_nats = "score", "embeddings", False

    def __init__(self, embeddings: Tensor) -> None:
        self.embeddings = embeddings
        self.count = len(embeddings) if len(embeddings) > 1 else None

    def loss(self, output: Any) -> Tensor:
        """Return the negative similarity."""
        return -self.value(output)

    def value(self, output: Any) -> Tensor:
        """Return cosine similarity in [-1, 1]."""
        tensor = output if isinstance(output, Tensor) else output[0]
        return F.cosine_similarity(tensor.float(), tiled(self.embeddings.to(tensor), len(tensor)).float(), dim=1)

    def describe(self) -> tuple[str, ...]:
        """Return one text, which stands for all samples."""
        return ("similarity",)
