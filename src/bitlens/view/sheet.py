"""The contact sheet: a row for each photo, a column for each method, one scale for all or one for each."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from bitlens.errors import InputError
from bitlens.view.arrays import Array, Floats, sized
from bitlens.view.canvas import add_axes, line_height, new_page, wrap, write
from bitlens.view.colours import Scale
from bitlens.view.panels import bar_text_width, draw_bar, draw_map, draw_photo, fit

# Inches. A page of 7 inches shown 700 pixels wide has letters of about 12 pixels.
_PAGE, _MARGIN, _GAP = 7.0, 0.15, 0.1
_LABELS = 1.0
_SMALLEST_CELL, _LARGEST_CELL, _TALLEST_CELL = 0.95, 1.9, 2.4
_BAR, _WIDEST_BAR, _BAR_TEXT = 0.12, 3.4, 0.42
_SMALL_BAR, _SMALL_BAR_TEXT, _TICKS = 0.07, 0.36, 3
_NUMBER = 0.5  # room for one number at the bar
# Points.
_HEADING, _BODY, _SMALL, _TINY = 9.0, 8.5, 8.0, 7.0
_MUTED = "#555555"


def draw_grid(
    photos: Sequence[Array],
    maps: Sequence[Sequence[Array]],
    *,
    unit: str | Sequence[str],
    row_titles: Sequence[str],
    column_titles: Sequence[str],
    captions: Sequence[Sequence[str]] | None = None,
    shared_scale: bool = True,
    percentile: float | None = None,
    signed: Sequence[bool] = (),
) -> Figure:
    """Draw a contact sheet: a row for each photo, a column for each method or network.

    Args:
        photos: one for each row, each (3, H, W) or (1, H, W) in [0, 1]; their sizes may differ.
        maps: for each row one map (h, w) for each column.
        unit: what the values count: one for all, or one for each column (with `shared_scale` off).
        row_titles: one for each row, usually the class; may be empty texts.
        column_titles: one for each column of maps; elided if long.
        captions: for each row one text for each column, written under the map, e.g. ``"412 bits"``.
        shared_scale: the same colour means the same value on the whole sheet, with one colour bar; otherwise each
            map has its own scale up to its largest value, and its own small colour bar.
        percentile: let the colours end at this percentile of the magnitudes; the sheet says so.
        signed: which columns' colours reach below 0 whatever their values; of scores those whose values do, too.

    Raises:
        InputError: an array has the wrong shape or range or is empty or not finite, the numbers of rows or columns
            do not agree, or the scale is to be shared by different units.
    """
    units = [unit] * len(column_titles) if isinstance(unit, str) else list(unit)
    _check_counts(photos, row_titles, len(column_titles), maps=maps)
    if len(units) != len(column_titles):
        raise InputError(
            f"unit has {len(units)} entries: expected {len(column_titles)}, one for each column, or one text for all"
        )
    if shared_scale and len(set(units)) > 1:
        raise InputError(f"units {sorted(set(units))} cannot share a scale: pass shared_scale=False")
    _, values = sized(photos, maps)
    if shared_scale:
        every = [one for row in values for one in row]
        scale = Scale.over(every, units[0], percentile=percentile, signed=any(signed))
        scales = [[scale] * len(units)] * len(values)
    else:
        scales = [
            [
                Scale.over([one], unit, percentile=percentile, signed=both)
                for one, unit, both in zip(row, units, signed or [False] * len(units), strict=True)
            ]
            for row in values
        ]
    return draw_scaled_grid(
        photos,
        values,
        scales,
        row_titles=row_titles,
        column_titles=column_titles,
        captions=captions,
        shared=shared_scale,
    )


def draw_scaled_grid(
    photos: Sequence[Array],
    maps: Sequence[Sequence[Array]],
    scales: Sequence[Sequence[Scale]],
    *,
    row_titles: Sequence[str],
    column_titles: Sequence[str],
    column_details: Sequence[str] | None = None,
    captions: Sequence[Sequence[str]] | None = None,
    shared: bool = False,
) -> Figure:
    """Draw a contact sheet as `draw_grid` does, each map on a scale of its own that is given.

    Args:
        photos: one for each row.
        maps: for each row one map (h, w) for each column.
        scales: for each row one for each column; those of one column have the same unit.
        row_titles: one for each row, usually the class; may be empty texts.
        column_titles: one for each column of maps; elided if long.
        column_details: one for each column, in muted letters under its title.
        captions: for each row one text for each column, written under the map.
        shared: all scales are the same one, drawn below the sheet; otherwise a small bar stands beside each map.

    Raises:
        InputError: an array has the wrong shape or range or is empty or not finite, or the numbers of rows or columns
            do not agree.
    """
    count = len(column_titles)
    _check_counts(photos, row_titles, count, maps=maps, captions=captions or maps, scales=scales)
    if column_details is not None and len(column_details) != count:
        raise InputError(f"column_details has {len(column_details)} entries: expected {count}")
    pixels, values = sized(photos, maps)
    numbers = 0.0 if shared else max(bar_text_width(s, ticks=_TICKS, size=_TINY) for row in scales for s in row)
    columns = _Columns.plan(count, labelled=any(row_titles), bar=numbers)
    rows = _plan_rows(pixels, row_titles, captions, columns)
    headings = [wrap(title, columns.heading, _HEADING, bold=True, max_lines=3) for title in column_titles]
    notes = [] if shared else [_note([row[k] for row in scales], columns) for k in range(count)]
    if column_details is not None:
        details = [wrap(text, columns.heading, _TINY, max_lines=2) for text in column_details]
        notes = [above + note for above, note in zip(details, notes or [[]] * count, strict=True)]
    heading_height = max(map(len, headings)) * line_height(_HEADING)
    note_height = max(map(len, notes), default=0) * line_height(_TINY)
    top = _MARGIN + heading_height + note_height + 0.05
    bottom = top + sum(row.height for row in rows) + _GAP * (len(rows) - 1)
    page = new_page(columns.right + _MARGIN, bottom + (0.12 + _BAR + _BAR_TEXT if shared else _MARGIN))
    for k, heading in enumerate(headings):
        upper = _MARGIN + heading_height - len(heading) * line_height(_HEADING)
        write(page, heading, columns.middle(k + 1), upper, _HEADING, align="center", bold=True)
    for k, note in enumerate(notes):
        write(page, note, columns.middle(k + 1), _MARGIN + heading_height, _TINY, align="center", colour=_MUTED)
    for row, photo, row_values, row_scales in zip(rows, pixels, values, scales, strict=True):
        _draw_row(page, top, row, columns, photo=photo, maps=list(zip(row_values, row_scales, strict=True)))
        top += row.height + _GAP
    if shared:
        width = min(columns.right - columns.left(1), _WIDEST_BAR)
        bar = add_axes(page, columns.left(1), bottom + 0.12, width, _BAR)
        draw_bar(bar, scales[0][0], horizontal=True, ticks=min(6, int(width / _NUMBER)))
    return page


@dataclass(frozen=True)
class _Columns:
    """Places of the columns, in inches; column 0 holds the photos."""

    labels: float
    cell: float
    beside: float
    count: int

    @classmethod
    def plan(cls, maps: int, *, labelled: bool, bar: float) -> "_Columns":
        """Leave room for a bar beside each map whose numbers take so many inches, or for none."""
        labels = _LABELS + _GAP if labelled else 0.0
        beside = 0.04 + _SMALL_BAR + max(bar, _SMALL_BAR_TEXT) if bar else 0.0
        free = _PAGE - 2 * _MARGIN - labels - maps * (_GAP + beside)
        return cls(labels, min(max(free / (maps + 1), _SMALLEST_CELL), _LARGEST_CELL), beside, maps)

    def left(self, column: int) -> float:
        return _MARGIN + self.labels + column * (self.cell + _GAP) + max(column - 1, 0) * self.beside

    @property
    def heading(self) -> float:
        """Say how wide what stands above a column may be."""
        return self.cell + self.beside

    def middle(self, column: int) -> float:
        return self.left(column) + self.cell / 2

    @property
    def right(self) -> float:
        return self.left(self.count) + self.cell + self.beside


@dataclass(frozen=True)
class _Row:
    """One row: its texts, the size of its pictures and its height in inches."""

    title: list[str]
    captions: list[list[str]]
    panel: tuple[float, float]

    @property
    def pictures(self) -> float:
        return max(self.panel[1], len(self.title) * line_height(_BODY))

    @property
    def height(self) -> float:
        lines = max(map(len, self.captions), default=0)
        return self.pictures + (0.03 + lines * line_height(_SMALL) if lines else 0)


def _plan_rows(
    photos: list[Floats], titles: Sequence[str], captions: Sequence[Sequence[str]] | None, columns: _Columns
) -> list[_Row]:
    rows = []
    for number, (photo, title) in enumerate(zip(photos, titles, strict=True)):
        texts = captions[number] if captions else ()
        lines = [wrap(text, columns.cell + columns.beside, _SMALL, max_lines=2) for text in texts]
        panel = fit(photo.shape[2] / photo.shape[1], columns.cell, _TALLEST_CELL)
        rows.append(_Row(wrap(title, _LABELS, _BODY, max_lines=4), lines, panel))
    return rows


def _draw_row(
    page: Figure, top: float, row: _Row, columns: _Columns, *, photo: Floats, maps: list[tuple[Floats, Scale]]
) -> None:
    width, height = row.panel
    upper = top + (row.pictures - height) / 2
    title_height = len(row.title) * line_height(_BODY)
    write(page, row.title, _MARGIN + _LABELS, top + (row.pictures - title_height) / 2, _BODY, align="right")
    draw_photo(add_axes(page, columns.middle(0) - width / 2, upper, width, height), photo)
    for column, (values, scale) in enumerate(maps, start=1):
        left = columns.middle(column) - width / 2
        draw_map(add_axes(page, left, upper, width, height), photo, values, scale)
        if columns.beside:
            bar = add_axes(page, left + width + 0.04, upper, _SMALL_BAR, height)
            draw_bar(bar, scale, label=False, ticks=_TICKS, size=_TINY)
    for column, caption in enumerate(row.captions, start=1):
        write(page, caption, columns.middle(column), top + row.pictures + 0.03, _SMALL, align="center", colour=_MUTED)


def _note(scales: list[Scale], columns: _Columns) -> list[str]:
    """Name the unit of a column, with what is to be said about the ends of its scales."""
    label = max((scale.label for scale in scales), key=len)
    return wrap(label, columns.cell + columns.beside, _TINY, max_lines=3)


def _check_counts(
    photos: Sequence[Array], row_titles: Sequence[str], columns: int, **tables: Sequence[Sequence[object]]
) -> None:
    rows = len(photos)
    if not rows or not columns:
        raise InputError(f"a sheet of {rows} photos and {columns} columns is empty: expected at least one of each")
    for name, listed in {**tables, "row_titles": row_titles}.items():
        if len(listed) != rows:
            raise InputError(f"{name} has {len(listed)} rows: expected {rows}, one for each photo")
    for name, table in tables.items():
        for number, row in enumerate(table):
            if len(row) != columns:
                raise InputError(f"{name}[{number}] has {len(row)} entries: expected {columns}, one for each column")
