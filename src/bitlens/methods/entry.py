"""What the list of methods says of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from bitlens.core.attribution import Attribution

__all__ = ["Method", "MethodEntry"]


class Method(Protocol):
    """Anything that turns inputs and targets into an attribution."""

    def explain(self, inputs: Any, targets: Any = None) -> Attribution:
        """Explain a batch; see the method's own documentation for what else it takes."""
        ...


@dataclass(frozen=True)
class MethodEntry:
    """One method of the list.

    Attributes:
        name: as used everywhere.
        summary: one line.
        paper: where it comes from.
        unit: of its maps, for images.
        passes: forward and backward passes of (a part of) the network for one input, with default settings.
        build: from a network and settings to the method.
        needs_layer: whether the settings must name a layer.
        learns: what it must learn on other inputs first, by its method `fit_...`: "statistics", "patterns", "weights" (of a
            readout), or nothing.
        signed: whether the sign of its scores means something (evidence for and against).
        supports: on which networks it works.
    """

    name: str
    summary: str
    paper: str
    unit: str
    passes: str
    build: Callable[..., Method]
    needs_layer: bool = False
    learns: Literal["", "statistics", "patterns", "weights"] = ""
    signed: bool = False
    supports: str = "any network"
