"""What the lists of metrics say of each, for photos and for texts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bitlens.evaluation.scored import Scored

__all__ = ["Axes", "Metric"]


@dataclass(frozen=True)
class Axes:
    """How the curves of a metric are drawn.

    Attributes:
        x: what is counted along the x axis.
        y: what is measured.
        names: of the upper and the lower curve; one name for a single curve.
        logarithmic: whether x is.
        normalised: whether mean curves go from 1 at their beginning to 0 at their end (equation 9).
        x_names: the metric's settings → what stands along x in place of 0, 1, 2, …
    """

    x: str
    y: str
    names: tuple[str, ...]
    logarithmic: bool = False
    normalised: bool = False
    x_names: Callable[[Mapping[str, Any]], Sequence[str]] = lambda settings: ()  # noqa: ARG005


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
        compute: (case, *, settings) → the score, or None where the metric does not apply to the photo.
        preset: settings that differ from the defaults of `compute`.
        axes: of its curves, for metrics with curves.
    """

    name: str
    title: str
    summary: str
    better: Literal["higher", "lower"]
    range: str
    source: str
    passes: str
    compute: Callable[..., Scored | None]
    needs: str = ""
    preset: Mapping[str, Any] = field(default_factory=dict)
    axes: Axes | None = None
