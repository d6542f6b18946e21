"""Columns of Arrow as NumPy sees them: gaps, slices, pieces and flags, as Arrow itself converts them."""

import numpy as np
import pyarrow as pa
import pytest

from bitlens.system.columns import as_column, empty, numbers

COLUMNS = {
    "whole": pa.array([3, -5, 7], pa.int32()),
    "real": pa.array([0.5, -1.5], pa.float32()),
    "sliced": pa.array([1.0, 2.0, 3.0, 4.0])[1:3],
    "pieces": pa.chunked_array([[1.0], [], [2.0, 3.0]]),
    "none": pa.chunked_array([], pa.float64()),
    "flags": pa.array([True, False, True])[1:],
}


@pytest.mark.parametrize("name", COLUMNS)
def test_what_is_full_is_as_arrow_gives_it(name):
    column = COLUMNS[name]
    found = numbers(column)
    assert found.tolist() == [float(value) for value in column.to_pylist()]
    assert found.dtype == (np.int64 if name == "whole" else np.float64)
    assert not empty(column).any()


def test_gaps_are_minus_one_or_nan_and_told():
    whole, real = pa.chunked_array([[None, 2], [3]], pa.int8()), pa.array([9.0, None, 1.0])[1:]
    assert numbers(whole).tolist() == [-1, 2, 3]
    np.testing.assert_equal(numbers(real), [np.nan, 1.0])
    assert (empty(whole).tolist(), empty(real).tolist()) == ([True, False, False], [True, False])


def test_positions_take_rows():
    rows = np.array([4, 1, 3, 1])[1:]
    assert pa.array(list("abcde")).take(as_column(rows)).to_pylist() == ["b", "d", "b"]
