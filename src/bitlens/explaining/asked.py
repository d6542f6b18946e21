"""What a network says of one sample, asked once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

from bitlens.core.outputs import OutputForm
from bitlens.core.targets import as_target

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
            is none.
        predicted: the class that the network names; 0 of a regression with one value.
        probability: of the target; of a regression the value.
        asked: what is asked about, as attributions say it: the index, or the value of a regression.
        measure: what `probability` is: "probability" or "score".
        said: (classes,) the probability of each class or label, or the value of each column, on the CPU.
    """

    fingerprint: str
    target: int
    predicted: int
    probability: float
    asked: str
    measure: str
    said: Tensor
    once: Once = field(default_factory=Once, init=False, repr=False)
    """Keeps what does not depend on a map and several methods are measured with."""

    @property
    def confidence(self) -> float:
        """Return the probability of the predicted class; of a regression with one value the value."""
        return float(self.said[self.predicted])


def answered(output: Any, label: int | None, form: OutputForm) -> tuple[int, int, float, str, str, Tensor]:
    """Read off a network's output what is asked about, what it names, and what it says: see `Asked`."""
    question = as_target(label, output, 1, form)
    predicted = 0 if form.numbers == "regression" else int(form.scores(output).argmax(1))
    (asked,) = question.describe()
    said = form.said(output)[0].detach().cpu()
    target = predicted if label is None else label
    return target, predicted, float(question.value(output)), asked, question.measure, said
