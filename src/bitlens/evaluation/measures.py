"""The list of every metric by name (metrics.json), for photos and for texts, and how one is made ready."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from importlib import import_module
from importlib.resources import files
from typing import Any, Literal

from bitlens.data.kinds import Kind
from bitlens.evaluation.scored import Scored
from bitlens.methods.settings import Listed, settings_in, settings_of
from bitlens.methods.specs import Spec, parse_specs


@dataclass(frozen=True)
class Axes:
    """Axes on which the curves of a metric are drawn.

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
        name: as used everywhere, tables and plots included.
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

    @cached_property
    def listed(self) -> Listed:
        """Settings that it takes; of a metric of the list without a network library."""
        return _in_the_file().get((self.kind, self.name)) or settings_of(self.compute)


def _function(place: str) -> Callable[..., Any]:
    """Return a function of this room by its module and name."""
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(import_module(f"bitlens.evaluation.{module}"), name)
    return found


@cache
def _in_the_file() -> dict[tuple[str, str], Listed]:
    return settings_in("evaluation")


def metric_named(name: str) -> Metric:
    """Return a metric for photos or for texts; their names differ."""
    return next(known[name] for known in METRICS.values() if name in known)


def read_metrics(text: str, kind: Kind = "image") -> dict[str, Spec]:
    """Read metrics as a person types them, by label; see `parse_specs`."""
    return parse_specs(text, METRICS[kind], "metric", lambda metric: metric.listed.kinds)


def metric_settings(spec: Spec) -> dict[str, Any]:
    """Return every setting that a metric computes with, defaults included."""
    metric = metric_named(spec.name)
    parameters = inspect.signature(metric.compute).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    return {**defaults, **metric.preset, **spec.settings}


def ready_metric(spec: Spec) -> Callable[[Any], Scored | None]:
    """Return the metric with its settings, ready to be computed."""
    return partial(metric_named(spec.name).compute, **metric_settings(spec))


def _read(row: dict[str, Any]) -> Metric:
    axes = row.pop("axes", None)
    return Metric(**row, axes=Axes(**{**axes, "names": tuple(axes["names"])}) if axes is not None else None)


_LISTED = [_read(row) for row in json.loads(files("bitlens.evaluation").joinpath("metrics.json").read_text("utf-8"))]
METRICS: Mapping[Kind, Mapping[str, Metric]] = {
    kind: {metric.name: metric for metric in _LISTED if metric.kind == kind} for kind in ("image", "text")
}
