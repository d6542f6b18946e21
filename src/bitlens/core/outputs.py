"""How the output of a network is to be read: which tensor of it is the answer, and what its numbers are."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from bitlens.errors import SettingError, TargetError

Numbers = Literal[
    "logits", "probabilities", "binary", "binary-probability", "multi-label", "multi-label-probabilities", "regression"
]
"""What the columns of an answer are.

* "logits": scores of classes of which one is right (log-probabilities are such scores, too).
* "probabilities": the same behind a softmax.
* "binary": one column, the log-odds of class 1 of two; "binary-probability": the same behind a sigmoid.
* "multi-label": log-odds of labels, each for itself; "multi-label-probabilities": the same behind a sigmoid.
* "regression": values.
"""

Part = int | str
"""Which of several things that a network returns: its place in a tuple, its name in a mapping or model output."""

OutputChoice = Part | tuple[Part, Numbers] | None
"""What a user says of a network's output: its `Numbers`, the part that is the answer, or both (as text: "1+binary")."""

_KINDS: tuple[str, ...] = get_args(Numbers)
_LABELS = ("multi-label", "multi-label-probabilities")


@dataclass(frozen=True)
class OutputForm:
    """Way to read a network's output.

    Attributes:
        numbers: what the columns of the answer are; one column of "logits" is the log-odds of class 1 of two.
        part: which part of the output is the answer; None for the only tensor, or `logits`.
        refusal: why nobody can tell what the numbers are, empty where one can.
    """

    numbers: Numbers = "logits"
    part: Part | None = None
    refusal: str = ""

    @classmethod
    def chosen(cls, choice: OutputChoice) -> "tuple[OutputForm, bool]":
        """Return what a user said, and whether that says what the numbers are.

        Raises:
            SettingError: if it makes no sense.
        """
        given = choice
        if isinstance(given, str) and "+" in given:
            name, _, kind = given.partition("+")
            given = (int(name) if name.lstrip("-").isdecimal() else name, kind)  # type: ignore[assignment]  # checked below
        pair: tuple[Any, Any] = given if isinstance(given, tuple) and len(given) == 2 else (None, None)
        if given is None or isinstance(given, tuple):
            part, numbers = pair
        else:
            part, numbers = (None, given) if given in _KINDS else (given, None)
        wrong = isinstance(part, bool) or not isinstance(part, int | str | None) or numbers not in (*_KINDS, None)
        if wrong or part == "" or (isinstance(given, tuple) and None in pair):
            raise SettingError(
                f"output must be one of {', '.join(map(repr, _KINDS))}, the place or name of a tensor that the network returns, "
                f"or both as a pair, got {choice!r}"
            )
        return cls(numbers or "logits", part), numbers is not None

    @property
    def labels(self) -> bool:
        """Say whether each column stands for itself."""
        return self.numbers in _LABELS

    def read_as(self, numbers: Numbers) -> "OutputForm":
        """Return the same answer with other numbers in it."""
        return replace(self, numbers=numbers, refusal="")

    def answer(self, output: Any) -> Tensor:
        """Return the tensor that is the answer, as the network gives it, float32 or wider; one place of an image is none.

        Raises:
            TargetError: if the output holds no such tensor, or several.
        """
        tensor = answer_of(output, self.part)
        if tensor.dim() > 3 and tensor.shape[2:].numel() == 1:
            tensor = tensor.flatten(1)
        return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor

    def columns(self, output: Any) -> Tensor:
        """Return the answer as the network gives it: (rows, columns), float32 or wider.

        Raises:
            TargetError: if the output holds no such tensor, or several, or one that answers at many places.
        """
        tensor = self.answer(output)
        if tensor.dim() == 1:
            tensor = tensor[:, None]
        if tensor.dim() != 2:
            raise TargetError(
                f"the network's output has shape {tuple(tensor.shape)}, not (samples, classes): ask about some of its places "
                "(Region, Keypoint), or give a callable target that turns it into one score per sample"
            )
        return tensor

    def everywhere(self, output: Any) -> Tensor:
        """Return the answer as `columns` does, also where there is one at each of many places (rows, columns, places ...).

        Places are copies of the rows: row p * rows + r of the result is place p of row r.

        Raises:
            TargetError: if the output holds no such tensor, or several.
        """
        tensor = self.answer(output)
        return tensor.flatten(2).permute(2, 0, 1).flatten(0, 1) if tensor.dim() > 2 else self.columns(output)

    def margins(self, output: Any) -> Tensor:
        """Return what gradients are taken of, (rows, classes): logits, log-probabilities where there are none, log-odds of two.

        Raises:
            TargetError: if nobody can tell what the numbers are.
        """
        columns = self._read(output)
        if self.numbers == "probabilities":
            return columns.clamp_min(_tiny(columns)).log()
        if self.numbers in ("binary-probability", "multi-label-probabilities"):
            columns = _log_odds(columns)
        return torch.cat([-columns, columns], 1) if self._two(columns) else columns

    def scores(self, output: Any) -> Tensor:
        """Return what a softmax makes the probabilities of classes, (rows, classes); of labels their log-odds, of values these.

        Raises:
            TargetError: if nobody can tell what the numbers are.
        """
        margins = self.margins(output)
        if self._two(self._read(output)):
            return torch.cat([torch.zeros_like(margins[:, 1:]), margins[:, 1:]], 1)
        return margins

    def said(self, output: Any) -> Tensor:
        """Return what people read, (rows, classes): the probability of each class or label, or the value of each column."""
        scores = self.scores(output)
        if self.numbers == "regression":
            return scores
        return scores.sigmoid() if self.labels else scores.softmax(1)

    def _two(self, columns: Tensor) -> bool:
        return columns.shape[1] == 1 and not self.labels and self.numbers != "regression"

    def _read(self, output: Any) -> Tensor:
        columns = self.columns(output)
        if self.refusal:
            raise TargetError(self.refusal)
        if self.numbers.startswith("binary") and columns.shape[1] != 1:
            raise TargetError(
                f"the output has {columns.shape[1]} columns: {self.numbers!r} is for one; say output='logits' or "
                "output='multi-label'"
            )
        return columns


