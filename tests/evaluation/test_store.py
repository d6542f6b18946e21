"""Rows on disk: what is written, what counts, what a crash leaves."""

import os
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from bitlens.errors import DataError
from bitlens.evaluation.rows import SCHEMA, Row, RowWriter
from bitlens.evaluation.store import RowStore


def row(index=0, method="iba", metric="bounding-box", **values):
    return Row(index, f"photo {index}", "0" * 16, method, metric, **values)


def has(done, index, method, metric):
    return not done.lacks((method, metric), np.array([index]))[0]


def write(folder, *batches):
    for rows in batches:
        with RowWriter(folder) as writer:
            writer.add(rows)


def test_rows_come_back_as_they_were(tmp_path):
    full = row(7, target=3, predicted=4, probability=0.25, value=1 / 3, scale=0.5, x=[0, 0.5], upper=[1, 0.75],
               lower=[0.5, 0.125], seconds=0.5, map_seconds=0.25)  # fmt: skip
    write(tmp_path, [full, row(8, error="InputError: NaN")])
    (path,) = tmp_path.iterdir()
    table = pq.read_table(path)
    assert table.schema.equals(SCHEMA)
    got = table.to_pylist()
    assert Row(**{**got[0], "x": got[0]["x"]}) == full
    assert (got[1]["value"], got[1]["error"], got[1]["x"]) == (None, "InputError: NaN", [])


def test_series_are_sorted_and_know_what_does_not_apply(tmp_path):
    write(tmp_path, [row(5, value=0.5), row(2, value=None)], [row(3, value=0.25, target=1, predicted=1)])
    series = RowStore(tmp_path).series()["iba", "bounding-box"]
    assert series.index.tolist() == [2, 3, 5]
    np.testing.assert_array_equal(series.value, [np.nan, 0.25, 0.5])
    assert series.correct[1]
    assert not series.failures


def test_nothing_counts_twice(tmp_path):
    write(tmp_path, [row(0, value=0.5), row(1, value=0.25)], [row(1, value=0.9), row(2, value=1.0)],
          [row(2, value=0.8), row(2, value=0.7)])  # fmt: skip
    series = RowStore(tmp_path).series()["iba", "bounding-box"]
    assert series.index.tolist() == [0, 1, 2]
    assert series.value.tolist() == [0.5, 0.25, 1.0]


@pytest.mark.parametrize("value_first", [True, False])
def test_a_value_counts_more_than_a_failure(tmp_path, value_first):
    batches = [[row(0, value=0.5)], [row(0, error="first"), row(1, error="first")], [row(1, error="second")]]
    write(tmp_path, *(batches if value_first else batches[1:] + batches[:1]))
    series = RowStore(tmp_path).series()["iba", "bounding-box"]
    assert series.value.tolist() == [0.5]
    assert series.failures == {1: "second"}


def test_a_method_that_always_fails_is_known(tmp_path):
    write(tmp_path, [row(0, error="x"), row(1, error="x")])
    series = RowStore(tmp_path).series()["iba", "bounding-box"]
    assert (len(series.index), len(series.failures)) == (0, 2)


def test_done_tells_failures_apart(tmp_path):
    write(tmp_path, [row(0, value=0.5), row(4, error="x"), row(1, value=None), row(0, metric="other", value=1.0)])
    store = RowStore(tmp_path)
    for failures in (True, False):
        done = store.done(failures=failures)
        assert has(done, 0, "iba", "bounding-box")
        assert has(done, 1, "iba", "bounding-box")
        assert has(done, 4, "iba", "bounding-box") == failures
        assert not has(done, 2, "iba", "bounding-box")
        assert not has(done, 99, "iba", "bounding-box")
        assert not has(done, 1, "iba", "other")
        assert not has(done, 0, "gradient", "bounding-box")


