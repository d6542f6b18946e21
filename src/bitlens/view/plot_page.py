"""A plot as a piece of HTML: drawn in the colours of the page that it stands on, light or dark, as wide as there is room."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from bitlens.view.charts import Chart, Curve, Dots, Numbers, Plot, common_range
from bitlens.view.html import render_template
from bitlens.view.numbers import ticks

# Of a drawing, in its own units: a pixel each where it is shown 360 pixels wide.
_WIDTH, _LEFT, _RIGHT, _TOP = 360.0, 44.0, 10.0, 8.0
_HEIGHT, _NUMBERS, _LABEL = 180.0, 18.0, 16.0
_ROW, _LETTER, _LONGEST = 22.0, 7.2, 20
_SLANT = 0.75  # of the length of a name, how far down it reaches when it is turned
_COLOURS, _DASHES = 8, ("", "7 3", "2 3")


@dataclass(frozen=True)
class _Frame:
    """Axes of a drawing: which part of it they take, and which numbers lie within."""

    left: float
    top: float
    right: float
    bottom: float
    x: tuple[float, float]
    y: tuple[float, float]
    logarithmic: bool = False

    def across(self, value: float) -> float:
        low, high = self._along(self.x[0]), self._along(self.x[1])
        return self.left + (self._along(value) - low) / (high - low or 1.0) * (self.right - self.left)

    def down(self, value: float) -> float:
        return self.bottom - (value - self.y[0]) / (self.y[1] - self.y[0] or 1.0) * (self.bottom - self.top)

    def _along(self, value: float) -> float:
        return float(np.log10(max(value, 1e-12))) if self.logarithmic else value

    def points(self, x: Numbers, y: Numbers) -> str:
        return " ".join(f"{self.across(a):.1f},{self.down(b):.1f}" for a, b in zip(x, y, strict=True))


@dataclass(frozen=True)
class _Mark:
    """A number or a name beside an axis, and the rule that belongs to it."""

    at: str
    text: str


@dataclass(frozen=True)
class _Line:
    """A curve, in pieces where points of it are missing, and its band of standard errors."""

    colour: int
    dash: str
    pieces: Sequence[str]
    bands: Sequence[str]


@dataclass(frozen=True)
class _Row:
    """A dot with its standard error."""

    name: str
    short: str
    y: str
    x: str
    ends: tuple[str, str]
    said: str


@dataclass(frozen=True)
class _Drawn:
    """One drawing: its frame, what stands along its axes, and its lines or dots."""

    title: str
    said: str
    height: float
    frame: _Frame
    across: Sequence[_Mark]
    down: Sequence[_Mark]
    labels: tuple[str, str]
    slanted: bool = False
    lines: Sequence[_Line] = ()
    rows: Sequence[_Row] = ()
    zero: str = ""


def plot_html(plot: Plot) -> Markup:
    """Write a plot as HTML; `report.css` has its colours."""
    charts = [part for part in plot.parts if isinstance(part, Chart)]
    drawn = list(_charts(charts, plot.names)) if charts else [_dots(part, plot.names) for part in plot.parts]  # type: ignore[arg-type]
    legend = [(name, *_style(number)) for number, name in enumerate(plot.names)] if charts else []
    return Markup(render_template("plot.html.j2", plot=plot, drawn=drawn, legend=legend, width=_WIDTH))


def _style(number: int) -> tuple[int, str]:
    return number % _COLOURS, _DASHES[number // _COLOURS % len(_DASHES)]


def _charts(charts: Sequence[Chart], names: Sequence[str]) -> Iterator[_Drawn]:
    y = common_range(charts)
    for chart in charts:
        shorts = [_short(name) for name in chart.x_names]
        below = _SLANT * _LETTER * max(map(len, shorts)) + 8 if shorts else _NUMBERS
        values = np.concatenate([curve.x for curve in chart.curves])
        ends = (0.0, len(shorts) - 1.0) if shorts else (float(values.min()), float(values.max()))
        bottom = _TOP + _HEIGHT
        frame = _Frame(_LEFT, _TOP, _WIDTH - _RIGHT, bottom, ends, y, chart.logarithmic)
        yield _Drawn(
            chart.title,
            f"{chart.y_label} over {chart.x_label}: {', '.join(curve.name for curve in chart.curves)}",
            bottom + below + _LABEL,
            frame,
            [_Mark(f"{frame.across(place):.1f}", text) for place, text in _along(ends, shorts, chart.logarithmic)],
            [_Mark(f"{frame.down(place):.1f}", text) for place, text in zip(*ticks(*y, 6), strict=True)],
            (chart.x_label, chart.y_label),
            bool(shorts),
            # The first ones on top.
            [_line(curve, names.index(curve.name), frame) for curve in
             sorted(chart.curves, key=lambda curve: -names.index(curve.name))],
        )  # fmt: skip


def _along(ends: tuple[float, float], names: Sequence[str], logarithmic: bool) -> list[tuple[float, str]]:
    """Say what stands along x, and where."""
    if names:
        return list(zip(map(float, range(len(names))), names, strict=True))
    if logarithmic:
        powers = range(int(np.ceil(np.log10(max(ends[0], 1e-12)))), int(np.floor(np.log10(max(ends[1], 1e-12)))) + 1)
        return [(10.0**power, f"{10.0**power:,.0f}" if power >= 0 else f"{10.0**power:g}") for power in powers]
    return list(zip(*ticks(*ends, 5), strict=True))


def _line(curve: Curve, number: int, frame: _Frame) -> _Line:
    known = np.isfinite(curve.x) & np.isfinite(curve.y)
    runs = [run for run in np.split(np.arange(len(known)), np.flatnonzero(np.diff(known)) + 1) if known[run[0]]]
    error = np.nan_to_num(curve.error) if len(curve.error) else np.zeros_like(curve.y)
    bands = [
        frame.points(
            np.concatenate([curve.x[run], curve.x[run[::-1]]]),
            np.concatenate([(curve.y + error)[run], (curve.y - error)[run[::-1]]]),
        )
        for run in runs
        if len(curve.error)
    ]
    return _Line(*_style(number), [frame.points(curve.x[run], curve.y[run]) for run in runs], bands)


def _dots(column: Dots, names: Sequence[str]) -> _Drawn:
    shorts = [_short(name) for name in names]
    left = _LETTER * max(map(len, shorts)) + 12
    errors = np.nan_to_num(column.errors)
    known = np.isfinite(column.values)
    low = float(np.min((column.values - errors)[known], initial=np.inf)) if known.any() else 0.0
    high = float(np.max((column.values + errors)[known], initial=-np.inf)) if known.any() else 1.0
    room = 0.08 * (high - low or abs(high) or 1.0)
    bottom = _TOP + _ROW * len(names)
    frame = _Frame(left, _TOP, _WIDTH - _RIGHT, bottom, (low - room, high + room), (0.0, 1.0))
    rows = [
        _Row(
            name,
            short,
            f"{_TOP + (number + 0.5) * _ROW:.1f}",
            f"{frame.across(value):.1f}" if there else "",
            (f"{frame.across(value - error):.1f}", f"{frame.across(value + error):.1f}") if there else ("", ""),
            f"{name}: {value:.3f} ± {error:.3f}" if there else f"{name}: not measured",
        )
        for number, (name, short, value, error, there) in enumerate(
            zip(names, shorts, column.values.tolist(), errors.tolist(), known.tolist(), strict=True)
        )
    ]
    arrow = {"higher": "↑", "lower": "↓"}[column.better]
    said = f"{column.title}, {column.better} is better. " + "; ".join(row.said for row in rows)
    across = [_Mark(f"{frame.across(place):.1f}", text) for place, text in zip(*ticks(*frame.x, 4), strict=True)]
    zero = f"{frame.across(0.0):.1f}" if low < 0 < high else ""
    title = f"{column.title} {arrow}"
    return _Drawn(title, said, bottom + _NUMBERS, frame, across, [], ("", ""), False, (), rows, zero)


def _short(name: str) -> str:
    """Shorten a name in its middle: both ends tell names apart."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST // 2]}…{name[-_LONGEST // 2 + 1 :]}"