def answer_of(output: Any, part: Part | None) -> Tensor:
    """Return the tensor that is the answer, where the network put it.

    Raises:
        TargetError: if the output holds no such tensor, or several.
    """
    return _only(output if part is None else _part_of(output, part))


def _tiny(values: Tensor) -> float:
    return torch.finfo(values.dtype).tiny


def _log_odds(values: Tensor) -> Tensor:
    """Return the log-odds of probabilities, as large as their precision allows."""
    kept = values.clamp(_tiny(values), 1 - torch.finfo(values.dtype).eps / 2)
    return kept.log() - (-kept).log1p()


def _part_of(output: Any, part: Part) -> Any:
    try:
        if isinstance(part, int):
            return output[part] if isinstance(output, tuple | list) else output.to_tuple()[part]
        return output[part] if isinstance(output, Mapping) else getattr(output, part)
    except (LookupError, AttributeError, TypeError) as error:
        raise TargetError(
            f"output={part!r}, but the network returns {_described(output)}: name one of these"
        ) from error


def _only(output: Any) -> Tensor:
    """Return the tensor that is the answer: the output, its `logits`, or the only tensor in it."""
    if isinstance(output, Tensor):
        found: Any = output
    elif isinstance(output, Mapping) and isinstance(output.get("logits"), Tensor):
        found = output["logits"]
    else:
        found = getattr(output, "logits", None)
    if not isinstance(found, Tensor):
        tensors = [value for value in _parts(output).values() if _holds_numbers(value)]
        if len(tensors) > 1:
            raise TargetError(
                f"the network returns {_described(output)}: say which is the answer with output=, its place or name, or give "
                "a callable target that reads a score from it"
            )
        found = tensors[0] if tensors else None
        if found is not None and not isinstance(found, Tensor):
            return _only(found)
    if found is None:
        raise TargetError(
            f"the network returns {type(output).__name__}: give a callable target that reads a score from it"
        )
    if not found.is_floating_point():
        raise TargetError(
            f"the network returns {found.dtype}, no scores: give it without the argmax, or a callable target"
        )
    answer: Tensor = found
    return answer


def _parts(output: Any) -> dict[Part, Any]:
    """Return what a tuple, a mapping or a data class holds, by place or name."""
    if isinstance(output, tuple | list):
        return dict(enumerate(output))
    if isinstance(output, Mapping):
        return dict(output)
    return dict(vars(output)) if hasattr(output, "__dataclass_fields__") else {}


def _holds_numbers(value: Any) -> bool:
    """Say whether a part could be the answer: it holds real numbers for several rows."""
    if isinstance(value, Tensor):
        return value.is_floating_point() and value.dim() > 0
    return any(map(_holds_numbers, _parts(value).values()))


def _described(output: Any) -> str:
    def shape(value: Any) -> str:
        return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__

    parts = _parts(output)
    if not parts:
        return shape(output)
    return f"{type(output).__name__} with " + ", ".join(f"{name!r}: {shape(value)}" for name, value in parts.items())
