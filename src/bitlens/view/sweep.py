"""Maps of one or several photos by a setting that changes from column to column, all on one colour scale."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator

from bitlens.errors import InputError
from bitlens.view.arrays import Array, Floats, sized
from bitlens.view.canvas import add_axes, line_height, new_page, wrap, write
from bitlens.view.colours import Scale
from bitlens.view.panels import draw_bar, draw_map, draw_photo, fit

# Inches.
_PAGE, _MARGIN, _GAP, _ROW_GAP = 7.0, 0.15, 0.1, 0.12
_LABELS = 0.92
_SMALLEST_CELL, _LARGEST_CELL = 0.95, 1.9
_BAR, _WIDEST_BAR, _BAR_TEXT, _NUMBER = 0.12, 3.4, 0.42, 0.5
# Points.
_TITLE, _HEADING, _BODY, _SMALL, _TINY = 12.0, 9.0, 8.5, 8.0, 7.0
_ROOM = 0.12  # between two numbers at a bar, as a share of its length
_MUTED = "#555555"
_CAPTION_LINES = 3


@dataclass(frozen=True)
class SweepRow:
    """One line of maps.

    Attributes:
        photo: (3, H, W) or (1, H, W) in [0, 1]; rows that follow each other with the same object show it once.
        title: what the row is: a layer, or the photo's class.
        details: in muted letters under the title.
        maps: (h, w) for each column.
        captions: for each column, under the map.
    """

    photo: Array
    title: str
    details: str
    maps: Sequence[Array]
    captions: Sequence[str]


def draw_sweep(
    rows: Sequence[SweepRow],
    columns: Sequence[str],
    *,
    unit: str,
    title: str,
    caption: str = "",
    square_root: bool = False,
) -> Figure:
    """Draw rows of maps over their dimmed photos; the same colour means the same value on the whole page.

    Args:
        rows: at least one.
        columns: titles, at least one.
        unit: what the values count, written at the colour bar.
        title: of the page; at most two lines of it are shown.
        caption: below the title, in as many lines as it takes.
        square_root: let colours follow the root of the values, so that maps a hundred times weaker are still seen; the bar
            says so.

    Raises:
        InputError: there are no rows or columns, their numbers do not agree, or an array has the wrong shape or range or is
            empty or not finite.
    """
    _check(rows, columns)
    photos, maps = sized([row.photo for row in rows], [row.maps for row in rows])
    scale = Scale.over([one for row in maps for one in row], unit)
    power = 0.5 if square_root else 1.0
    shown = replace(scale, top=scale.top**power)
    places = _Columns.plan(len(columns))
    lines = [_Line.of(row, photo, places) for row, photo in zip(rows, photos, strict=True)]
    heading = wrap(title, places.right - _MARGIN, _TITLE, bold=True, max_lines=2)
    legend = wrap(caption, places.right - _MARGIN, _SMALL)
    headed = _MARGIN + len(heading) * line_height(_TITLE) + len(legend) * line_height(_SMALL) + 0.1
    top = headed + line_height(_HEADING) + 0.05
    bottom = top + sum(line.height for line in lines) + _ROW_GAP * (len(lines) - 1)
    page = new_page(places.right + _MARGIN, bottom + 0.14 + _BAR + _BAR_TEXT)
    write(page, heading, _MARGIN, _MARGIN - 0.02, _TITLE, bold=True)
    write(page, legend, _MARGIN, _MARGIN + len(heading) * line_height(_TITLE), _SMALL, colour=_MUTED)
    for k, column in enumerate(columns):
        text = wrap(column, places.cell, _HEADING, bold=True, max_lines=1)
        write(page, text, places.left(k) + places.cell / 2, headed, _HEADING, align="center", bold=True)
    for number, (line, photo) in enumerate(zip(lines, photos, strict=True)):
        again = number > 0 and rows[number].photo is rows[number - 1].photo
        _draw_line(
            page,
            top,
            line,
            places,
            photo=None if again else photo,
            under=photo,
            maps=[one**power for one in maps[number]],
            scale=shown,
        )
        top += line.height + _ROW_GAP
    width = min(places.right - places.left(0), _WIDEST_BAR)
    bar = add_axes(page, places.left(0), bottom + 0.14, width, _BAR)
    if square_root:
        _draw_root_bar(bar, scale)
    else:
        draw_bar(bar, scale, horizontal=True, ticks=min(6, max(2, int(width / _NUMBER))))
    return page


@dataclass(frozen=True)
class _Columns:
    """Places of the columns of maps, in inches: behind a photo and the row's text."""

    cell: float
    count: int

    @classmethod
    def plan(cls, count: int) -> "_Columns":
        free = _PAGE - 2 * _MARGIN - _LABELS - _GAP * (count + 1)
        return cls(min(max(free / (count + 1), _SMALLEST_CELL), _LARGEST_CELL), count)

    @property
    def labels(self) -> float:
        return _MARGIN + self.cell + _GAP

    def left(self, column: int) -> float:
        return self.labels + _LABELS + _GAP + column * (self.cell + _GAP)

    @property
    def right(self) -> float:
        return self.left(self.count) - _GAP


