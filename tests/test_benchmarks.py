"""What benchmarks say of a machine: their table, and that a ratio which fell is noticed."""

import importlib.util
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from bitlens.core.guarantee import Guarantee
from bitlens.errors import DataError
from bitlens.evaluation.pinned import pin_settings
from bitlens.evaluation.rows import Row, RowWriter
from bitlens.evaluation.store import RowStore
from covered import coverage_table
from pack import pack
from paired import paired_table

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def ranges(monkeypatch, tmp_path):
    found = _of("ranges")
    monkeypatch.setattr(found, "STORED", tmp_path / "ranges.json")
    return found


def _of(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("ratio", "worse"), [(8.9, True), (9.1, False), (10.5, False), (30.0, False)])
def test_a_ratio_that_fell_by_more_than_a_tenth_is_told(ranges, ratio, worse):
    found = ranges.fallen({"resnet50": {"fast": ratio, "new": 1.0}}, {"resnet50": {"fast": [10.0, 11.0]}})
    assert found == ([f"resnet50, fast: {ratio:.1f}, stored from 10.0 on"] if worse else [])


def test_nothing_to_compare_with_is_no_success(ranges):
    with pytest.raises(SystemExit, match="no range is stored for a machine with"):
        ranges.fallen({"resnet50": {"fast": 8.0}}, {"vgg16": {"fast": [10.0, 11.0]}})


def test_ranges_grow_and_those_of_other_machines_stay(ranges):
    ranges.STORED.write_text(json.dumps({"another processor": {"vgg16": {"fast": [1.0, 2.0]}}}))
    for ratio in (10.0, 12.0, 11.0):
        ranges.store(ranges.widened({"resnet50": {"fast": ratio}}, ranges.load()))
    assert ranges.load() == {"resnet50": {"fast": [10.0, 12.0]}}
    assert set(json.loads(ranges.STORED.read_text())) == {"another processor", ranges.units()}


