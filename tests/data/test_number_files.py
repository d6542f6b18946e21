"""Signals, volumes and tables from files: the numbers that were written, or one sentence that says what is wrong."""

import csv
import gzip
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from torch import nn

from bitlens.bottlenecks.per_sample import IBA
from bitlens.data import arrow_tables, signal_files, volume_files
from bitlens.data.datasets import open_dataset
from bitlens.data.inputs import find_inputs, form_of, read_input
from bitlens.data.labels import Labels
from bitlens.data.number_files import read_numbers, rows_of
from bitlens.data.numbers import Numbers
from bitlens.data.preprocessing import Preprocessing, as_tensor
from bitlens.errors import DataError, StatisticsError

SIGNAL = np.random.default_rng(0).normal(size=(2, 50)).astype(np.float32)
VOLUME = np.random.default_rng(1).normal(size=(4, 5, 6)).astype(np.float32)


def table(path: Path, names: list[str], rows: list[list[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    return path


def sound(path: Path, values: npt.NDArray[np.float32], width: int, rate: int = 100) -> Path:
    levels = np.round(values.T * (2 ** (8 * width - 1) - 1)).astype(np.int64)
    if width == 1:
        levels = levels + 128
    little = levels[..., None] >> (8 * np.arange(width)) & 255
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(values))
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(little.astype(np.uint8).tobytes())
    return path


def test_signals_of_arrays_and_tables(tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", SIGNAL)
    np.save(tmp_path / "one.npy", SIGNAL[0].astype(np.float64))
    assert np.array_equal(read_numbers(tmp_path / "two.npy", "signal").values, SIGNAL)
    one = read_numbers(tmp_path / "one.npy", "signal", rate=250)
    assert (one.values.shape, one.rate) == ((1, 50), 250)
    rows = [[i / 200, *column] for i, column in enumerate(SIGNAL.T.tolist())]
    found = read_numbers(table(tmp_path / "t.csv", ["Time", "left", "right"], rows), "signal")
    np.testing.assert_allclose(found.values, SIGNAL, rtol=1e-6)
    assert found.names == ("left", "right")
    assert found.rate == pytest.approx(200)
    assert read_numbers(tmp_path / "t.csv", "signal", rate=200).rate == 200
    with pytest.raises(DataError, match="200 samples per second, not 100"):
        read_numbers(tmp_path / "t.csv", "signal", rate=100)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_sounds_of_every_depth(tmp_path: Path, width: int) -> None:
    values = np.clip(SIGNAL / 4, -0.9, 0.9)
    found = read_numbers(sound(tmp_path / "s.wav", values, width), "signal")
    assert found.rate == 100
    np.testing.assert_allclose(found.values, values, atol=1.1 / 2 ** (8 * width - 1) + 1e-6)


def test_sounds_that_python_does_not_read_itself(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    for name, more in (("s.flac", {}), ("f.wav", {"subtype": "FLOAT"})):
        soundfile.write(tmp_path / name, np.clip(SIGNAL.T / 4, -0.9, 0.9), 100, **more)
        found = read_numbers(tmp_path / name, "signal")
        assert (found.values.shape, found.rate) == ((2, 50), 100)
        np.testing.assert_allclose(found.values, np.clip(SIGNAL / 4, -0.9, 0.9), atol=1e-4)
    (tmp_path / "bad.flac").write_bytes(b"fLaC" + bytes(60))
    with pytest.raises(DataError, match=r"bad\.flac is damaged"):
        read_numbers(tmp_path / "bad.flac", "signal")


def test_volumes_with_their_spacing(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VOLUME)
    np.savez(tmp_path / "v.npz", anything=VOLUME, spacing=[3.0, 1.0, 1.0])
    plain, spaced = read_numbers(tmp_path / "v.npy", "volume"), read_numbers(tmp_path / "v.npz", "volume")
    assert np.array_equal(plain.values, VOLUME[None])
    assert np.array_equal(spaced.values, VOLUME[None])
    assert (plain.spacing, spaced.spacing) == (None, (3.0, 1.0, 1.0))
    np.savez(tmp_path / "two.npz", a=VOLUME, b=VOLUME)
    with pytest.raises(DataError, match=r"holds 2 arrays \(a, b\), expected one"):
        read_numbers(tmp_path / "two.npz", "volume")
    np.savez(tmp_path / "s.npz", a=VOLUME, spacing=[1.0, 0.0, 1.0])
    with pytest.raises(DataError, match="three lengths above 0"):
        read_numbers(tmp_path / "s.npz", "volume")


def test_nifti(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(VOLUME, np.diag([2.0, 1.0, 1.5, 1.0])), tmp_path / "v.nii.gz")
    found = read_numbers(tmp_path / "v.nii.gz", "volume")
    np.testing.assert_allclose(found.values[0], VOLUME, rtol=1e-6)
    assert found.spacing == (2.0, 1.0, 1.5)
    channels = np.stack([VOLUME, -VOLUME], axis=-1)
    nibabel.save(nibabel.Nifti1Image(channels, np.eye(4)), tmp_path / "c.nii")
    np.testing.assert_allclose(
        read_numbers(tmp_path / "c.nii", "volume").values, np.stack([VOLUME, -VOLUME]), rtol=1e-6
    )
    whole = (tmp_path / "v.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "other.nii.gz").write_bytes(gzip.compress(b"no volume"))
    for name in ("cut.nii.gz", "other.nii.gz"):
        with pytest.raises(DataError, match="is damaged or does not hold a volume"):
            read_numbers(tmp_path / name, "volume")


def test_rows_of_tables(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", ["b", "a", "c"], [[1, 2, True], [3, 4.5, False]])
    parquet.write_table(pa.table({"b": [1, 3], "a": [2.0, 4.5], "c": [True, False]}), tmp_path / "t.parquet")
    assert [path.name for path in rows_of(file)] == ["t.csv#0", "t.csv#1"]
    assert rows_of(tmp_path / "t.csv#1") == [tmp_path / "t.csv#1"]
    for place in (tmp_path / "t.parquet#1",):
        row = read_numbers(place, "table")
        assert (row.values.tolist(), row.names) == ([3, 4.5, 0], ("b", "a", "c"))
        chosen = read_numbers(place, "table", names=["a", "b"])
        assert (chosen.values.tolist(), chosen.names) == ([4.5, 3], ("a", "b"))
    with pytest.raises(DataError, match="rows 0 to 1: name one of them"):
        read_numbers(tmp_path / "t.parquet#2", "table")
    with pytest.raises(DataError, match="column 'z' is missing: found b, a, c"):
        read_numbers(tmp_path / "t.parquet#0", "table", names=["z"])
    with pytest.raises(DataError, match="column 'c' holds"):
        read_numbers(table(tmp_path / "x.csv", ["a", "c"], [[1, "red"]]).with_name("x.csv#0"), "table")
    file.write_text("b,a,c\n9,9,9\n", "utf-8")  # another table under the same name is read anew
    assert read_numbers(tmp_path / "t.csv#0", "table").values.tolist() == [9, 9, 9]


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("a.npy", np.zeros((50, 2)), "50 channels of 2 samples: save it transposed"),
        ("a.npy", np.array([[1.0, np.inf]]), "1 values that are NaN or infinite"),
        ("a.npy", np.array(["x"]), "expected real numbers"),
        ("a.npy", np.zeros((0, 4)), "expected 1 to"),
        ("a.npy", np.array([[1e300, 0.0]]), "too large for float32"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_signals_that_are_none(tmp_path: Path, name: str, values: npt.NDArray[np.float64], told: str) -> None:
    np.save(tmp_path / name, values)
    with pytest.raises(DataError, match=told):
        read_numbers(tmp_path / name, "signal")


def test_nothing_that_is_read_can_run_code_or_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="expected real numbers"):
        read_numbers(tmp_path / "o.npy", "signal")
    np.savez(tmp_path / "o.npz", a=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="expected real numbers"):
        read_numbers(tmp_path / "o.npz", "volume")
    np.save(tmp_path / "big.npy", np.zeros((2, 60), np.float32))
    for reader in (signal_files, volume_files, arrow_tables):
        monkeypatch.setattr(reader, "MOST", 100)
    with pytest.raises(DataError, match="expected 1 to 100 numbers"):
        read_numbers(tmp_path / "big.npy", "signal")
    with pytest.raises(DataError, match="more than are read"):
        read_numbers(sound(tmp_path / "s.wav", np.zeros((2, 60), np.float32), 2), "signal")
    monkeypatch.setattr(arrow_tables, "MOST_TEXT", 10)
    with pytest.raises(DataError, match="write it as Parquet"):
        read_numbers(table(tmp_path / "t.csv", ["a"], [[1]] * 9), "signal")


def test_times_must_be_even_and_files_of_the_right_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not evenly spaced"):
        read_numbers(table(tmp_path / "t.csv", ["t", "a"], [[0, 1], [1, 1], [5, 1]]), "signal")
    with pytest.raises(DataError, match="is no volume: expected a file that ends in"):
        read_numbers(tmp_path / "t.csv", "volume")
    with pytest.raises(DataError, match="there is no file"):
        read_numbers(tmp_path / "gone.npy", "signal")


def test_whose_rows_cannot_be_listed_is_named(tmp_path: Path) -> None:
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 PAR1")
    with pytest.raises(DataError, match=r"cut.parquet is damaged or does not hold a table of numbers .* save it anew"):
        rows_of(tmp_path / "cut.parquet")
    with pytest.raises(DataError, match=r"t.csv is damaged .*the column 'speed' is missing: found a"):
        rows_of(table(tmp_path / "t.csv", ["a"], [[1]]), ("speed",))


def test_inputs_are_found_by_name_and_pattern(tmp_path: Path) -> None:
    for name in ("b10.npy", "b2.npy"):
        np.save(tmp_path / name, SIGNAL)
    np.save(tmp_path / "v.npy", VOLUME)
    for pattern in ("b*.npy", "b*"):
        assert [path.name for path in find_inputs([str(tmp_path / pattern)])] == ["b2.npy", "b10.npy"]
    assert [form_of(tmp_path / name) for name in ("b2.npy", "v.npy")] == ["signal", "volume"]
    content = read_input(tmp_path / "v.npy")
    assert isinstance(content, Numbers)
    assert content.form == "volume"
    with pytest.raises(DataError, match="does not exist: expected files that end in"):
        find_inputs([str(tmp_path / "gone.wav")])
    with pytest.raises(DataError, match="explain them apart"):
        find_inputs([str(tmp_path / "v.npy"), "cat.jpg"])


def test_a_table_may_list_signals_with_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", SIGNAL)
    (sample,) = open_dataset(f"csv:{table(tmp_path / 'list.csv', ['file', 'label'], [['a.npy', 1]])}")
    content = sample.read()
    assert isinstance(content, Numbers)
    assert (content.form, sample.label) == ("signal", 1)


def test_a_table_is_a_data_set_whose_features_are_found_by_name(tmp_path: Path) -> None:
    table(tmp_path / "t.csv", ["b", "kind", "a"], [[1, "red", 2], [3, "blue", 4]])
    rows = open_dataset(f"table:{tmp_path / 't.csv'}?label=kind", Labels(["blue", "red"]))
    assert [row.label for row in rows] == [1, 0]
    reader = Preprocessing(as_tensor, form="table", names=("a", "b"))
    assert reader(rows[1].read()).tolist() == [4, 3]
    with pytest.raises(DataError, match="the feature 'z', which the network reads, is missing: found b, a"):
        Preprocessing(as_tensor, form="table", names=("z",))(rows[0].read())
    with pytest.raises(DataError, match="column 'nothing' is missing: found b, kind, a"):
        open_dataset(f"table:{tmp_path / 't.csv'}?label=nothing")


def test_a_row_without_statistics_is_refused() -> None:
    network = nn.Sequential(nn.Identity(), nn.Linear(4, 2)).eval()
    with pytest.raises(StatisticsError, match="none tells what noise looks like at another"):
        IBA(network, "0").explain(torch.rand(2, 4), 0)
