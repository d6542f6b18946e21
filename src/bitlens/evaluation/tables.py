"""From rows to one table: a mean with its standard error for each method and metric, and paired tests between methods."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.errors import DataError, SettingError
from bitlens.evaluation.measures import Metric, metric_named
from bitlens.evaluation.paired import Comparison, Mean, compare, mean_of
from bitlens.evaluation.pinned import read_settings
from bitlens.evaluation.store import RowStore, Series

_AS_MANY = 0.9  # of the most samples of a metric: over fewer a mean is not called the best, for it may be one of easier samples


@dataclass(frozen=True)
class Selection:
    """Choice of the rows that count.

    Attributes:
        methods: labels; None for all that are there.
        metrics: labels, or names that stand for all their labels; None for all that are there.
        part: (k, n): only samples of the k-th of n parts.
        least_probability: only samples whose target has at least this probability for the unchanged photo.
        reference: label of the method that the others are compared with; None for `token-iba` or `iba`, or else the first.
    """

    methods: Sequence[str] | None = None
    metrics: Sequence[str] | None = None
    part: tuple[int, int] = (1, 1)
    least_probability: float = 0.0
    reference: str | None = None


@dataclass(frozen=True)
class Cell:
    """One method in one metric.

    Attributes:
        method: label.
        metric: label.
        mean: with its standard error, over the samples that have a value.
        failures: how many samples failed.
        best: whether no method has a better mean in this metric, of those with as good as all samples.
        versus: compared with the reference; None for the reference itself, and where they have no sample in common.
    """

    method: str
    metric: str
    mean: Mean
    failures: int
    best: bool = False
    versus: Comparison | None = None


@dataclass(frozen=True)
class Table:
    """Findings of an evaluation.

    Attributes:
        settings: what the rows were made with.
        cells: by (method, metric), in the order of the settings.
        reference: the method that the others are compared with.
        samples: how many samples have a value or a failure.
        accuracy: share of the samples whose target is the predicted class.
        reasons: (method, metric, reason) → how many samples failed so.
        indices: (method, metric) → positions of the samples that have a value.
    """

    settings: Mapping[str, Any]
    cells: Mapping[tuple[str, str], Cell]
    reference: str
    samples: int
    accuracy: float
    reasons: Mapping[tuple[str, str, str], int]
    indices: Mapping[tuple[str, str], npt.NDArray[np.int64]]

    @property
    def methods(self) -> list[str]:
        """Labels, in order."""
        return list(dict.fromkeys(method for method, _ in self.cells))

    @property
    def metrics(self) -> list[str]:
        """Labels, in order."""
        return list(dict.fromkeys(metric for _, metric in self.cells))

    def plain(self) -> dict[str, Any]:
        """Return plain values, the same for the same rows; nothing that was not measured is a number."""
        rows = []
        for cell in self.cells.values():
            row = {"method": cell.method, "metric": cell.metric, **asdict(cell.mean), "failures": cell.failures}
            row["better"] = metric_of(cell.metric).better
            if cell.versus is not None:
                row["versus"] = {"reference": self.reference, **asdict(cell.versus)}
            rows.append(row)
        reasons = [
            {"method": method, "metric": metric, "reason": reason, "samples": count}
            for (method, metric, reason), count in self.reasons.items()
        ]
        about = {"samples": self.samples, "accuracy": self.accuracy, "reference": self.reference}
        made: dict[str, Any] = _without_nan({"settings": self.settings, **about, "rows": rows, "failures": reasons})
        return made


def metric_of(label: str) -> Metric:
    """Return the metric of the list that a label names."""
    return metric_named(label.partition("[")[0])


def build_table(folder: Path, selection: Selection | None = None) -> Table:
    """Read the rows of a folder into a table.

    Raises:
        DataError: if the folder holds no rows.
        SettingError: if the selection names what is not there, or leaves nothing.
    """
    selection = selection or Selection()
    settings = read_settings(folder)
    found = RowStore(folder / "rows", settings.get("samples")).series()
    if not found:
        raise DataError(f"{folder} holds no rows yet: `bitlens evaluate … --out {folder}` makes them")
    methods = _chosen("method", selection.methods, _in_order(settings["methods"], (m for m, _ in found)))
    metrics = _chosen("metric", selection.metrics, _in_order(settings["metrics"], (m for _, m in found)))
    if not methods or not metrics:
        raise DataError(
            f"the rows in {folder} are of methods or metrics that its settings do not name: use another --out"
        )
    part = {
        (method, metric): _restricted(found[method, metric], selection)
        for method in methods
        for metric in metrics
        if (method, metric) in found
    }
    reference = _reference(selection.reference, methods)
    known, correct = _samples(part.values())
    return Table(
        settings,
        with_best({pair: _cell(pair, part, reference) for pair in part}),
        reference,
        known,
        correct,
        _reasons(part),
        {pair: series.index[~np.isnan(series.value)] for pair, series in part.items()},
    )


def _samples(part: Iterable[Series]) -> tuple[int, float]:
    """Return how many samples have a value or a failure, and which share of those with values asks for the predicted class."""
    series = list(part)
    longest = 1 + max(int(max(one.index.max(initial=-1), max(one.failures, default=-1))) for one in series)
    valued, failed, correct = (np.zeros(longest, bool) for _ in range(3))
    for one in series:
        valued[one.index] = True
        correct[one.index] = one.correct
        failed[np.fromiter(one.failures, np.int64, len(one.failures))] = True
    return int((valued | failed).sum()), float(correct[valued].mean()) if valued.any() else math.nan


def _in_order(known: Iterable[str], present: Iterable[str]) -> list[str]:
    there = set(present)
    return [label for label in known if label in there]


def _chosen(kind: str, wanted: Sequence[str] | None, present: list[str]) -> list[str]:
    if wanted is None:
        return present
    chosen: list[str] = []
    for name in wanted:
        fitting = [label for label in present if label == name or label.partition("[")[0] == name]
        fitting = fitting or [label for label in present if label.startswith(f"{name}-")]
        if not fitting:
            raise SettingError(f"there are no results of the {kind} {name!r}: there are {', '.join(present)}")
        chosen += [label for label in fitting if label not in chosen]
    return chosen


def _restricted(series: Series, selection: Selection) -> Series:
    number, parts = selection.part
    kept = (series.index % parts == number - 1) & ~(series.probability < selection.least_probability)
    if kept.all() and parts == 1:
        return series
    names = ("index", "value", "scale", "probability", "correct")
    failures = {index: reason for index, reason in series.failures.items() if index % parts == number - 1}
    return replace(series, **{name: getattr(series, name)[kept] for name in names}, failures=failures)


def _reference(wanted: str | None, methods: list[str]) -> str:
    if wanted is None:
        return next((label for label in ("token-iba", "iba") if label in methods), methods[0])
    if wanted not in methods:
        raise SettingError(f"there are no results of the reference {wanted!r}: there are {', '.join(methods)}")
    return wanted


def _cell(pair: tuple[str, str], part: Mapping[tuple[str, str], Series], reference: str) -> Cell:
    method, metric = pair
    series, other = part[pair], part.get((reference, metric))
    versus = compare(series, other) if other is not None and method != reference else None
    compared = versus if versus and versus.count else None
    return Cell(method, metric, mean_of(series), len(series.failures), versus=compared)


def with_best(cells: Mapping[tuple[str, str], Cell]) -> dict[tuple[str, str], Cell]:
    """Say of every cell, by method and metric, whether it is the best of its metric, among means over as good as all samples."""
    found = {pair: replace(cell, best=False) for pair, cell in cells.items()}
    for metric in dict.fromkeys(metric for _, metric in cells):
        column = {pair: cell.mean for pair, cell in cells.items() if pair[1] == metric and cell.mean.count}
        most = max((mean.count for mean in column.values()), default=0)
        whole = {pair: mean.mean for pair, mean in column.items() if mean.count >= _AS_MANY * most}
        if whole:
            best = (max if metric_of(metric).better == "higher" else min)(whole.values())
            found |= {pair: replace(found[pair], best=True) for pair, mean in whole.items() if mean == best}
    return found


def _reasons(part: Mapping[tuple[str, str], Series]) -> dict[tuple[str, str, str], int]:
    counted = Counter((*pair, reason) for pair, series in part.items() for reason in series.failures.values())
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
