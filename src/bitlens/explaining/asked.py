"""What a network says of one sample, asked once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from bitlens.core.outputs import OutputForm
from bitlens.core.regions import AtPlaces
from bitlens.core.targets import Target, as_target

T = TypeVar("T")


class Once:
    """Makes things by name, each the first time that it is asked for."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __call__(self, name: str, make: Callable[[], T]) -> T:
        """Return what was made under a name, or make it now."""
        if name not in self._made:
            self._made[name] = make()
        made: T = self._made[name]
        return made


@dataclass(frozen=True)
class Asked:
    """One sample, and what the network says of it.

    Attributes:
        fingerprint: of the sample's content, 16 hexadecimal digits.
        target: the class, label or value (its index) that is asked about: the sample's label, or the predicted one where there
            is none; or another question.
        predicted: the class that the network names; 0 of a regression with one value; of networks that answer at places the
            class that is asked about where it is predicted; None where another question is asked.
        probability: of the target; of a regression the value.
        asked: what is asked about, as attributions say it: the index, or the value of a regression.
        measure: what `probability` is: "probability" or "score".
        said: (classes,) the probability of each class or label, or the value of each column, on the CPU; empty where the network
            names no class of the whole sample.
    """

    fingerprint: str
    target: int | Target
    predicted: int | None
    probability: float
    asked: str
    measure: str
    said: Tensor
    once: Once = field(default_factory=Once, init=False, repr=False)
    """Keeps what does not depend on a map and several methods are measured with."""

    @property
    def confidence(self) -> float | None:
        """Return the probability of the predicted class; of a regression with one value the value; None where none is named."""
        return float(self.said[self.predicted]) if len(self.said) and self.predicted is not None else None


def answered(
    output: Any, label: int | Target | None, form: OutputForm
) -> tuple[int | Target, int | None, float, str, str, Tensor]:
    """Read off a network's output what is asked about, what it names, and what it says: see `Asked`."""
    question = as_target(label, output, 1, form)
    (asked,) = question.describe()
    value = float(question.value(output))
    if label is not None and (isinstance(label, Target) or isinstance(question, AtPlaces)):
        return label, label if isinstance(label, int) else None, value, asked, question.measure, torch.empty(0)
    predicted = 0 if form.numbers == "regression" else int(form.scores(output).argmax(1))
    said = form.said(output)[0].detach().cpu()
    return predicted if label is None else label, predicted, value, asked, question.measure, said
