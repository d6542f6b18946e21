"""Reading the rows of a folder: what is there already, the numbers, the curves.

Where several rows say the same of a sample (two runs at once, a failure that was tried again) one counts: a value rather
than a failure, the earlier file rather than the later.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bitlens.evaluation.row_files import read_rows
from bitlens.system.columns import as_column, empty, numbers

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
    """Record of which (sample, method, metric) are there, in one byte each."""

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

    def lacks(self, pair: tuple[str, str], index: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Say of each sample whether a (method, metric) is not there."""
        seen = self._seen.get(pair, np.zeros(0, bool))
        lacking = np.ones(len(index), bool)
        known = index < len(seen)
        lacking[known] = ~seen[index[known]]
        return lacking


class RowStore:
    """The rows in a folder.

    Args:
        folder: made when the first rows are written.
        samples: how many samples the data set has, if that is known: rows of others are refused.
    """

    def __init__(self, folder: Path, samples: int | None = None) -> None:
        self.folder, self.samples = folder, samples

    def done(self, *, failures: bool) -> Done:
        """Return what need not be done again; failures belong to it if `failures`."""
        done = Done()
        for part in self._parts([*_PAIR, "error"]):
            for pair, rows in _by_pair(part):
                keep = np.ones(len(rows), bool) if failures else empty(part["error"])[rows]
                done.add(pair, numbers(part["index"])[rows[keep]])
        return done

    def series(self) -> dict[tuple[str, str], Series]:
        """Return the numbers of every (method, metric); memory and time grow with the number of rows, curves are not read."""
        columns = [*_PAIR, "value", "scale", "probability", "target", "predicted", "error"]
        done, failed = Done(), _Failed()
        collected: dict[tuple[str, str], _Collected] = {}
        for part in self._parts(columns):
            good = empty(part["error"])
            arrays = {name: numbers(part[name]) for name in columns[3:-1]}
            arrays["index"], arrays["correct"] = numbers(part["index"]), arrays["target"] == arrays["predicted"]
            for pair, rows in _by_pair(part):
                new = rows[good[rows]]
                new = new[done.add(pair, arrays["index"][new])]
                collected.setdefault(pair, _Collected()).add(arrays, new)
                failed.add(pair, part, rows[~good[rows]])
        return {pair: collected.pop(pair).series(failed, pair) for pair in sorted(collected)}

    def curves(self, metrics: Sequence[str]) -> Iterator[tuple[tuple[str, str], pa.Table]]:
        """Yield the curves of metrics by (method, metric), file by file: tables with index, x, upper, lower.

        Rows that failed, or were kept without their curve, are left out.
        """
        done = Done()
        for part in self._parts([*_PAIR, "x", "upper", "lower", "error", "value"]):
            good = empty(part["error"]) & ~empty(part["value"])
            good &= numbers(pc.list_value_length(part["x"])) > 0
            for pair, rows in _by_pair(part):
                mine = rows[good[rows]]
                mine = mine[done.add(pair, numbers(part["index"])[mine])]
                if len(mine) and pair[1] in metrics:
                    yield pair, part.select(["index", "x", "upper", "lower"]).take(as_column(mine))

    def map_seconds(self) -> dict[str, float]:
        """Return how long a map of each method took, the median over samples, where it was made at all."""
        taken: dict[str, dict[int, float]] = {}
        for part in self._parts([*_PAIR, "map_seconds"]):
            for row in (
                part.filter(pc.is_valid(part["map_seconds"])).select(["index", "method", "map_seconds"]).to_pylist()
            ):
                taken.setdefault(row["method"], {})[row["index"]] = row["map_seconds"]
        return {method: float(np.median(list(seconds.values()))) for method, seconds in taken.items()}

    def first(self) -> dict[str, Any] | None:
        """Return index, sample and photo of some row that is no failure, to compare with the data at hand."""
        for part in self._parts([*_PAIR, "sample", "photo", "error"]):
            good = np.flatnonzero(empty(part["error"]))
            if len(good):
                return dict(part.select(["index", "sample", "photo", "error"]).slice(int(good[0]), 1).to_pylist()[0])
        return None

    def _parts(self, columns: list[str]) -> Iterator[pa.Table]:
        for path in sorted(self.folder.glob("[!.]*.parquet")):
            yield from read_rows(path, columns, self.samples)


class _Collected:
    """The rows that count of one (method, metric): columns that double when they are full, so nothing is joined at the end."""

    types: Mapping[str, Any] = {
        "index": np.int32,
        "value": float,
        "scale": float,
        "probability": np.float32,
        "correct": bool,
    }

    def __init__(self) -> None:
        self._columns = {name: np.empty(0, kind) for name, kind in self.types.items()}
        self._count = 0

    def add(self, arrays: Mapping[str, npt.NDArray[Any]], rows: npt.NDArray[np.int64]) -> None:
        start, end = self._count, self._count + len(rows)
        for name, column in self._columns.items():
            if end > len(column):
                self._columns[name] = np.resize(column, max(end, 2 * len(column)))
            self._columns[name][start:end] = arrays[name][rows]
        self._count = end

    def series(self, failed: "_Failed", pair: tuple[str, str]) -> Series:
        order = np.argsort(self._columns["index"][: self._count], kind="stable")
        columns = {name: column[: self._count][order] for name, column in self._columns.items()}
        columns["index"] = index = columns["index"].astype(np.int64)
        columns["probability"] = columns["probability"].astype(float)
        return Series(**columns, failures=failed.without(pair, index))


class _Failed:
    """Reasons why samples failed; the last one counts."""

    def __init__(self) -> None:
        self._reasons: dict[tuple[str, str], dict[int, str]] = {}

    def add(self, pair: tuple[str, str], part: pa.Table, rows: npt.NDArray[np.int64]) -> None:
        if len(rows):
            chosen = as_column(rows)
            texts = (sys.intern(text) for text in part["error"].take(chosen).to_pylist())  # many fail alike
            indices = part["index"].take(chosen).to_pylist()
            self._reasons.setdefault(pair, {}).update(zip(indices, texts, strict=True))

    def without(self, pair: tuple[str, str], succeeded: npt.NDArray[np.int64]) -> dict[int, str]:
        """Return the reasons of a (method, metric), but for samples that have a value all the same (sorted)."""
        reasons = self._reasons.pop(pair, {})
        left = np.setdiff1d(np.fromiter(reasons, np.int64, len(reasons)), succeeded, assume_unique=True)
        return {index: reasons[index] for index in np.sort(left).tolist()}


def _by_pair(part: pa.Table) -> Iterator[tuple[tuple[str, str], npt.NDArray[np.int64]]]:
    """Yield the rows of each (method, metric) in a table."""
    methods, metrics = (part[name].combine_chunks().dictionary_encode() for name in ("method", "metric"))
    codes = numbers(methods.indices) * max(len(metrics.dictionary), 1) + numbers(metrics.indices)
    order = np.argsort(codes, kind="stable")
    changes = np.flatnonzero(np.diff(codes[order])) + 1
    for rows in np.split(order, changes) if len(order) else ():
        one = int(rows[0])
        yield (part["method"][one].as_py(), part["metric"][one].as_py()), rows
