"""One photo and what several methods say of it, side by side: each map with its own colours, colour bar and unit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from matplotlib.figure import Figure

from bitlens.errors import InputError
from bitlens.view.arrays import Array, as_map, as_photo
from bitlens.view.canvas import add_axes, line_height, new_page, wrap, write
from bitlens.view.colours import Scale
from bitlens.view.panels import bar_text_width, draw_bar, draw_map, draw_outline, draw_photo, fit

# Inches.
_MARGIN, _GAP = 0.15, 0.16
_WIDEST, _TALLEST, _NARROWEST = 1.9, 2.4, 1.15
_BAR_GAP, _BAR, _LOWEST_BAR, _BAR_LABEL, _TICKS = 0.06, 0.09, 0.75, 0.2, 5
_IN_A_ROW = 4
# Points.
_TITLE, _HEADING, _BODY, _SMALL = 12.0, 9.0, 9.0, 7.5
_MUTED = "#555555"


@dataclass(frozen=True)
class Panel:
    """One map of a comparison.

    Attributes:
        map: (h, w), finite; its values stay what they are.
        scale: what its colours mean.
        title: of what it is the map, usually the method.
        details: how it was made, in muted letters under the title.
    """

    map: Array
    scale: Scale
    title: str
    details: str = ""


def draw_comparison(
    photo: Array, panels: Sequence[Panel], *, title: str, caption: str = "", outline: Array | None = None
) -> Figure:
    """Draw the photo and several maps over the dimmed photo, four in a row at most, each with its colour bar.

    Args:
        photo: (3, H, W) or (1, H, W) in [0, 1], as the network saw it, before normalisation.
        panels: the maps, in the order in which they are drawn.
        title: what was explained, usually the name of the class; at most two lines of it are shown.
        caption: written below, in as many lines as it takes.
        outline: (H, W), non-zero inside an object, outlined on the photo.

    Raises:
        InputError: there is no map, or an array has the wrong shape or range or is empty or not finite.
    """
    if not panels:
        raise InputError("there is no map to draw: give at least one panel")
    pixels = as_photo(photo)
    maps = [as_map(panel.map, (pixels.shape[1], pixels.shape[2])) for panel in panels]
    cells = _Cells.plan(pixels.shape[2] / pixels.shape[1], panels)
    heading = wrap(title, cells.width, _TITLE, bold=True, max_lines=2)
    legend = wrap(caption, cells.width, _BODY)
    notes = wrap(_notes(panels), cells.width, _SMALL)
    top = _MARGIN + (len(heading) * line_height(_TITLE) + 0.1 if heading else 0)
    below = top + cells.height + 0.12
    noted = below + len(legend) * line_height(_BODY)
    bottom = noted + len(notes) * line_height(_SMALL) + (0.1 if legend or notes else 0.03)
    page = new_page(cells.width + 2 * _MARGIN, bottom)
    write(page, heading, _MARGIN, _MARGIN - 0.02, _TITLE, bold=True)
    write(page, legend, _MARGIN, below, _BODY)
    write(page, notes, _MARGIN, noted, _SMALL, colour=_MUTED)
    seen = add_axes(page, *cells.picture(0, top))
    draw_photo(seen, pixels)
    if outline is not None:
        draw_outline(seen, outline, (pixels.shape[1], pixels.shape[2]))
    for number, (panel, values) in enumerate(zip(panels, maps, strict=True), start=1):
        left, upper, width, height = cells.picture(number, top)
        lines, details = cells.texts[number]
        first = upper - cells.heading_height(number)
        write(page, lines, left, first, _HEADING, bold=True)
        write(page, details, left, first + len(lines) * line_height(_HEADING), _SMALL, colour=_MUTED)
        draw_map(add_axes(page, left, upper, width, height), pixels, values, panel.scale)
        bar = add_axes(page, left + width + _BAR_GAP, upper, _BAR, cells.row)
        draw_bar(bar, replace(panel.scale, note=""), ticks=_TICKS, size=_SMALL)
    return page


def _notes(panels: Sequence[Panel]) -> str:
    """Tell a reader about the ends of the scales, once for all maps that it is true of."""
    noted: dict[str, list[str]] = {}
    for panel in panels:
        if panel.scale.note:
            noted.setdefault(panel.scale.note, []).append(panel.title)
    return "\n".join(f"colour scale of {', '.join(dict.fromkeys(titles))}: {note}" for note, titles in noted.items())


@dataclass(frozen=True)
class _Cells:
    """Places of photo (number 0) and maps, in inches from the upper left corner of them all."""

    panel: tuple[float, float]
    cell: float
    columns: int
    texts: list[tuple[list[str], list[str]]]

    @classmethod
    def plan(cls, aspect: float, panels: Sequence[Panel]) -> "_Cells":
        panel = fit(aspect, _WIDEST, _TALLEST)
        numbers = max(bar_text_width(one.scale, ticks=_TICKS, size=_SMALL) for one in panels)
        cell = max(panel[0], _NARROWEST) + _BAR_GAP + _BAR + numbers + _BAR_LABEL
        texts: list[tuple[list[str], list[str]]] = [([], [])]
        for one in panels:
            title = wrap(one.title, cell - 0.1, _HEADING, bold=True, max_lines=2)
            texts.append((title, wrap(one.details, cell - 0.1, _SMALL, max_lines=2)))
        rows = -(-len(texts) // _IN_A_ROW)
        return cls(panel, cell, -(-len(texts) // rows), texts)

    @property
    def width(self) -> float:
        return self.columns * (self.cell + _GAP) - _GAP

    @property
    def height(self) -> float:
        _, upper, _, _ = self.picture(len(self.texts) - 1, 0)
        return upper + self.row

    @property
    def row(self) -> float:
        """Return the height of a row of pictures and bars: where a photo is very wide, the bars are higher."""
        return max(self.panel[1], _LOWEST_BAR)

    def heading_height(self, number: int) -> float:
        lines, details = self.texts[number]
        return len(lines) * line_height(_HEADING) + len(details) * line_height(_SMALL) + 0.04

    def picture(self, number: int, top: float) -> tuple[float, float, float, float]:
        """Return left, top, width and height of a picture, below `top`."""
        row, column = divmod(number, self.columns)
        heights = [self._row_heading(r) + self.row + _GAP for r in range(row)]
        upper = top + sum(heights) + self._row_heading(row)
        return _MARGIN + column * (self.cell + _GAP), upper, *self.panel

    def _row_heading(self, row: int) -> float:
        in_row = range(row * self.columns, min((row + 1) * self.columns, len(self.texts)))
        return max(self.heading_height(number) for number in in_row)
