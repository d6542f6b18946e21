"""Reading the rows of a folder: what is there already, the numbers, the curves.

Where several rows say the same of a sample (two runs at once, a failure that was tried again) one counts: a value rather
than a failure, the earlier file rather than the later.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bitlens.errors import DataError

__all__ = ["Done", "RowStore", "Series"]

_PAIR = ["index", "method", "metric"]


@dataclass
class Series:
    """All that counts of one (method, metric), in the order of the samples.

    Attributes:
        index: (n,) positions of the samples that have a value or to which the metric does not apply.
        value: (n,) float64, NaN where the metric does not apply.
        scale: (n,) float64, NaN for metrics without.
        probability: (n,) of the target for the unchanged photo.
        correct: (n,) whether the network names the target.
        failures: position of each sample that failed → why.
    """

    index: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    probability: npt.NDArray[np.float64]
    correct: npt.NDArray[np.bool_]
    failures: Mapping[int, str] = field(default_factory=dict)


class Done:
    """Which (sample, method, metric) are there, in one bit each."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], npt.NDArray[np.bool_]] = {}

    def add(self, pair: tuple[str, str], index: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Mark samples of a (method, metric); of each given one whether it is new, the second of two alike is not."""
        seen = self._seen.get(pair, np.zeros(0, bool))
        longest = int(index.max(initial=-1)) + 1
        if longest > len(seen):
            seen = np.concatenate([seen, np.zeros(max(longest, 2 * len(seen)) - len(seen), bool)])
        new = np.zeros(len(index), bool)
        new[np.unique(index, return_index=True)[1]] = True
        new &= ~seen[index]
        seen[index] = True
        self._seen[pair] = seen
        return new

    def __contains__(self, key: tuple[int, str, str]) -> bool:
        index, method, metric = key
        seen = self._seen.get((method, metric), ())
        return index < len(seen) and bool(seen[index])


class RowStore:
    """The rows in a folder.

    Args:
        folder: made when the first rows are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def done(self, *, failures: bool) -> Done:
        """What need not be done again; failures belong to it if `failures`."""
        done = Done()
        for part in self._parts([*_PAIR, "error"]):
            for pair, rows in _by_pair(part):
                keep = np.ones(len(rows), bool) if failures else _is_null(part["error"])[rows]
                done.add(pair, _numbers(part["index"])[rows[keep]])
        return done

    def series(self) -> dict[tuple[str, str], Series]:
        """The numbers of every (method, metric); memory and time grow with the number of rows, curves are not read."""
        columns = [*_PAIR, "value", "scale", "probability", "target", "predicted", "error"]
        done, collected, failed = Done(), _Collected(), _Failed()
        for part in self._parts(columns):
            good = _is_null(part["error"])
            for pair, rows in _by_pair(part):
                collected.add(pair, part, rows[good[rows]], done)
                failed.add(pair, part, rows[~good[rows]])
        return collected.series(failed)

    def curves(self, metric: str) -> Iterator[tuple[str, pa.Table]]:
        """The curves of a metric by method, file by file: tables with index, x, upper, lower, without failures."""
        done = Done()
        for part in self._parts([*_PAIR, "x", "upper", "lower", "error", "value"], metric):
            good = _is_null(part["error"]) & ~_is_null(part["value"])
            for (method, _), rows in _by_pair(part):
                mine = rows[good[rows]]
                mine = mine[done.add((method, metric), _numbers(part["index"])[mine])]
                if len(mine):
                    yield method, part.select(["index", "x", "upper", "lower"]).take(pa.array(mine))

    def first(self) -> dict[str, Any] | None:
        """Index, sample and photo of some row that is no failure, to compare with the data at hand."""
        for part in self._parts(["index", "sample", "photo", "error"]):
            good = np.flatnonzero(_is_null(part["error"]))
            if len(good):
                return dict(part.slice(int(good[0]), 1).to_pylist()[0])
        return None

    def _files(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.glob("*.parquet") if not path.name.startswith("."))

    def _parts(self, columns: list[str], metric: str | None = None) -> Iterator[pa.Table]:
        for path in self._files():
            try:
                yield _read(path, columns, metric)
            except (OSError, pa.ArrowException, KeyError) as error:
                reason = " ".join(str(error).split())[:200]
                raise DataError(
                    f"{path} holds no rows of bitlens or is damaged ({reason}): delete it, and the same `bitlens evaluate` "
                    "makes its rows again"
                ) from error


class _Collected:
    """Columns of the rows that count, file by file, joined at the end."""

    columns = ("index", "value", "scale", "probability", "correct")

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str], list[tuple[npt.NDArray[Any], ...]]] = {}

    def add(self, pair: tuple[str, str], part: pa.Table, rows: npt.NDArray[np.int64], done: Done) -> None:
        rows = rows[done.add(pair, _numbers(part["index"])[rows])]
        correct = _numbers(part["target"]) == _numbers(part["predicted"])
        arrays = [_numbers(part[name])[rows] for name in self.columns[:-1]]
        self._parts.setdefault(pair, []).append((*arrays, correct[rows]))

    def series(self, failed: "_Failed") -> dict[tuple[str, str], Series]:
        result = {}
        for pair in sorted(self._parts):
            arrays = [np.concatenate(columns) for columns in zip(*self._parts.pop(pair), strict=True)]
            order = np.argsort(arrays[0], kind="stable")
            columns = dict(zip(self.columns, (array[order] for array in arrays), strict=True))
            known = set(columns["index"].tolist()) if failed.has(pair) else set()
            result[pair] = Series(**columns, failures=failed.without(pair, known))
        return result


