"""The list of every method by name. Command line, metrics and app read this and nothing else."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import nn

from bitlens.attribution import Attribution
from bitlens.baselines.gradient import Gradient
from bitlens.bottlenecks.per_sample import IBA
from bitlens.errors import SettingError

__all__ = ["METHODS", "Method", "MethodEntry", "method"]


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
        learns: what it must learn on other inputs first, by its method `fit_...`: "statistics", "patterns", or nothing.
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
    learns: Literal["", "statistics", "patterns"] = ""
    signed: bool = False
    supports: str = "any network"


METHODS: dict[str, MethodEntry] = {
    entry.name: entry
    for entry in (
        MethodEntry(
            name="iba",
            summary="bits that pass one layer when noise, optimised for this input, hides all that is not needed",
            paper="Schulz et al., Restricting the Flow (ICLR 2020)",
            unit="bits/pixel",
            passes="90 behind the layer (forward and backward), 1 full, 32 forward for the evidence",
            build=IBA,
            needs_layer=True,
            learns="statistics",
        ),
        MethodEntry(
            name="gradient",
            summary="the gradient of the score, mean over colours",
            paper="Baehrens et al., How to explain individual classification decisions (JMLR 2010)",
            unit="score",
            passes="1 full (forward and backward)",
            build=Gradient,
            signed=True,
        ),
    )
}


def method(name: str, model: nn.Module, **settings: Any) -> Method:
    """A method by name, ready to explain.

    Args:
        name: one of `METHODS`.
        model: the network.
        **settings: what the method takes besides.

    Raises:
        SettingError: if there is no such method.
    """
    if name not in METHODS:
        close = difflib.get_close_matches(name, METHODS, n=3) or list(METHODS)
        raise SettingError(f"there is no method {name!r}; did you mean {' or '.join(map(repr, close))}?")
    return METHODS[name].build(model, **settings)
