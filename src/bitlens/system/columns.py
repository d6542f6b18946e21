"""Columns of Arrow as arrays of NumPy, and places as a column, through their memory.

Arrow's own conversions import pandas wherever it is installed, which takes as long as all that a table is made of.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Column = Any
"""A `pyarrow.Array` or `pyarrow.ChunkedArray`."""


def numbers(column: Column) -> npt.NDArray[Any]:
    """Return a column of numbers: whole ones as int64 with -1 for nothing, others as float64 with NaN for nothing."""
    kind, nothing = (pa.int64(), -1) if pa.types.is_integer(column.type) else (pa.float64(), np.nan)
    held = column.cast(kind)
    chunks = held.chunks if isinstance(held, pa.ChunkedArray) else [held]
    dtype = np.dtype(kind.to_pandas_dtype())
    parts = [
        np.frombuffer(one.buffers()[1], dtype, len(one), one.offset * dtype.itemsize) for one in chunks if len(one)
    ]
    values = np.concatenate(parts) if parts else np.empty(0, dtype)
    if held.null_count:
        values[empty(held)] = nothing
    return values


def empty(column: Column) -> npt.NDArray[np.bool_]:
    """Say of each cell whether it holds nothing."""
    return numbers(column.is_null().cast(pa.uint8())).astype(bool)


def as_column(rows: npt.NDArray[np.int64]) -> pa.Array:
    """Return positions as a column, to take rows with."""
    return pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows, np.int64))])
