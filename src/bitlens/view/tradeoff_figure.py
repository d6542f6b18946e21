"""The curve of a decision as a figure: bits against the share that is held, and the map at each point on one scale."""

from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from bitlens.errors import InputError
from bitlens.view.arrays import Array, as_map, as_photo
from bitlens.view.canvas import FONT, add_axes, line_height, new_page, wrap, write
from bitlens.view.panels import draw_bar, draw_map, draw_photo, fit
from bitlens.view.tradeoff import TradeOff, bits_ends, bits_number, bits_text, bits_ticks, least_share

# Inches and points.
_PAGE, _MARGIN, _GAP, _CHART, _AXIS, _BELOW, _ABREAST = 7.0, 0.15, 0.1, 2.3, 0.55, 0.5, 4
_TITLE, _BODY, _SMALL = 12.0, 8.5, 7.5
_LINE, _POINT, _MUTED, _RULE = "#0072b2", "#c9540a", "#555555", "#e8e8e8"


def draw_trade_off(curve: TradeOff, photo: Array | None, *, title: str, caption: str = "") -> Figure:
    """Draw the curve, and below it the map at each point, all on one scale.

    Args:
        curve: at least one step.
        photo: (3, H, W) or (1, H, W) in [0, 1]; None for maps over grey.
        title: what was explained.
        caption: below the title.

    Raises:
        InputError: there is no step, or photo and maps differ in aspect.
    """
    if not curve.steps:
        raise InputError("the curve has no point to draw")
    pixels = as_photo(photo) if photo is not None else None
    size = (pixels.shape[1], pixels.shape[2]) if pixels is not None else curve.steps[0].picture.shape
    under = pixels if pixels is not None else np.full((3, *size), 0.5, dtype=np.float32)
    width = _PAGE - 2 * _MARGIN
    heading = wrap(title, width, _TITLE, bold=True, max_lines=2)
    legend = wrap(" ".join(filter(None, (caption, curve.sentence))), width, _BODY)
    abreast = min(_ABREAST, len(curve.steps))
    cell = (width - _GAP * (_ABREAST - 1)) / _ABREAST
    panel = fit(size[1] / size[0], cell, 2.2)
    rows = -(-len(curve.steps) // abreast)
    row = panel[1] + 2 * line_height(_SMALL) + 0.12
    top = _MARGIN + len(heading) * line_height(_TITLE) + len(legend) * line_height(_BODY) + 0.1
    first = top + _CHART + _BELOW + 0.08
    page = new_page(_PAGE, first + rows * row + 0.5)
    write(page, heading, _MARGIN, _MARGIN - 0.02, _TITLE, bold=True)
    write(page, legend, _MARGIN, _MARGIN + len(heading) * line_height(_TITLE), _BODY, colour=_MUTED)
    beside = fit(size[1] / size[0], _CHART, _CHART) if pixels is not None else (0.0, 0.0)
    if pixels is not None:
        draw_photo(add_axes(page, _PAGE - _MARGIN - beside[0], top, *beside), pixels)
    room = beside[0] + 0.2 if beside[0] else 0.0
    _draw_curve(page, curve, top, width - _AXIS - room)
    for number, step in enumerate(curve.steps):
        down, across = divmod(number, abreast)
        left, upper = _MARGIN + across * (cell + _GAP), first + down * row
        draw_map(add_axes(page, left, upper, *panel), under, as_map(step.picture, (size[0], size[1])), curve.scale)
        text = wrap(f"{step.kept:.2f} held · {bits_text(step.bits)}", cell, _SMALL, max_lines=2)
        write(page, text, left, upper + panel[1] + 0.03, _SMALL, colour=_MUTED)
    bar = add_axes(page, _MARGIN, first + rows * row, min(width, 3.4), 0.12)
    draw_bar(bar, replace(curve.scale, note=""), horizontal=True, ticks=6)
    return page


def _draw_curve(page: Figure, curve: TradeOff, top: float, width: float) -> None:
    axes = add_axes(page, _MARGIN + _AXIS, top, width, _CHART)
    bits, kept = [step.bits for step in curve.steps], [step.kept for step in curve.steps]
    axes.set_xscale("log")
    axes.plot(
        bits, kept, color=_LINE, linewidth=1.6, marker="o", markersize=4, markerfacecolor=_POINT, markeredgecolor=_POINT
    )
    axes.set(xlim=bits_ends(curve), ylim=(least_share(curve), 1.02))
    axes.xaxis.set_major_locator(FixedLocator(bits_ticks(curve)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: bits_number(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, color=_RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=_SMALL, labelfontfamily=FONT, color=_RULE, length=2.5)
    for side, spine in axes.spines.items():
        spine.set(edgecolor="#bbbbbb", visible=side in ("left", "bottom"))
    axes.set_xlabel("bits that pass in all (logarithmic)", fontfamily=FONT, fontsize=_BODY)
    axes.set_ylabel("share of the decision held", fontfamily=FONT, fontsize=_BODY)
