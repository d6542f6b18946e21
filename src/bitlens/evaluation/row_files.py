"""Reading files of rows: in pieces, each checked. A row that cannot be one of ours would mark another sample done."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bitlens.errors import DataError
from bitlens.evaluation.rows import SCHEMA
from bitlens.system.columns import numbers

_PIECE = 1 << 16  # rows
_MOST = 1 << 28  # bytes of a file's columns; the longest of ours have some ten million
_NAMES = ("index", "sample", "photo", "method", "metric")
_FINITE = ("value", "scale", "probability")
_CURVES = ("x", "upper", "lower")


def read_rows(path: Path, columns: Sequence[str], samples: int | None = None) -> Iterator[pa.Table]:
    """Read some columns of a file of rows, piece by piece.

    Args:
        path: the file.
        columns: the names of those that are wanted; index, method and metric among them.
        samples: how many samples the data set has, if that is known.

    Raises:
        DataError: if the file is damaged, holds no rows of bitlens, or rows that cannot be of this data set.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            _check_columns(file, columns)
            for batch in file.iter_batches(_PIECE, columns=list(columns), use_threads=False):  # many small files
                piece = pa.Table.from_batches([batch])
                piece.validate(full=True)
                _check_rows(piece, samples)
                yield piece
    except (OSError, pa.ArrowException, KeyError, ValueError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path} holds no rows of bitlens or is damaged ({reason}): delete it, and the same `bitlens evaluate` "
            "makes its rows again"
        ) from error


def _check_columns(file: pq.ParquetFile, columns: Sequence[str]) -> None:
    found = file.schema_arrow
    for name in columns:
        place = found.get_field_index(name)
        if place < 0:
            raise ValueError(f"there is no column {name}")
        if found.field(place).type != SCHEMA.field(name).type:
            raise ValueError(f"the column {name} is {found.field(place).type}, expected {SCHEMA.field(name).type}")
    # Not the columns' own sizes: of a damaged file, asking for a column's metadata ends the process (Arrow 26).
    size = sum(file.metadata.row_group(number).total_byte_size for number in range(file.metadata.num_row_groups))
    if size > _MOST:
        raise ValueError(f"it unpacks to {size >> 20} MB")


def _check_rows(piece: pa.Table, samples: int | None) -> None:
    there = set(piece.column_names)
    for name in (name for name in _NAMES if name in there):
        if piece[name].null_count:
            raise ValueError(f"{piece[name].null_count} rows have no {name}")
    if len(piece):
        bounds = pc.min_max(piece["index"])
        low, high = bounds["min"].as_py(), bounds["max"].as_py()
        if low < 0 or (samples is not None and high >= samples):
            raise ValueError(
                f"the index {low if low < 0 else high} is none of the {samples or ''} samples".replace("  ", " ")
            )
    for name in (name for name in _FINITE if name in there):
        if not pc.all(pc.is_finite(piece[name]), min_count=0).as_py():
            raise ValueError(f"the column {name} holds NaN or infinite values")
    if {"error", "value"} <= there and bool(
        pc.any(pc.and_(piece["error"].is_valid(), piece["value"].is_valid())).as_py()
    ):
        raise ValueError("a row has a value and failed")
    if there.issuperset(_CURVES):
        long, *others = (
            numbers(pc.list_value_length(piece[name])).clip(0) for name in _CURVES
        )  # -1 where there is none
        for other in others:
            if np.any((other != 0) & (other != long)):
                raise ValueError("the curves of a row have different lengths")
