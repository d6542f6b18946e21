"""Results are rows: one for each (sample, method, metric), in Parquet files that are written whole or not at all.

A run that is killed loses the rows that were not written yet and nothing else. All rows of one sample that were made
together are in one file.
"""

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bitlens.system.files import write_bytes
from bitlens.system.leftovers import sweep
from bitlens.system.reading import readable

Curve: TypeAlias = Sequence[float] | npt.NDArray[np.float32]

_CURVE = pa.list_(pa.float32())
SCHEMA = pa.schema(
    {
        "index": pa.int32(),
        "sample": pa.string(),
        "photo": pa.string(),
        "target": pa.int32(),
        "predicted": pa.int32(),
        "probability": pa.float32(),
        "method": pa.string(),
        "metric": pa.string(),
        "value": pa.float64(),
        "scale": pa.float64(),
        "x": _CURVE,
        "upper": _CURVE,
        "lower": _CURVE,
        "error": pa.string(),
        "seconds": pa.float32(),
        "map_seconds": pa.float32(),
    }
)
_TEXTS = [field.name for field in SCHEMA if field.type == pa.string()]


@dataclass(frozen=True)
class Row:
    """Value that one metric gives to one method's map of one sample.

    Attributes:
        index: position of the sample in its data set.
        sample: its name.
        photo: hash of its pixels, of its file or of its text, 16 hexadecimal digits.
        target: the class that was asked about.
        predicted: the class that the network names.
        probability: of the target, for the unchanged sample.
        method: label, as `iba[beta=100]`.
        metric: label.
        value: None where the metric does not apply to this sample, or failed.
        scale: what the mean of the values is divided by, as a mean itself, for metrics that are such a ratio.
        x: where the curves were measured, empty for metrics without curves.
        upper: the curve, or of two curves the one that should be high.
        lower: of two curves the other one.
        error: why there is no value, if something failed.
        seconds: that the metric took.
        map_seconds: that the map took; None where it was there already.
    """

    index: int
    sample: str
    photo: str
    method: str
    metric: str
    target: int | None = None
    predicted: int | None = None
    probability: float | None = None
    value: float | None = None
    scale: float | None = None
    x: Curve = ()
    upper: Curve = ()
    lower: Curve = ()
    error: str | None = None
    seconds: float | None = None
    map_seconds: float | None = None


class RowWriter:
    """Collects rows and writes them, each time into a file of its own, before memory or much work is at stake.

    Args:
        folder: of the rows.
        every_rows: write when there are as many.
        every_seconds: or when the last file is as old.
    """

    def __init__(self, folder: Path, *, every_rows: int = 2000, every_seconds: float = 30.0) -> None:
        self.folder, self.every_rows, self.every_seconds = folder, every_rows, every_seconds
        self._rows: list[Row] = []
        self._written = time.monotonic()
        sweep(folder)

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def add(self, rows: Iterable[Row]) -> None:
        """Take the rows of one sample; they are written together.

        Raises:
            DataError: the disk is full, or the folder cannot be written. Nothing half-written is left.
        """
        self._rows.extend(rows)
        if len(self._rows) >= self.every_rows or time.monotonic() - self._written >= self.every_seconds:
            self.flush()

    def flush(self) -> None:
        """Write what was collected; see `add`."""
        rows, self._rows = self._rows, []
        self._written = time.monotonic()
        if not rows:
            return
        columns = {name: _column(rows, name) for name in SCHEMA.names}
        sink = pa.BufferOutputStream()
        # No two numbers are alike: looking for repeated ones takes most of the time
        table = pa.table(columns, schema=SCHEMA)
        pq.write_table(table, sink, compression="zstd", use_dictionary=_TEXTS, write_page_checksum=True)
        # Names in the order of time: what was written first counts, and a person sees what is new
        path = self.folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.parquet"
        write_bytes(path, sink.getvalue().to_pybytes())


def _column(rows: Sequence[Row], name: str) -> Any:
    values = [getattr(row, name) for row in rows]
    if name in _TEXTS:
        return [text and readable(text) for text in values]
    if SCHEMA.field(name).type != _CURVE:
        return values
    curves = [np.asarray(value, np.float32) for value in values]  # joined here, many times faster than one by one there
    ends = np.cumsum([0, *map(len, curves)], dtype=np.int32)
    return pa.ListArray.from_arrays(ends, np.concatenate(curves))
