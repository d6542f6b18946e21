"""What the lists of metrics say of each, for photos and for texts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any, Literal

from bitlens.data.kinds import Kind
from bitlens.evaluation.scored import Scored


@dataclass(frozen=True)
class Axes:
    """How the curves of a metric are drawn.

    Attributes:
        x: what is counted along the x axis.
        y: what is measured.
        names: of the upper and the lower curve; one name for a single curve.
        logarithmic: whether x is.
        normalised: whether mean curves go from 1 at their beginning to 0 at their end (equation 9).
        x_names: the function that names what stands along x in place of numbers, if one does.
    """

    x: str
    y: str
    names: tuple[str, ...]
    logarithmic: bool = False
    normalised: bool = False
    x_names: str = ""

    def along(self, settings: Mapping[str, Any]) -> Sequence[str]:
        """Name what stands along x in place of 0, 1, 2, …, by the metric's settings; nothing where numbers stand there."""
        return _function(self.x_names)(settings) if self.x_names else ()


@dataclass(frozen=True)
class Metric:
    """One metric of the list.

    Attributes:
        name: as used everywhere.
        title: for the heads of tables and plots.
        summary: one line.
        better: which direction is.
        range: of the values, with what chance scores.
        source: where it comes from.
        passes: of the network for one map, with default settings; making the map is not counted.
        needs: what it needs of a sample besides the photo.
        function: module and name of `compute`.
        kind: what the networks read.
        preset: settings that differ from the defaults of the function.
        axes: of its curves, for metrics with curves.
    """

    name: str
    title: str
    summary: str
    better: Literal["higher", "lower"]
    range: str
    source: str
    passes: str
    function: str
    kind: Kind = "image"
    needs: str = ""
    preset: Mapping[str, Any] = field(default_factory=dict)
    axes: Axes | None = None

    @cached_property
    def compute(self) -> Callable[..., Scored | None]:
        """(case, *, settings) → the score, or None where the metric does not apply to the sample."""
        return _function(self.function)


def _function(place: str) -> Callable[..., Any]:
    """A function of this room by its module and name."""
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(import_module(f"bitlens.evaluation.{module}"), name)
    return found
