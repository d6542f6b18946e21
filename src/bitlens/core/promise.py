"""The sentence that a map with a guarantee carries, and the numbers behind it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Promise:
    """The sentence that a map carries: at least this share of inputs keep their class with so many bits.

    Attributes:
        level: the share, 1 - a.
        inputs: of how many others it was measured, n.
        noises: under how many noises at once, K.
        bits: the budget.
    """

    level: float
    inputs: int
    noises: int
    bits: float

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Promise | None":
        """Read it off the settings of an attribution; None where there is none."""
        found = settings.get("guaranteed")
        return cls(**found, bits=settings["bits"]) if isinstance(found, Mapping) else None

    def plain(self) -> dict[str, Any]:
        """Return what the settings of an attribution hold besides the bits."""
        return {name: value for name, value in asdict(self).items() if name != "bits"}

    def __str__(self) -> str:
        return (
            f"at least {100 * self.level:.4g} % of inputs like these keep their class with this much "
            f"({self.bits:,.0f} bits; measured on {self.inputs:,} others, by the mean answer under {self.noises} noises)"
        )