def test_an_empty_or_missing_folder_has_no_rows(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        assert RowStore(folder).series() == {}
        assert RowStore(folder).first() is None
        assert not has(RowStore(folder).done(failures=True), 0, "iba", "bounding-box")


def test_curves_come_by_method_once_each(tmp_path):
    curve = {"x": [0, 1], "upper": [1, 0.5], "lower": [0.5, 0]}
    write(tmp_path, [row(0, value=1, **curve), row(1, error="x")], [row(0, value=1, **curve), row(2, value=1, **curve)],
          [row(0, method="gradient", value=1, **curve), row(3, metric="other", value=1.0)])  # fmt: skip
    found = [(method, index) for (method, _), part in RowStore(tmp_path).curves(["bounding-box"])
             for index in part["index"].to_pylist()]  # fmt: skip
    assert found == [("iba", 0), ("iba", 2), ("gradient", 0)]


def test_curves_of_several_metrics_come_together_and_rows_without_one_are_left_out(tmp_path):
    curve = {"x": [0, 1], "upper": [1, 0.5], "lower": [0.5, 0]}
    write(tmp_path, [row(0, value=1, **curve), row(0, metric="other", value=2, **curve), row(1, value=1)],
          [row(1, metric="other", value=2), row(2, metric="third", value=2, **curve)])  # fmt: skip
    found = [(pair, part["index"].to_pylist()) for pair, part in RowStore(tmp_path).curves(["bounding-box", "other"])]
    assert found == [(("iba", "bounding-box"), [0]), (("iba", "other"), [0])]


def test_first_is_no_failure(tmp_path):
    write(tmp_path, [row(0, error="x"), row(1, value=0.5)])
    assert RowStore(tmp_path).first()["index"] == 1


def test_files_are_written_by_rows_and_by_time(tmp_path):
    with RowWriter(tmp_path / "rows", every_rows=4) as writer:
        for index in range(5):
            writer.add([row(index, value=0.0), row(index, "gradient", value=0.0)])
            assert len(list((tmp_path / "rows").glob("*"))) == (index + 1) // 2
    assert len(list((tmp_path / "rows").glob("*"))) == 3
    with RowWriter(tmp_path / "time", every_seconds=0) as writer:
        writer.add([row(0)])
        assert len(list((tmp_path / "time").glob("*"))) == 1


def test_what_was_done_is_written_when_something_else_fails(tmp_path):
    def interrupted():
        with RowWriter(tmp_path) as writer:
            writer.add([row(0, value=0.5)])
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert len(RowStore(tmp_path).series()["iba", "bounding-box"].index) == 1


def test_a_damaged_file_is_named(tmp_path):
    write(tmp_path, [row(0, value=0.5)])
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-50])
    for read in (RowStore(tmp_path).series, lambda: list(RowStore(tmp_path).curves(["x"]))):
        with pytest.raises(DataError, match=rf"{path.name}.*delete it"):
            read()


def test_unfinished_files_of_killed_runs_are_ignored_and_removed_when_old(tmp_path):
    old, young = tmp_path / ".bitlens-old.parquet", tmp_path / ".bitlens-young.parquet"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * 86_400,) * 2)
    write(tmp_path, [row(0, value=0.5)])
    assert len(RowStore(tmp_path).series()) == 1
    assert not old.exists()
    assert young.exists()


FULL = """
import resource, sys
from pathlib import Path
from bitlens.errors import DataError
from bitlens.evaluation.rows import Row, RowWriter
folder = Path(sys.argv[1])
def rows(count):
    return [Row(i, f"photo {i}", "0" * 16, "iba", "m", value=0.5, x=[i * 0.77 + j for j in range(50)]) for i in range(count)]
with RowWriter(folder) as writer:
    writer.add(rows(2))
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
try:
    with RowWriter(folder) as writer:
        writer.add(rows(2000))
except DataError as error:
    print(error)
"""


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, check=True)
    assert "cannot write" in done.stdout
    assert "File too large" in done.stdout
    assert len(list(tmp_path.iterdir())) == 1
    assert len(RowStore(tmp_path).series()["iba", "m"].index) == 2


@pytest.mark.slow
def test_time_and_memory_grow_with_the_number_of_rows(tmp_path):
    times = []
    for name, samples in (("a", 20_000), ("b", 80_000)):
        with RowWriter(tmp_path / name) as writer:
            for index in range(samples):
                writer.add([row(index, method, value=0.5) for method in ("a", "b", "c")])
        start = time.perf_counter()
        assert len(RowStore(tmp_path / name).series()["b", "bounding-box"].index) == samples
        times.append(time.perf_counter() - start)
    assert times[1] < 8 * times[0]
