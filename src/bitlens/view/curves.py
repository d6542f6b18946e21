"""Draws charts of measurements: curves with standard errors, and dots that compare methods. Pure drawing from numbers."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedFormatter,
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from bitlens.errors import InputError
from bitlens.view.canvas import FONT, add_axes, line_height, new_page, shorten, width_of, wrap, write
from bitlens.view.charts import Chart, Dots, Plot, common_range

# Inches.
_PAGE, _MARGIN, _GAP = 7.0, 0.15, 0.3
_HEIGHT, _LEFT, _BELOW = 2.7, 0.52, 0.52
_SAMPLE = 0.32  # of a line, in the legend
_ROW, _LONGEST_NAME = 0.2, 1.2
# Points.
_TITLE, _HEADING, _BODY, _SMALL = 11.0, 9.0, 8.0, 7.5
_TEXT, _MUTED, _FRAME, _RULE = "#222222", "#555555", "#bbbbbb", "#e8e8e8"
# Told apart by the colour-blind (Okabe & Ito) and, by lightness and dashes, in grey print.
_COLOURS = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#888888")
_DASHES = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)))


def draw_plot(plot: Plot) -> Figure:
    """Draw a plot as a figure."""
    charts = [part for part in plot.parts if isinstance(part, Chart)]
    if charts:
        return draw_charts(charts, title=plot.title, caption=plot.caption, names=plot.names)
    dots = [part for part in plot.parts if isinstance(part, Dots)]
    return draw_dots(dots, plot.names, title=plot.title, caption=plot.caption)


def draw_charts(
    charts: Sequence[Chart], *, title: str, caption: str = "", names: Sequence[str] | None = None
) -> Figure:
    """Draw one chart, or two side by side with one y axis, and a legend to the right.

    Args:
        charts: one or two.
        title: of the figure.
        caption: below it, in as many lines as it takes.
        names: of all curves, in the order of the legend and of the colours; by default in the order they come.

    Raises:
        InputError: there are no charts or more than two, or one has no curve.
    """
    if not 1 <= len(charts) <= 2 or not all(chart.curves for chart in charts):
        raise InputError(f"expected one or two charts with at least one curve each, got {len(charts)}")
    order = list(names if names is not None else dict.fromkeys(c.name for chart in charts for c in chart.curves))
    longest = max(width_of(name, _BODY) for name in order)
    legend_width = min(_SAMPLE + 0.08 + longest, 2.2)
    plot_width = (_PAGE - 2 * _MARGIN - _LEFT - legend_width - 0.2 - _GAP * (len(charts) - 1)) / len(charts)
    height = max(_HEIGHT, len(order) * _ROW)
    titled = any(chart.title for chart in charts)
    page, top = _titled(title, caption, height + _below(charts), gap=(line_height(_HEADING) if titled else 0) + 0.1)
    low, high = common_range(charts)
    for number, chart in enumerate(charts):
        left = _MARGIN + _LEFT + number * (plot_width + _GAP)
        write(page, [chart.title], left + plot_width / 2, top - line_height(_HEADING) - 0.05, _HEADING, align="center")
        axes = add_axes(page, left, top, plot_width, height)
        _draw_chart(axes, chart, order, numbered=number == 0)
        axes.set_ylim(low, high)
    _draw_legend(page, order, _PAGE - _MARGIN - legend_width, top, height)
    return page


def draw_dots(columns: Sequence[Dots], names: Sequence[str], *, title: str, caption: str = "") -> Figure:
    """Draw a dot with its standard error for each name (a row) in each column; at most four columns side by side.

    Args:
        columns: at least one, each with as many values as there are names.
        names: of the rows, from top to bottom.
        title: of the figure.
        caption: below it, in as many lines as it takes.

    Raises:
        InputError: there is no column, or one has another number of values.
    """
    if not columns or any(not len(column.values) == len(column.errors) == len(names) for column in columns):
        raise InputError(f"expected at least one column, each with {len(names)} values and errors")
    across = min(len(columns), 4)
    bands = [columns[start : start + across] for start in range(0, len(columns), across)]
    labels = min(max(width_of(name, _BODY) for name in names), 2.2) + 0.12
    width = (_PAGE - 2 * _MARGIN - labels - 0.22 * (across - 1)) / across
    height = len(names) * _ROW + 0.1
    heads = [[_heading(column, width) for column in band] for band in bands]
    step = height + 2 * line_height(_SMALL) + 0.4
    page, top = _titled(title, caption, len(bands) * step, gap=0.08)
    for band, titles in zip(bands, heads, strict=True):
        upper = top + 2 * line_height(_SMALL) + 0.04
        for row, name in enumerate(names):
            place = upper + 0.05 + (row + 0.5) * _ROW - 0.7 * line_height(_BODY) / 1.35
            write(page, [shorten(name, labels, _BODY)], _MARGIN + labels - 0.1, place, _BODY, align="right")
        for number, (column, lines) in enumerate(zip(band, titles, strict=True)):
            left = _MARGIN + labels + number * (width + 0.22)
            text_top = upper - len(lines) * line_height(_SMALL) - 0.04
            write(page, lines, left + width / 2, text_top, _SMALL, align="center", bold=True)
            _draw_dots(add_axes(page, left, upper, width, height), column)
        top += step
    return page


def _titled(title: str, caption: str, height: float, *, gap: float) -> tuple[Figure, float]:
    """Make a page under its title and over its caption; gives also where the `height` between them begins."""
    heading, legend = wrap(title, _PAGE - 2 * _MARGIN, _TITLE, bold=True), wrap(caption, _PAGE - 2 * _MARGIN, _BODY)
    top = _MARGIN + len(heading) * line_height(_TITLE) + gap
    page = new_page(_PAGE, top + height + len(legend) * line_height(_BODY) + _MARGIN)
    write(page, heading, _MARGIN, _MARGIN - 0.02, _TITLE, bold=True)
    write(page, legend, _MARGIN, top + height, _BODY, colour=_MUTED)
    return page, top


def _heading(column: Dots, width: float) -> list[str]:
    arrow = {"higher": " ↑", "lower": " ↓"}[column.better]
    lines = wrap(column.title, width - width_of(arrow, _SMALL, bold=True), _SMALL, bold=True, max_lines=2)
    return [*lines[:-1], lines[-1] + arrow]


def _draw_chart(axes: Axes, chart: Chart, order: Sequence[str], *, numbered: bool) -> None:
    for curve in sorted(chart.curves, key=lambda curve: -order.index(curve.name)):  # the first ones on top
        colour, dash = _style(order.index(curve.name))
        if len(curve.error):
            axes.fill_between(
                curve.x, curve.y - curve.error, curve.y + curve.error, color=colour, alpha=0.15, linewidth=0
            )
        axes.plot(curve.x, curve.y, color=colour, linestyle=dash, linewidth=_thickness(curve.name, order))
    _frame(axes)
    if chart.logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(10))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif chart.x_names:
        axes.xaxis.set_major_locator(FixedLocator(range(len(chart.x_names))))
        axes.xaxis.set_major_formatter(FixedFormatter(_short(chart.x_names)))
        for text in axes.get_xticklabels():
            text.set(rotation=65, horizontalalignment="right", rotation_mode="anchor")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.margins(x=0.01)
    axes.set_xlabel(chart.x_label, fontfamily=FONT, fontsize=_BODY, color=_TEXT, labelpad=3, parse_math=False)
    if numbered:
        axes.set_ylabel(chart.y_label, fontfamily=FONT, fontsize=_BODY, color=_TEXT, labelpad=3, parse_math=False)
    else:
        axes.yaxis.set_major_formatter(NullFormatter())


def _draw_dots(axes: Axes, column: Dots) -> None:
    rows = np.arange(len(column.values)) + 0.5
    known = ~np.isnan(column.values)
    errors = np.where(np.isnan(column.errors), 0, column.errors)
    axes.hlines(rows, 0, 1, transform=axes.get_yaxis_transform(), color=_RULE, linewidth=0.6, zorder=0)
    axes.errorbar(
        column.values[known], rows[known], xerr=errors[known], fmt="o", color=_COLOURS[2], markersize=3.5,
        elinewidth=1.2, capsize=0,
    )  # fmt: skip
    _frame(axes)
    axes.set_ylim(len(rows) + 0.25, -0.25)
    axes.yaxis.set_major_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 2.5, 5, 10]))
    axes.margins(x=0.08)
    if known.any() and float(np.min(column.values[known] - errors[known])) < 0 < float(np.max(column.values[known])):
        axes.axvline(0, color=_FRAME, linewidth=0.8, zorder=0)


def _draw_legend(page: Figure, names: Sequence[str], left: float, top: float, height: float) -> None:
    axes = add_axes(page, left, top, _SAMPLE, height)
    axes.set(xlim=(0, 1), ylim=(height, 0))
    axes.set_axis_off()
    for row, name in enumerate(names):
        colour, dash = _style(row)
        y = (row + 0.5) * _ROW
        axes.add_line(Line2D([0.02, 0.98], [y, y], color=colour, linestyle=dash, linewidth=_thickness(name, names)))
        write(
            page,
            [shorten(name, 2.2 - _SAMPLE - 0.08, _BODY)],
            left + _SAMPLE + 0.08,
            top + y - 0.7 * line_height(_BODY) / 1.35,
            _BODY,
        )


def _style(number: int) -> tuple[str, str | tuple[float, tuple[float, ...]]]:
    return _COLOURS[number % len(_COLOURS)], _DASHES[number // len(_COLOURS) % len(_DASHES)]


def _thickness(name: str, order: Sequence[str]) -> float:
    """Draw the first one thicker: the others are compared with it."""
    return 2.0 if name == order[0] else 1.2


def _frame(axes: Axes) -> None:
    for side, spine in axes.spines.items():
        spine.set(edgecolor=_FRAME, linewidth=0.8, visible=side in ("left", "bottom"))
    axes.grid(True, axis="both", color=_RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(
        which="both",
        labelsize=_SMALL,
        labelfontfamily=FONT,
        labelcolor=_TEXT,
        color=_FRAME,
        length=2.5,
        width=0.6,
        pad=2,
    )


def _below(charts: Sequence[Chart]) -> float:
    """Return the room for the numbers or names along x, and the label."""
    names = [name for chart in charts for name in _short(chart.x_names)]
    return _BELOW + max((0.95 * width_of(name, _SMALL) for name in names), default=0.0)


def _short(names: Sequence[str]) -> list[str]:
    return [shorten(name, _LONGEST_NAME, _SMALL) for name in names]
