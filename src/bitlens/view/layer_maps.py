"""Draws layers × words: how the bits that pass each layer of a network are spread over the words of one text.

Colours are shares of what passes a layer, since layers differ in their bits by powers of ten; the bits themselves stand
at the end of each row. Where fewer than `FAINT` bits pass, the shares are of so many: a layer that uses nothing is pale.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bitlens.errors import InputError
from bitlens.view.arrays import Floats
from bitlens.view.canvas import FONT, add_axes, line_height, new_page, width_of, wrap, write

# Inches.
_PAGE, _MARGIN, _GAP, _BAND_GAP = 7.0, 0.15, 0.12, 0.1
_ROW, _COLUMN, _WIDEST_COLUMN, _LONGEST_WORD, _LONGEST_LAYER = 0.17, 0.135, 0.24, 0.9, 1.1
_BAR_WIDTH, _BAR_HEIGHT = 1.6, 0.09
# Points.
_TITLE, _HEADING, _BODY, _SMALL = 12.0, 9.0, 8.0, 7.0
FAINT = 10.0
"""Bits: the words of a layer that fewer pass are shaded by what they have of so many."""
_MEANING = f"share of the layer's bits, or of {FAINT:g} bits where fewer pass"
_MUTED, _FRAME = "#555555", "#bbbbbb"
_INK = LinearSegmentedColormap.from_list("ink", ["#ffffff", "#fde3c0", "#f5a04b", "#c2410c", "#4a1303"])
_GAMMA = 0.6  # small shares stay visible


@dataclass(frozen=True, eq=False)
class LayerPanel:
    """Bits that one network uses of one text.

    Attributes:
        title: which network.
        bits: (L, W) bits of each word after each layer, from the input to the output.
        notes: one text for each layer, written at the end of its row.
    """

    title: str
    bits: Floats
    notes: Sequence[str]


def draw_layers(
    panels: Sequence[LayerPanel], words: Sequence[str], layers: Sequence[str], *, title: str, caption: str = ""
) -> Figure:
    """Draw layers × words, the first layer on top; several networks one below the other, long texts in several bands.

    Args:
        panels: at least one network; all have the same words and layers.
        words: of the text, in their order.
        layers: how the layers are called, from the input to the output.
        title: what was explained.
        caption: written below.

    Raises:
        InputError: there is no panel, or one does not fit the words and layers, or holds negative or non-finite bits.
    """
    _check(panels, words, layers)
    names = [wrap(name, _LONGEST_LAYER, _SMALL, max_lines=1)[0] for name in layers]
    left = _MARGIN + max(width_of(name, _SMALL) for name in names) + 0.08
    right = _MARGIN + max(width_of(note, _SMALL) for panel in panels for note in panel.notes) + 0.08
    room = _PAGE - left - right
    across = min(len(words), int(room / _COLUMN))
    column = min(room / across, _WIDEST_COLUMN)
    labels = [wrap(word, _LONGEST_WORD, _SMALL, max_lines=1)[0] for word in words]
    bands = [slice(start, start + across) for start in range(0, len(words), across)]
    shares = [_shares(panel.bits) for panel in panels]
    top_share = _top_of(panels)

    heading = wrap(title, _PAGE - 2 * _MARGIN, _TITLE, bold=True, max_lines=2)
    legend = wrap(caption, _PAGE - 2 * _MARGIN, _BODY)
    tall = [max(width_of(label, _SMALL) for label in labels[band]) + 0.1 for band in bands]
    panel_height = line_height(_HEADING) + len(layers) * _ROW + _GAP
    start = _MARGIN + len(heading) * line_height(_TITLE) + 0.08
    body = sum(len(panels) * panel_height + labels_height + _BAND_GAP for labels_height in tall)
    end = start + body + 0.35
    page = new_page(_PAGE, end + len(legend) * line_height(_BODY) + _MARGIN)
    write(page, heading, _MARGIN, _MARGIN - 0.02, _TITLE, bold=True)
    top = start
    for band, labels_height in zip(bands, tall, strict=True):
        for number, (panel, share) in enumerate(zip(panels, shares, strict=True)):
            write(page, wrap(panel.title, room, _HEADING, max_lines=1), left, top - 0.02, _HEADING)
            count = share[:, band].shape[1]
            axes = add_axes(page, left, top + line_height(_HEADING), count * column, len(layers) * _ROW)
            _draw_shares(axes, share[:, band], top_share)
            _write_rows(page, names, panel.notes, left, left + count * column, top + line_height(_HEADING))
            if number == len(panels) - 1:
                _write_words(axes, labels[band])
            top += panel_height
        top += labels_height + _BAND_GAP
    _draw_bar(add_axes(page, left, top, _BAR_WIDTH, _BAR_HEIGHT), top_share)
    write(page, [_MEANING], left + _BAR_WIDTH + 0.15, top - 0.03, _SMALL, colour=_MUTED)
    write(page, legend, _MARGIN, end, _BODY, colour=_MUTED)
    return page


def _check(panels: Sequence[LayerPanel], words: Sequence[str], layers: Sequence[str]) -> None:
    """Refuse panels that do not fit the words and layers, or hold bits that cannot be."""
    if not panels:
        raise InputError("there is no network to draw: give at least one panel")
    for panel in panels:
        if panel.bits.shape != (len(layers), len(words)) or len(panel.notes) != len(layers) or not panel.bits.size:
            raise InputError(
                f"panel {panel.title!r} has shape {panel.bits.shape}: expected {len(layers)} layers, {len(words)} words, and a "
                "note for each layer"
            )
        if not np.isfinite(panel.bits).all() or panel.bits.min() < 0:
            raise InputError(f"panel {panel.title!r} holds bits that are negative or not finite")


def _top_of(panels: Sequence[LayerPanel]) -> float:
    """Return where colours end: at the largest share of a layer that `FAINT` bits pass, or at all of a layer's where none is."""
    shares = [_shares(panel.bits) for panel in panels]
    used = [share[panel.bits.sum(1) >= FAINT] for panel, share in zip(panels, shares, strict=True)]
    largest = max((float(share.max()) for share in used if share.size), default=1.0)
    return max(largest, *(float(share.max()) for share in shares))