class _Failed:
    """Why samples failed; the last reason counts."""

    def __init__(self) -> None:
        self._reasons: dict[tuple[str, str], dict[int, str]] = {}

    def add(self, pair: tuple[str, str], part: pa.Table, rows: npt.NDArray[np.int64]) -> None:
        if len(rows):
            texts = part["error"].take(pa.array(rows)).to_pylist()
            indices = _numbers(part["index"])[rows].tolist()
            self._reasons.setdefault(pair, {}).update(zip(indices, texts, strict=True))

    def has(self, pair: tuple[str, str]) -> bool:
        return pair in self._reasons

    def without(self, pair: tuple[str, str], succeeded: set[int]) -> dict[int, str]:
        reasons = self._reasons.get(pair, {})
        return {index: reasons[index] for index in sorted(reasons) if index not in succeeded}


def _read(path: Path, columns: list[str], metric: str | None) -> pa.Table:
    if metric is None:  # without the detour that filters need
        with pq.ParquetFile(path) as file:
            return file.read(columns=columns)
    return pq.read_table(path, columns=columns, filters=[("metric", "=", metric)], partitioning=None)


def _by_pair(part: pa.Table) -> Iterator[tuple[tuple[str, str], npt.NDArray[np.int64]]]:
    """The rows of each (method, metric) in a table."""
    methods, metrics = (part[name].combine_chunks().dictionary_encode() for name in ("method", "metric"))
    codes = _numbers(methods.indices) * max(len(metrics.dictionary), 1) + _numbers(metrics.indices)
    order = np.argsort(codes, kind="stable")
    changes = np.flatnonzero(np.diff(codes[order])) + 1
    for rows in np.split(order, changes) if len(order) else ():
        one = int(rows[0])
        yield (part["method"][one].as_py(), part["metric"][one].as_py()), rows


def _numbers(column: Any) -> npt.NDArray[Any]:
    """A column as NumPy array; whole numbers as int64 with -1 for nothing, others as float64 with NaN."""
    if pa.types.is_integer(column.type):
        return np.asarray(column.fill_null(-1).to_numpy(), dtype=np.int64)
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)


def _is_null(column: Any) -> npt.NDArray[np.bool_]:
    return np.asarray(column.is_null().to_numpy(), dtype=bool)
