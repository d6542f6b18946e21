"""Tables as people and programs write them: quoted or not, with long cells, line breaks in a cell, stray carriage returns."""

import csv
import io
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import parse_qsl

from bitlens.errors import DataError

_RETURN = re.compile("\r(?!\n)")
_LIMIT = threading.Lock()
_FREE = [chr(code) for code in range(0xE000, 0xE100)]  # characters that mean nothing: one of them is not in the file


@dataclass(frozen=True)
class TableRow:
    """One row of a table.

    Attributes:
        line: of the file, counted from 1, where it begins.
        cells: without quotes.
    """

    line: int
    cells: Sequence[str]


def quoted_rows(content: str, delimiter: str) -> list[TableRow]:
    """Return the rows of a table whose cells are quoted where they must be; empty lines are no rows.

    A carriage return that ends no line stays in its cell.

    Raises:
        DataError: if quotes do not match; the message names the line.
    """
    stray = next(character for character in _FREE if character not in content)
    only_returns = "\n" not in content
    text = content.replace("\r", "\n") if only_returns else _RETURN.sub(stray, content)
    rows: list[TableRow] = []
    with _long_cells(len(content)):
        reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter, strict=True)
        line = 1
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise DataError(f"line {line}: {error}") from error
            if cells is None:
                return rows
            if cells:
                rows.append(TableRow(line, [cell.replace(stray, "\r") for cell in cells]))
            line = reader.line_num + 1


def plain_rows(content: str, delimiter: str) -> list[TableRow]:
    """Return the rows of a table whose quotes are characters like others: one on each line; empty lines are no rows."""
    lines = content.split("\n" if "\n" in content else "\r")
    rows = [TableRow(n, line.removesuffix("\r").split(delimiter)) for n, line in enumerate(lines, 1)]
    return [row for row in rows if list(row.cells) != [""]]


def rows_of_tsv(content: str, label: int = 1) -> list[TableRow]:
    """Return the rows of a tab-separated table, whether quotes in it quote (pandas) or are characters (GLUE).

    They quote where the table then reads without fault and every row has as many cells as the first. Where that makes one row
    of several lines that could each be a row themselves, they do only if these have labels that are none.

    Args:
        content: of the file.
        label: which cell holds the label, to tell by.
    """
    plain = plain_rows(content, "\t")
    if '"' not in content:
        return plain
    try:
        quoted = quoted_rows(content, "\t")
    except DataError:
        return plain
    if not _even(quoted):
        return plain
    if len(quoted) < len(plain) and _even(plain) and _names(plain, label) <= _names(quoted, label):
        return plain
    return quoted


def rows_of_csv(content: str) -> list[TableRow]:
    """Return the rows of a table separated by commas, or by what its first line is (semicolons, tabs).

    Raises:
        DataError: if quotes do not match, or rows differ in their number of cells; the message names the line.
    """
    first = content.lstrip("\r\n").partition("\n")[0]
    delimiter = max(",;\t", key=lambda mark: (first.count(mark), mark == ","))
    rows = quoted_rows(content, delimiter)
    for row in rows:
        if len(row.cells) != len(rows[0].cells):
            raise DataError(
                f"line {row.line}: expected as many cells as the first line has (texts with commas in quotes): "
                f"{len(rows[0].cells)}, not {len(row.cells)}"
            )
    return rows


def column(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    """Return the number of the first of the wanted columns that a table has, in capitals or not; None if it has none."""
    known = [name.strip().lower() for name in names]
    return next((known.index(name.lower()) for name in wanted if name.lower() in known), None)


def split_columns(place: str, allowed: Sequence[str]) -> tuple[str, Mapping[str, str]]:
    """Return a file, and the columns that were chosen behind it: `FILE?text=NAME&label=NAME`.

    Raises:
        DataError: if something else is chosen there.
    """
    path, mark, query = place.rpartition("?")
    if not mark or "=" not in query:
        return place, {}
    chosen = dict(parse_qsl(query, keep_blank_values=True))
    wrong = [name for name in chosen if name not in allowed]
    if wrong or not chosen:
        raise DataError(
            f"{place}: behind ? stands {query!r}, expected {'=NAME, '.join(allowed)}=NAME with & between them"
        )
    return path, chosen


def _even(rows: Sequence[TableRow]) -> bool:
    return len({len(row.cells) for row in rows}) == 1


def _names(rows: Sequence[TableRow], label: int) -> set[str]:
    """Return labels that are no numbers."""
    said = {row.cells[label].strip() for row in rows[1:] if label < len(row.cells)}
    return {name for name in said if not re.fullmatch(r"-?[0-9.]*", name)}


@contextmanager
def _long_cells(most: int) -> Iterator[None]:
    """Let the csv module take cells of more than 131,072 characters within the block; it can only do so for everyone at once."""
    with _LIMIT:
        before = csv.field_size_limit()
        csv.field_size_limit(max(before, most + 1))
        try:
            yield
        finally:
            csv.field_size_limit(before)
