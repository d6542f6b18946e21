"""The pictures of an evaluation: mean curves of every metric that has some, and all scores with their standard errors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bitlens.evaluation.formats import about
from bitlens.evaluation.measures import Axes
from bitlens.evaluation.store import RowStore
from bitlens.evaluation.tables import Selection, Table, build_table, metric_of
from bitlens.view.canvas import save_figure
from bitlens.view.curves import Chart, Curve, Dots, draw_charts, draw_dots

Floats = npt.NDArray[np.float64]


def draw_plots(folder: Path, out: Path, selection: Selection | None = None, suffix: str = "png") -> list[Path]:
    """Draw an evaluation: `scores`, and `curves-METRIC` for every metric with curves.

    Args:
        folder: of the results.
        out: where the pictures go.
        selection: which rows count.
        suffix: "png", "svg" or "pdf".

    Returns:
        The files, in order.
    """
    table = build_table(folder, selection)
    written = [out / f"scores.{suffix}"]
    save_figure(_scores(table), written[0])
    for metric in table.metrics:
        axes = metric_of(metric).axes
        means = _mean_curves(RowStore(folder / "rows"), metric, axes, table) if axes is not None else {}
        if axes is not None and means:
            written.append(out / f"curves-{re.sub('[^a-z0-9.]+', '-', metric).strip('-')}.{suffix}")
            save_figure(_curves(table, metric, axes, means), written[-1])
    return written


def _scores(table: Table) -> Any:
    names = _best_first(table, table.metrics[0])
    columns = []
    for metric in table.metrics:
        cells = [table.cells.get((name, metric)) for name in names]
        values = np.array([cell.mean.mean if cell is not None else np.nan for cell in cells])
        errors = np.array([cell.mean.standard_error if cell is not None else np.nan for cell in cells])
        columns.append(Dots(_title(metric), metric_of(metric).better, values, errors))
    caption = f"Mean ± standard error; ↑ higher is better, ↓ lower is better · {about(table)}"
    return draw_dots(columns, names, title="Scores of the methods", caption=caption)


def _curves(table: Table, metric: str, axes: Axes, means: "Mapping[str, _MeanCurves]") -> Any:
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
    title = _title(_without_layers(metric) if charts[0].x_names else metric)
    return draw_charts(charts, title=title[0].upper() + title[1:], caption=caption, names=names)


def _title(metric: str) -> str:
    name, bracket, settings = metric.partition("[")
    return metric_of(name).title + (f" [{settings}" if bracket else "")


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


def _mean_curves(store: RowStore, metric: str, axes: Axes, table: Table) -> dict[str, _MeanCurves]:
    found: dict[str, _MeanCurves] = {}
    for method, part in store.curves(metric):
        if (method, metric) not in table.indices:
            continue
        chosen = np.isin(part["index"].to_numpy(), table.indices[method, metric])
        if not chosen.any():
            continue
        sides = ("x", "upper", "lower")[: 1 + len(axes.names)]
        x, *curves = (_rows(part[name].filter(pa.array(chosen))) for name in sides)
        mean = found.setdefault(method, _MeanCurves(x[0], axes.normalised))
        mean.add([_at(mean.x, x, values) for values in curves])
    return found


def _rows(column: Any) -> list[Floats]:
    """Return the lists of a column."""
    joined = column.combine_chunks()
    flat = np.asarray(joined.flatten().to_numpy(), dtype=np.float64)
    return np.split(flat, np.cumsum(np.diff(joined.offsets.to_numpy()))[:-1])


def _at(x: Floats, places: list[Floats], curves: list[Floats]) -> Floats:
    """Return the curves at x, (n, points); photos of other sizes were measured at other points."""
    return np.stack(
        [
            values if np.array_equal(here, x) else np.interp(x, here, values)
            for here, values in zip(places, curves, strict=True)
        ]
    )
