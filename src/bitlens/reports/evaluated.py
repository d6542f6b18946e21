"""From an evaluation's folder to the tables and plots of a report."""

import re
from collections.abc import Iterator
from pathlib import Path

from bitlens.data.images import natural_key, read_image
from bitlens.errors import BitlensError
from bitlens.evaluation.formats import Grid, about, grids_of
from bitlens.evaluation.plotted import plots_of
from bitlens.evaluation.tables import Table, build_table, metric_of
from bitlens.view.encoding import picture_uri
from bitlens.view.report_html import Cell, Column, DataTable, Picture, Section

_SHEET = 1400  # pixels, of the longer side


def evaluation_section(folder: Path, problems: list[str]) -> tuple[Section, Table]:
    """Make the tables, plots and kept maps of an evaluation.

    Args:
        folder: with settings.json and rows.
        problems: what cannot be shown is added to it.

    Raises:
        DataError: if the folder holds no results.
    """
    table = build_table(folder)
    grids = [_data_table(grid, table) for grid in grids_of(table)]
    pictures = list(_kept_maps(folder, problems))
    title = f"Evaluation of {table.settings['model']}"
    return Section(title, about(table), grids, list(plots_of(folder, table)), pictures), table


def _data_table(grid: Grid, table: Table) -> DataTable:
    better = {metric: metric_of(metric).better for metric in table.metrics}
    columns = [Column(grid.heads[0], number=False)]
    for head in grid.heads[1:]:
        metric = head.rpartition(" ")[0] if head[-1] in "↑↓" else head
        columns.append(Column(metric, better.get(metric, "") if metric != head else ""))
    rows: list[list[Cell]] = []
    foot: list[list[Cell]] = []
    for r, texts in enumerate(grid.rows):
        row = [Cell(texts[0], texts[0].casefold())]
        row += [Cell(text, _key(text), (r, c) in grid.emphasised) for c, text in enumerate(texts[1:], 1)]
        (foot if texts[0] not in table.methods else rows).append(row)
    notes = [note for note in grid.notes if note != about(table)]
    return DataTable(grid.title[0].upper() + grid.title[1:], columns, rows, foot, notes)


def _key(text: str) -> float | None:
    """Return the number that a cell begins with."""
    number = re.match(r"[+−-]?\d[\d,]*(\.\d+)?", text)
    return float(number[0].replace("−", "-").replace(",", "")) if number else None


def _kept_maps(folder: Path, problems: list[str]) -> Iterator[Picture]:
    """Yield the contact sheets of an evaluation that kept its maps."""
    for path in sorted(folder.glob("maps-*.png"), key=natural_key):
        try:
            picture = picture_uri(read_image(path), _SHEET)
        except BitlensError as error:
            problems.append(str(error))
            continue
        title = f"Maps, sheet {path.stem.rpartition('-')[2]}"
        yield Picture(title, picture, "Photos in rows, and the map of each method over them in columns")