def test_the_table_says_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    pytest.importorskip("captum")
    speed = _of("speed")
    found = {
        "official": {"seconds": 30.0}, "fast x8": {"seconds": 0.5, "floor": 0.4}, "captum-ig-50": {"seconds": 5.0},
        "captum-grad-cam": {"seconds": 0.1},
    }  # fmt: skip
    assert speed.ratios_of(found) == {"fast x8": 60.0}
    text = speed.report({"resnet50": found})
    assert [line.split() for line in text.splitlines()[:3]] == [
        ["resnet50", "cheaper", "/", "floor"], ["official", "30.00", "s"], ["fast", "x8", "0.50", "s", "60.0", "x", "1.25"],
    ]  # fmt: skip
    assert "10.0 times cheaper than captum-ig-50, 5.0 times as dear as captum-grad-cam" in text
    for name in ("speed", "ranges", "official"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_the_script_for_gpus_runs_to_its_end(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(FOLDER))
    out = tmp_path / "tiny.json"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--tiny", "--out", str(out)])
    gpu = _of("gpu")
    monkeypatch.setattr(gpu, "_LEAST", 1)
    monkeypatch.setattr(gpu, "_MOST", 1)
    gpu.main()
    found = json.loads(out.read_text())["tiny"]
    assert {"floor", "official", "paper", "paper-auto", "fast", "keep", "keep-fast", "degradation"} <= set(found)
    assert all(set(found[name]) == {"1", "2"} for name in ("floor", "paper", "keep"))
    assert found["compared"]["float32: correlation with the CPU's map"] > 0.9999
    assert found["compared"]["float32: largest difference of two runs"] == 0
    assert "keep-fast" in capsys.readouterr().out
    sys.modules.pop("official", None)


def test_photos_get_the_masks_that_are_called_like_them(tmp_path):
    regions = _of("regions")
    (tmp_path / "known.csv").write_text("file,label\nphotos/7.jpg,15\n", "utf-8")
    regions.write_photos(tmp_path / "known.csv", tmp_path / "photos.csv")
    rows = (tmp_path / "photos.csv").read_text("utf-8").splitlines()
    assert rows[1:] == [f"{tmp_path / 'photos' / '7.jpg'},15,{tmp_path / 'masks' / '7.png'}"]


def test_what_a_benchmark_found_is_kept_packed_and_told_by_halves(tmp_path):
    stored, values = _of("stored").Stored(tmp_path), {"worse": (0.1, 0.4, 0.1, 0.5), "best": (0.9, 0.5, 0.7, 0.7)}
    for method, found in values.items():
        stored.add_all(method, {"rank-auc": torch.tensor(found), "bits": 1000 * torch.arange(4.0)})
    pack(tmp_path, tmp_path / "packed")
    assert "sample" not in pq.read_schema(tmp_path / "packed" / "rows" / "rows.parquet").names
    assert paired_table(tmp_path / "packed").splitlines() == [
        "| method | samples | rank-auc | bits |",
        "|---|---|---|---|",
        "| `worse` | 4 | 0.275 ± 0.103 | 1,500 ± 645 |",
        "| `best` | 4 | 0.700 ± 0.082 | 1,500 ± 645 |",
    ]
    told = paired_table(
        tmp_path / "packed", half="odd", order="best", reference="best", metrics="rank-auc"
    ).splitlines()
    assert told[0] == "| method | samples | rank-auc | difference |"
    assert told[2:] == ["| `best` | 2 | 0.600 ± 0.100 |  |", "| `worse` | 2 | 0.450 ± 0.050 | +0.150 ± 0.050 |"]


def test_a_benchmark_goes_on_and_tells_ratios_of_means(tmp_path):
    stored = _of("stored").Stored(tmp_path)
    stored.add("iba", 0, {"degradation": 0.4, "other": float("nan")}, 0.5)
    stored.add("iba", 1, {"degradation": 0.3, "other": 0.1}, 0.5)
    again = _of("stored").Stored(tmp_path)
    assert again.has("iba", 1)
    assert not again.has("iba", 2)
    assert paired_table(tmp_path, metrics="degradation").splitlines()[2] == "| `iba` | 2 | 0.700 ± 0.100 |"


def test_packed_settings_name_no_place_on_this_machine(tmp_path):
    _of("stored").Stored(tmp_path).add("iba", 0, {"bbox": 0.5})
    (tmp_path / "settings.json").write_text(
        '{"data": "folder:/home/me/my photos/more (2 photos)", "model": "/a/b", "w": "x/y"}'
    )
    pack(tmp_path, tmp_path / "packed")
    kept = (tmp_path / "packed" / "settings.json").read_text("utf-8")
    assert json.loads(kept) == {"data": "folder:more (2 photos)", "model": "b", "w": "x/y"}


def test_curves_are_packed_where_a_figure_shows_them(tmp_path):
    curve = {"x": [0.0, 1.0], "upper": [0.123456, 1.0], "lower": [0.0, 1.0]}
    with RowWriter(tmp_path / "rows") as writer:
        for metric in ("degradation-8", "deletion"):
            writer.add([Row(0, "a.png", "0" * 16, "iba", metric, value=0.5, **curve)])
    pack(tmp_path, tmp_path / "packed", ["deletion"])
    ((pair, found),) = RowStore(tmp_path / "packed" / "rows").curves(["degradation-8", "deletion"])
    assert pair == ("iba", "deletion")
    assert found["upper"].to_pylist()[0] == pytest.approx([0.1235, 1.0])


def test_rows_of_another_machine_join_those_that_are_packed(tmp_path):
    """Their statistics differ by rounding; anything else that differs, and a row that is there, is refused."""
    rounded = {"statistics_fingerprint": "a", "steps": 7}
    _run(tmp_path / "one", "bbox", {"iba": rounded})
    _run(tmp_path / "two", "ehr", {"iba": {**rounded, "statistics_fingerprint": "b"}, "random": {}})
    _run(tmp_path / "three", "ehr", {"iba": {**rounded, "steps": 8}})
    pack(tmp_path / "one", tmp_path / "packed")
    for name, word in (("one", "2 rows are there already"), ("three", "made with other settings .methods.")):
        with pytest.raises(DataError, match=word):
            pack(tmp_path / name, tmp_path / "packed", add=True)
    pack(tmp_path / "two", tmp_path / "packed", add=True)
    settings = json.loads((tmp_path / "packed" / "settings.json").read_text("utf-8"))
    assert (list(settings["methods"]), list(settings["metrics"])) == (["iba", "random"], ["bbox", "ehr"])
    assert {label: len(one.index) for label, one in RowStore(tmp_path / "packed" / "rows").series().items()} == {
        ("iba", "bbox"): 2,
        ("iba", "ehr"): 2,
    }


def _run(folder, metric, methods):
    with RowWriter(folder / "rows") as writer:
        writer.add([Row(number, "a.png", "0" * 16, "iba", metric, value=0.5) for number in range(2)])
    pin_settings(folder, {"model": "net", "data": "photos", "seed": 0, "methods": methods, "metrics": {metric: {}}})


def test_photos_that_need_different_bits_are_covered_as_exchangeability_says(tmp_path):
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    budgets = torch.linspace(1000.0, 4900.0, 40, dtype=torch.float64)
    Guarantee("iba", {}, budgets, order, 4, "predicted").save(tmp_path / "net.safetensors")
    table = [line.split(" | ") for line in coverage_table([tmp_path / "net.safetensors"]).splitlines()]
    found = {line[1]: line[2:] for line in table[2:]}
    for level, place in (("90%", 19), ("95%", 20)):  # of 20, ⌈21 · level⌉
        coverage, _, spread = found[level][0].partition(" ± ")
        assert found[level][1] == f"{place / 21:.3f}"
        assert float(coverage) == pytest.approx(place / 21, abs=3 * float(spread) / 2000**0.5 + 5e-4)
    assert "half of them, 20, are too few" in found["99%"][0]
