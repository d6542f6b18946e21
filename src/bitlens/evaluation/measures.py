"""The list of every metric by name (metrics.json), for photos and for texts, and how one is made ready."""

import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from typing import Any

from bitlens.data.kinds import Kind
from bitlens.evaluation.metric import Axes, Metric
from bitlens.evaluation.scored import Scored
from bitlens.methods.specs import Spec, parse_specs


def metric_named(name: str) -> Metric:
    """Return a metric for photos or for texts; their names differ."""
    return next(known[name] for known in METRICS.values() if name in known)


def read_metrics(text: str, kind: Kind = "image") -> dict[str, Spec]:
    """Read metrics as a person types them, by label; see `parse_specs`."""
    return parse_specs(text, METRICS[kind], "metric", lambda metric: metric.compute)


def metric_settings(spec: Spec) -> dict[str, Any]:
    """Every setting that a metric computes with, defaults included."""
    metric = metric_named(spec.name)
    parameters = inspect.signature(metric.compute).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    return {**defaults, **metric.preset, **spec.settings}


def ready_metric(spec: Spec) -> Callable[[Any], Scored | None]:
    """The metric with its settings, ready to be computed."""
    return partial(metric_named(spec.name).compute, **metric_settings(spec))


def _read(row: dict[str, Any]) -> Metric:
    axes = row.pop("axes", None)
    return Metric(**row, axes=Axes(**{**axes, "names": tuple(axes["names"])}) if axes is not None else None)


_LISTED = [_read(row) for row in json.loads(files("bitlens.evaluation").joinpath("metrics.json").read_text("utf-8"))]
METRICS: Mapping[Kind, Mapping[str, Metric]] = {
    kind: {metric.name: metric for metric in _LISTED if metric.kind == kind} for kind in ("image", "text")
}