def _shares(bits: Floats) -> Floats:
    """Return each row as shares of its sum, or of `FAINT` bits where it has fewer."""
    shares: Floats = bits / np.maximum(bits.sum(1, keepdims=True), np.float32(FAINT))
    return shares


def _draw_shares(axes: Axes, shares: Floats, top: float) -> None:
    axes.pcolormesh(
        np.arange(shares.shape[1] + 1),
        np.arange(shares.shape[0] + 1),
        shares,
        cmap=_INK,
        norm=PowerNorm(_GAMMA, 0, top),
    )
    axes.set(xlim=(0, shares.shape[1]), ylim=(shares.shape[0], 0))
    axes.xaxis.set_major_locator(NullLocator())
    axes.yaxis.set_major_locator(NullLocator())
    for spine in axes.spines.values():
        spine.set(edgecolor=_FRAME, linewidth=0.6)


def _write_rows(
    page: Figure, names: Sequence[str], notes: Sequence[str], left: float, right: float, top: float
) -> None:
    for row, (name, note) in enumerate(zip(names, notes, strict=True)):
        place = top + row * _ROW + (_ROW - line_height(_SMALL)) / 2 + 0.01
        write(page, [name], left - 0.06, place, _SMALL, align="right", colour=_MUTED)
        write(page, [note], right + 0.06, place, _SMALL, colour=_MUTED)


def _write_words(axes: Axes, words: Sequence[str]) -> None:
    axes.xaxis.set_major_locator(FixedLocator([i + 0.5 for i in range(len(words))]))
    axes.set_xticklabels(words, rotation=90, fontfamily=FONT, fontsize=_SMALL, parse_math=False)
    axes.tick_params(axis="x", length=0, pad=3)


def _draw_bar(axes: Axes, top: float) -> None:
    bar = Colorbar(axes, ScalarMappable(PowerNorm(_GAMMA, 0, top), _INK), orientation="horizontal")
    bar.outline.set(edgecolor=_FRAME, linewidth=0.6)  # type: ignore[operator]
    axes.xaxis.set_major_locator(FixedLocator([0, top / 4, top]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{100 * value:.{0 if value >= 0.1 or value == 0 else 1}f} %")
    )
    axes.tick_params(labelsize=_SMALL, labelfontfamily=FONT, labelcolor=_MUTED, length=2, width=0.5, pad=2)
