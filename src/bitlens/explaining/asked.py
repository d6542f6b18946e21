"""What a network says of one sample, asked once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bitlens.core.targets import as_target, logits_of

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """One sample, and what the network says of it.

    Attributes:
        fingerprint: of the sample's content, 16 hexadecimal digits.
        target: the class that is asked about: the sample's label, or the predicted one where there is none.
        predicted: the class that the network names.
        probability: of the target.
    """

    fingerprint: str
    target: int
    predicted: int
    probability: float
    _shared: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Make what does not depend on a map and several methods are measured with, the first time."""
        if name not in self._shared:
            self._shared[name] = make()
        shared: T = self._shared[name]
        return shared


def answered(output: Any, label: int | None) -> tuple[int, int, float]:
    """Read off a network's output which class is asked about, which one it names, and how probable the first is."""
    predicted = int(logits_of(output).argmax(1))
    target = predicted if label is None else label
    return target, predicted, float(as_target(target, output, 1).value(output))
