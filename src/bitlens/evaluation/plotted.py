"""What the pictures of an evaluation show: mean curves of every metric that has some, and all scores with standard errors."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.evaluation.formats import about
from bitlens.evaluation.measures import Axes
from bitlens.evaluation.store import RowStore
from bitlens.evaluation.tables import Table, metric_of
from bitlens.system.columns import as_column, numbers
from bitlens.view.charts import Chart, Curve, Dots, Plot

Floats = npt.NDArray[np.float64]


def plots_of(folder: Path, table: Table) -> Iterator[Plot]:
    """Yield the plots of an evaluation: the scores, and the curves of every metric that has some.

    Args:
        folder: of the results.
        table: made of them.
    """
    yield _scores(table)
    curved = {metric: axes for metric in table.metrics if (axes := metric_of(metric).axes) is not None}
    found = _mean_curves(RowStore(folder / "rows"), curved, table) if curved else {}
    for metric, means in found.items():
        yield _curves(table, metric, curved[metric], means)


def _scores(table: Table) -> Plot:
    names = _best_first(table, table.metrics[0])
    columns = []
    for metric in table.metrics:
        cells = [table.cells.get((name, metric)) for name in names]
        values = np.array([cell.mean.mean if cell is not None else np.nan for cell in cells])
        errors = np.array([cell.mean.standard_error if cell is not None else np.nan for cell in cells])
        columns.append(Dots(metric, metric_of(metric).better, values, errors))
    caption = f"Mean ± standard error; ↑ higher is better, ↓ lower is better · {about(table)}"
    return Plot("scores", "Scores of the methods", caption, names, columns)


def _curves(table: Table, metric: str, axes: Axes, means: "Mapping[str, _MeanCurves]") -> Plot:
    best_first = _best_first(table, table.metrics[0])  # the same order, and so the same colours, in all pictures
    names = [table.reference, *(name for name in best_first if name != table.reference)]
    names = [name for name in names if name in means]
    charts = [
        Chart(
            axes.names[side] if len(axes.names) > 1 else "",
            [means[name].curve(name, side) for name in names],
            axes.x,
            axes.y,
            axes.logarithmic,
            axes.along(table.settings["metrics"][metric]),
        )
        for side in range(len(axes.names))
    ]
    caption = f"Mean over samples, with its standard error as a band · {about(table)}"
    stem = f"curves-{re.sub('[^a-z0-9.]+', '-', metric).strip('-')}"
    title = f"Curves of {_without_layers(metric) if charts[0].x_names else metric}"
    return Plot(stem, title, caption, names, charts)


def _without_layers(metric: str) -> str:
    """Return a label without the layers that stand along the axis already."""
    name, _, settings = metric.rstrip("]").partition("[")
    others = [text for text in settings.split(",") if text and not text.startswith("layers=")]
    return f"{name}[{','.join(others)}]" if others else name


def _best_first(table: Table, metric: str) -> list[str]:
    sign = -1.0 if metric_of(metric).better == "higher" else 1.0

    def key(name: str) -> tuple[bool, float]:
        cell = table.cells.get((name, metric))
        return (True, 0.0) if cell is None or not cell.mean.count else (False, sign * cell.mean.mean)

    return sorted(table.methods, key=key)


@dataclass
class _MeanCurves:
    """Sums over samples at the points of the first one; points that are NaN do not count.

    The mean of curves is Σ y / Σ 1. After equation 9 it is a ratio of means, from 1 (the photo) to 0 (everything replaced):
    Σ (y - end) / Σ (beginning - end). Both are Σ a / Σ b, with the standard error of the residuals a - ratio · b.
    """

    x: Floats
    normalise: bool
    sums: list[Floats] = field(default_factory=list)

    def add(self, curves: list[Floats]) -> None:
        """Add the curves (n, points) of each side."""
        if not self.sums:
            self.sums = [np.zeros((6, len(self.x))) for _ in curves]
        for side, values in enumerate(curves):
            known = np.isfinite(values)
            a, b = (values - values[:, -1:], values[:, :1] - values[:, -1:]) if self.normalise else (values, 1.0)
            a, b = np.where(known, a, 0), np.where(known, b, 0)
            self.sums[side] += np.stack(
                [known.sum(0), a.sum(0), b.sum(0), (a * a).sum(0), (a * b).sum(0), (b * b).sum(0)]
            )

    def curve(self, name: str, side: int) -> Curve:
        """Return the mean curve and its standard error."""
        with np.errstate(divide="ignore", invalid="ignore"):  # points that no sample has, or only one
            count, a, b, aa, ab, bb = self.sums[side]
            ratio = a / b
            variance = np.maximum(aa - 2 * ratio * ab + ratio**2 * bb, 0) / (count - 1)
            return Curve(name, self.x, ratio, np.sqrt(variance * count) / abs(b))


def _mean_curves(store: RowStore, curved: Mapping[str, Axes], table: Table) -> "dict[str, dict[str, _MeanCurves]]":
    """Sum up the curves of metrics, by metric and method, in one pass over the files; metrics without any are left out."""
    found: dict[str, dict[str, _MeanCurves]] = {metric: {} for metric in curved}
    for (method, metric), part in store.curves(list(curved)):
        if (method, metric) not in table.indices:
            continue
        chosen = np.flatnonzero(np.isin(numbers(part["index"]), table.indices[method, metric]))
        if not len(chosen):
            continue
        sides = ("x", "upper", "lower")[: 1 + len(curved[metric].names)]
        x, *curves = (_rows(part[name].take(as_column(chosen))) for name in sides)
        mean = found[metric].setdefault(method, _MeanCurves(x[0], curved[metric].normalised))
        mean.add([_at(mean.x, x, values) for values in curves])
    return {metric: means for metric, means in found.items() if means}


def _rows(column: Any) -> list[Floats]:
    """Return the lists of a column."""
    joined = column.combine_chunks()
    return np.split(numbers(joined.flatten()), np.cumsum(np.diff(numbers(joined.offsets)))[:-1])


def _at(x: Floats, places: list[Floats], curves: list[Floats]) -> Floats:
    """Return the curves at x, (n, points); photos of other sizes were measured at other points."""
    return np.stack(
        [
            values if np.array_equal(here, x) else np.interp(x, here, values)
            for here, values in zip(places, curves, strict=True)
        ]
    )
