"""Tables of numbers from .csv and .parquet, read by Arrow: columns that are numbers, without gaps."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bitlens.data.numbers import MOST, Array, Floats, as_floats

MOST_TEXT = 512 << 20
"""Bytes of a table as text that are read."""


@lru_cache(maxsize=4)
def table_of(file: Path, names: tuple[str, ...], mark: tuple[int, int]) -> tuple[Floats, tuple[str, ...]]:  # noqa: ARG001
    """Read all rows (N, D) of a table and the names of their columns; the mark tells a file from one that replaced it."""
    found, columns = columns_of(opened(file), names)
    return as_floats(np.stack(columns, axis=1)), tuple(found)


def opened(file: Path) -> Any:
    """Read a file whole, as an Arrow table.

    Raises:
        ValueError: if it is damaged or too large.
    """
    return _parquet(file) if file.suffix.lower() == ".parquet" else _csv(file)


def columns_of(table: Any, names: Sequence[str] = ()) -> tuple[list[str], list[Array]]:
    """Return the named columns of an Arrow table, all of them by default, as numbers.

    Raises:
        ValueError: if one is missing or holds text.
    """
    import pyarrow as pa

    from bitlens.system.columns import numbers

    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise ValueError(f"the column {missing[0]!r} is missing: found {', '.join(table.column_names)}")
    chosen = list(names) or table.column_names
    if not chosen or not table.num_rows:
        raise ValueError("it has no rows or no columns")
    if len(set(table.column_names)) != len(table.column_names):
        raise ValueError("two of its columns have the same name")
    if table.num_rows * len(chosen) > MOST:
        raise ValueError(f"it has {table.num_rows} rows of {len(chosen)} columns, more than are read")
    columns = []
    for name in chosen:
        column = table.column(name)
        kind = column.type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            raise ValueError(f"the column {name!r} holds {kind}, no numbers: leave it out, or write it as numbers")
        if column.null_count:
            raise ValueError(
                f"the column {name!r} has {column.null_count} empty cells: fill them in, or leave the rows out"
            )
        columns.append(numbers(column.cast(pa.float64())))
    return chosen, columns


def _csv(file: Path) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    if file.stat().st_size > MOST_TEXT:
        raise ValueError(f"it is larger than {MOST_TEXT >> 20} MB: write it as Parquet, or as .npy")
    with file.open("rb") as opened:
        head = opened.readline(1 << 16).decode("utf-8", "replace").strip().split(",")
    bare = all(_is_number(cell) for cell in head)
    options = csv.ReadOptions(use_threads=False, autogenerate_column_names=bare)
    try:
        return csv.read_csv(file, read_options=options)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error


def _parquet(file: Path) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        opened = parquet.ParquetFile(file, page_checksum_verification=True)
        about = opened.metadata
        size = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
        if about.num_rows * about.num_columns > MOST or size > 8 * MOST:
            raise ValueError(
                f"it says that it has {about.num_rows} rows of {about.num_columns} columns, more than are read"
            )
        return opened.read(use_threads=False)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