@dataclass(frozen=True)
class _Line:
    """The texts of a row, the size of its pictures and its height, in inches."""

    title: list[str]
    details: list[str]
    captions: list[list[str]]
    panel: tuple[float, float]

    @classmethod
    def of(cls, row: SweepRow, photo: Floats, columns: _Columns) -> "_Line":
        return cls(
            wrap(row.title, _LABELS, _BODY, bold=True, max_lines=4),
            wrap(row.details, _LABELS, _TINY, max_lines=3),
            [wrap(text, columns.cell + _GAP / 2, _TINY, max_lines=_CAPTION_LINES) for text in row.captions],
            fit(photo.shape[2] / photo.shape[1], columns.cell, columns.cell),
        )

    @property
    def text(self) -> float:
        return len(self.title) * line_height(_BODY) + len(self.details) * line_height(_TINY)

    @property
    def pictures(self) -> float:
        return max(self.panel[1], self.text)

    @property
    def height(self) -> float:
        return self.pictures + 0.03 + max(map(len, self.captions)) * line_height(_TINY)


def _draw_line(
    page: Figure,
    top: float,
    line: _Line,
    columns: _Columns,
    *,
    photo: Floats | None,
    under: Floats,
    maps: Sequence[Floats],
    scale: Scale,
) -> None:
    width, height = line.panel
    upper = top + (line.pictures - height) / 2
    if photo is not None:
        draw_photo(add_axes(page, _MARGIN + (columns.cell - width) / 2, upper, width, height), photo)
    right, first = columns.labels + _LABELS, top + (line.pictures - line.text) / 2
    write(page, line.title, right, first, _BODY, align="right", bold=True)
    below = first + len(line.title) * line_height(_BODY)
    write(page, line.details, right, below, _TINY, align="right", colour=_MUTED)
    for k, (values, caption) in enumerate(zip(maps, line.captions, strict=True)):
        middle = columns.left(k) + columns.cell / 2
        draw_map(add_axes(page, middle - width / 2, upper, width, height), under, values, scale)
        write(page, caption, middle, top + line.pictures + 0.03, _TINY, align="center", colour=_MUTED)


def _draw_root_bar(axes: Axes, scale: Scale) -> None:
    """Draw the bar of a scale whose colours follow the root of the values."""
    draw_bar(
        axes, replace(scale, top=scale.top**0.5, unit=f"{scale.unit} (colours follow the square root)"), horizontal=True
    )
    numbers = [f * 10.0**power for power in range(-6, 6) for f in (1, 2, 5) if f * 10.0**power <= scale.top]
    chosen = [0.0]
    for number in reversed(numbers):  # from the largest down, as long as there is room
        gap = min(abs(number**0.5 - other**0.5) for other in chosen)
        if gap >= _ROOM * scale.top**0.5:
            chosen.append(number)
    axes.xaxis.set_major_locator(FixedLocator([number**0.5 for number in chosen]))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{number:g}" for number in chosen]))


def _check(rows: Sequence[SweepRow], columns: Sequence[str]) -> None:
    if not rows or not columns:
        raise InputError(
            f"a page of {len(rows)} rows and {len(columns)} columns is empty: expected at least one of each"
        )
    for number, row in enumerate(rows):
        if len(row.maps) != len(columns) or len(row.captions) != len(columns):
            raise InputError(
                f"rows[{number}] has {len(row.maps)} maps and {len(row.captions)} captions: expected {len(columns)} of each, "
                "one for each column"
            )
