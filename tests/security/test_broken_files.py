"""Files of every kind that bitlens reads, broken: each is refused in one sentence, and none is taken for what it is not."""

import json
import os
import random
import shutil
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from bitlens.core.attribution import Attribution
from bitlens.core.statistics import FeatureStatistics
from bitlens.data.datasets import open_dataset
from bitlens.data.texts import open_texts
from bitlens.errors import BitlensError, DataError, ModelError, SettingError
from bitlens.evaluation.formats import about, as_markdown, means_grid
from bitlens.evaluation.rows import SCHEMA, Row, RowWriter
from bitlens.evaluation.store import RowStore
from bitlens.evaluation.tables import build_table
from bitlens.models.weight_files import load_weights
from bitlens.reports.written import write_report
from bitlens.system.arrays import read_array, write_arrays
from fuzz import Trial
from fuzz_kinds import KINDS
from fuzz_ways import ARRAYS, break_words

TENSORS = [name for name, kind in KINDS.items() if kind.file.endswith((".safetensors", ".pt"))]
OLD = Path(__file__).parents[1] / "golden" / "0.1"


def tried(name: str, folder: Path, seed: int, count: int) -> dict[str, list[str]]:
    trial, found = Trial(name, folder, seed), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(count):
            outcome, how = trial.once(number)
            found.setdefault(outcome, []).append(f"{number}: {how}")
    return found


@pytest.mark.parametrize("name", KINDS)
def test_broken_files_are_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    found = tried(name, tmp_path, 7, 40)
    assert found.keys() <= {"refused", "taken", "changed"}, found.get("traceback") or found.get("wrong")
    assert len(found["refused"]) > 5


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_many_broken_files(name: str, tmp_path: Path) -> None:
    found = tried(name, tmp_path, 8, 600)
    assert found.keys() <= {"refused", "taken", "changed"}, found.get("traceback") or found.get("wrong")


@pytest.mark.parametrize("count", [12, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("place", ["explained/summary.json", "texts.json", "evaluation/settings.json"])
def test_what_is_made_of_broken_words(place: str, count: int, tmp_path: Path) -> None:
    """Whatever stands in the files beside results: a report and a table are made of them, or refused."""
    source = (OLD / place).parent if "/" in place else OLD / place
    copy = tmp_path / source.name
    shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
    broken = copy / Path(place).name if copy.is_dir() else copy
    good, outcomes = broken.read_bytes(), []
    for number in range(count):
        broken.write_bytes(good)
        break_words(broken, random.Random(number))
        try:
            if "evaluation" in place:
                table = build_table(copy)
                about(table)
                as_markdown(means_grid(table))
                json.dumps(table.plain())
            if "evaluation" not in place or number % 10 == 0:
                write_report([copy], tmp_path / "r.html")
            outcomes.append("made")
        except BitlensError:
            outcomes.append("refused")
    assert {"made", "refused"} <= {*outcomes, "refused" if count < 100 else ""}


@pytest.mark.parametrize("name", TENSORS)
def test_no_array_of_any_file_may_be_of_another_type_shape_or_not_finite(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    path = tmp_path / kind.file
    kind.make(path)
    metadata, arrays = contents(path)
    for part in arrays:
        for how, harm in ARRAYS.items():
            if how == "half" and "weights" in name:
                continue  # of less precision, and the same
            changed = {**arrays, part: harm(arrays[part], random.Random(0)).contiguous()}
            torch.save(changed, path) if path.suffix == ".pt" else save_file(changed, path, metadata=metadata)
            with pytest.raises(BitlensError, match=rf"{kind.file}.*\w"):
                kind.read(path)


def contents(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """The words and arrays of a file, as one of 0.1 would hold them: without a checksum."""
    if path.suffix == ".pt":
        return {}, dict(torch.load(path, weights_only=True))
    with safe_open(path, "pt") as file:
        metadata = {name: value for name, value in (file.metadata() or {}).items() if name != "sha256"}
        return metadata, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize("name", [name for name in TENSORS if KINDS[name].sealed])
def test_no_flipped_bit_of_what_bitlens_wrote_goes_unseen(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    path = tmp_path / kind.file
    kind.make(path)
    whole = path.read_bytes()
    step = max(1, 8 * len(whole) // 150)
    for place in range(0, 8 * len(whole), step):
        broken = bytearray(whole)
        broken[place // 8] ^= 1 << place % 8
        path.write_bytes(broken)
        with pytest.raises(BitlensError):
            kind.read(path)


def test_files_of_0_1_are_read() -> None:
    for path in (*OLD.glob("statistics-*.safetensors"), *OLD.glob("evaluation/learned/*.safetensors")):
        assert FeatureStatistics.load(path).samples == 32
    for path in (OLD / "attribution.safetensors", *OLD.glob("explained/*.safetensors")):
        assert Attribution.load(path).map.shape == (1, 96, 96)
    for folder in ("evaluation", "text-evaluation"):
        assert RowStore(OLD / folder / "rows", 1000).series()


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda a: {**a, "nonzero": a["nonzero"] * torch.nan}, "nonzero holds NaN"),
        (lambda a: {**a, "mean": a["mean"].to(torch.uint8)}, "mean is uint8, expected float64"),
        (lambda a: {**a, "squares": -a["squares"]}, "squares lies between"),
        (lambda a: {**a, "nonzero": -a["nonzero"]}, "nonzero lies between"),
        (lambda a: {**a, "nonzero": a["nonzero"] + 1e9}, "are no counts of"),
        (lambda a: {**a, "nonzero": a["nonzero"] * 0}, "cannot belong to the same values"),
        (lambda a: {**a, "mean": a["mean"][:-1]}, "has the shape"),
        (lambda a: {k: v[None] for k, v in a.items()}, "has the shape"),
    ],
)
def test_statistics_that_make_no_sense(harm, says, tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    KINDS["statistics"].make(path)
    metadata, arrays = contents(path)
    for write in (lambda a: save_file(a, path, metadata=metadata), lambda a: write_arrays(path, a, metadata)):
        write({name: array.contiguous() for name, array in harm(arrays).items()})
        with pytest.raises(DataError, match=rf"(?s){path.name}.*{says}.*make new ones"):
            FeatureStatistics.load(path)


def test_statistics_whose_details_disagree(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    KINDS["statistics"].make(path)
    metadata, arrays = contents(path)
    for name, value in [("samples", 0), ("samples", True), ("observations", 3), ("granularity", "x"), ("layout", "TD2"),
                        ("layout", "PD"), ("extra", 3), ("samples", 10**400), ("granularity", "element")]:  # fmt: skip
        details = {**json.loads(metadata["details"]), name: value}
        if (name, value) == ("extra", 3):
            details["layout"] = "PD"
        save_file(arrays, path, metadata={**metadata, "details": json.dumps(details)})
        if (name, value) == ("layout", "PD"):
            assert FeatureStatistics.load(path).layout.name == "PD"  # per channel of patches: the same numbers
            continue
        with pytest.raises(DataError, match="make new ones"):
            FeatureStatistics.load(path)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda s: {3: s["0.weight"]}, "is called 3"),
        (lambda s: {**s, "0.weight": s["0.weight"].to_sparse()}, "sparse"),
        (lambda s: {**s, "0.weight": torch.quantize_per_tensor(s["0.weight"], 0.1, 0, torch.qint8)}, "quantised"),
        (lambda s: {**s, "0.weight": s["0.weight"].to(torch.complex64)}, "is complex64, the network has float32"),
        (lambda s: {**s, "0.weight": s["0.weight"].long()}, "is int64, the network has float32"),
        (lambda s: {**s, "0.weight": s["0.weight"] / 0}, "holds NaN or infinite"),
        (lambda s: {**s, "1.running_mean": s["1.running_mean"] * torch.nan}, "holds NaN or infinite"),
        (lambda s: {**s, "0.weight": s["0.weight"][:1, :1].expand(10**6, 10**6)}, "instead of"),
        (lambda s: [s], "no state dict"),
    ],
)
def test_weights_that_make_no_sense(harm, says, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(harm(net().state_dict()), tmp_path / "w.pt")
        model = net()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(ModelError, match=says):
            load_weights(model, tmp_path / "w.pt")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def rows_in(folder: Path) -> Path:
    with RowWriter(folder) as writer:
        writer.add([Row(i, f"p{i}", "0" * 16, "iba", "bbox", value=0.5, probability=0.5) for i in range(4)])
    return next(folder.glob("*.parquet"))


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("index", [-1, 1, 2, 3], "the index -1 is none of the 4 samples"),
        ("index", [0, 1, 2, 4], "the index 4 is none of the 4 samples"),
        ("index", [0, 1, 2, 2**31 - 1], "none of the 4 samples"),
        ("index", [0, 1, None, 3], "1 rows have no index"),
        ("method", ["iba", None, "iba", "iba"], "1 rows have no method"),
        ("value", [0.5, float("nan"), 0.5, 0.5], "value holds NaN or infinite"),
        ("probability", [0.5, float("inf"), 0.5, 0.5], "probability holds NaN or infinite"),
        ("error", ["failed", None, None, None], "a row has a value and failed"),
        ("upper", [[1.0], [], [], []], "different lengths"),
    ],
)
def test_rows_that_cannot_be_of_this_data_set(column, values, says, tmp_path: Path) -> None:
    path = rows_in(tmp_path)
    table = pq.read_table(path)
    place = table.column_names.index(column)
    pq.write_table(table.set_column(place, SCHEMA.field(column), pa.array(values, SCHEMA.field(column).type)), path)
    store = RowStore(tmp_path, 4)
    reads = [lambda: store.done(failures=True), store.first] if column in ("index", "method") else []
    reads += [] if column == "upper" else [store.series]
    reads += [] if column == "probability" else [lambda: list(store.curves(["bbox"]))]
    for read in reads:
        with pytest.raises(DataError, match=rf"{path.name} holds no rows of bitlens or is damaged \(.*{says}"):
            read()


@pytest.mark.parametrize(
    "table",
    [{"index": [0, 1]}, {"a": ["b"]}, {name: pa.array(["x"]) for name in SCHEMA.names}, {}],
    ids=["short", "foreign", "of text", "empty"],
)
def test_a_foreign_table_among_the_rows(table, tmp_path: Path) -> None:
    rows_in(tmp_path)
    pq.write_table(pa.table(table), tmp_path / "foreign.parquet")
    store = RowStore(tmp_path, 4)
    for read in (store.series, lambda: store.done(failures=False), lambda: list(store.curves(["bbox"]))):
        with pytest.raises(DataError, match=r"foreign\.parquet holds no rows of bitlens"):
            read()


def test_a_map_that_is_cut_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "m.npy"
    np.save(path, np.ones((3, 4), np.float32))
    whole = path.read_bytes()
    assert read_array(path, "a map").shape == (3, 4)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"m\.npy is damaged or does not hold a map"):
            read_array(path, "a map")


@pytest.mark.parametrize(
    "array",
    [np.ones((3, 4)), np.ones((3, 4), np.int32), np.ones((3, 4), np.complex64), np.array("x"),
     np.full((3, 4), np.nan, np.float32), np.empty((0, 3), np.float32), np.array([{}], object)],
    ids=lambda array: f"{array.dtype} {array.shape}",
)  # fmt: skip
def test_arrays_that_are_no_map(array, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", array)
    with pytest.raises(DataError, match="does not hold a map"):
        read_array(tmp_path / "m.npy", "a map")


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.file.endswith((".json", ".jsonl"))])
@pytest.mark.parametrize(
    "content", ["[" * 200_000, '{"a":' * 200_000, "9" * 5000, '{"text": ' + "9" * 5000 + "}", "NaN", "\ufeff{}", ""]
)
def test_json_that_is_deep_long_or_none(name: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / KINDS[name].file
    path.write_text(content, "utf-8")
    with pytest.raises(DataError, match=path.name):
        KINDS[name].read(path)


LONG = "9" * 5000


def test_labels_of_five_thousand_digits(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text(f"file,label\na.png,{LONG}\n")
    (tmp_path / "t.tsv").write_text(f"good film\t{LONG}\n")
    (tmp_path / "t.jsonl").write_text(json.dumps({"text": "good film", "label": LONG}))
    for read in (
        lambda: open_dataset(f"csv:{tmp_path}/t.csv"),
        lambda: open_texts(f"tsv:{tmp_path}/t.tsv"),
        lambda: open_texts(f"jsonl:{tmp_path}/t.jsonl"),
    ):
        with pytest.raises(DataError, match=r"line \d: the label is '99.*…, expected the index of a class") as refused:
            read()
        assert len(str(refused.value)) < 400


@pytest.mark.parametrize("text", ["half \ud800", "\udcff other half"])
def test_texts_with_half_a_character(text: str, tmp_path: Path) -> None:
    for row in ({"text": text}, {"text": "good", "pair": text}, {"text": "good", "id": text}):
        (tmp_path / "t.jsonl").write_text(json.dumps(row))
        with pytest.raises(DataError, match="line 1: it holds half of a character"):
            open_texts(f"jsonl:{tmp_path}/t.jsonl")


def test_a_photo_whose_name_is_no_text(bitlens, tmp_path: Path) -> None:
    photo = tmp_path / os.fsdecode(b"caf\xe9 \xff.png")
    open_dataset("builtin:scenes")[0].image.save(tmp_path / "plain.png")
    try:
        shutil.move(tmp_path / "plain.png", photo)
    except OSError:
        pytest.skip("this file system takes no such names")
    model = ("--model", "builtin/scenes", "--device", "cpu")
    bitlens("explain", photo, *model, "--method", "gradient", "--out", "r")
    assert bitlens("report", "r", "--out", "r.html").stdout.startswith("r.html: 1 photo")
    assert "\\udcff.png" in (tmp_path / "r.html").read_text("utf-8")
    told = json.loads(bitlens("explain", photo, *model, "--method", "gradient", "--out", "r", "--json").stdout)
    assert told["photos"][0]["photo"] == str(photo) if isinstance(told, dict) else True
    (tmp_path / "photos").mkdir()
    shutil.move(photo, tmp_path / "photos" / photo.name)
    for _ in range(2):
        bitlens("evaluate", *model, "--data", "folder:photos", "--methods", "gradient", "--metrics", "degradation-14:points=3",
                "--out", "e")  # fmt: skip
    (part,) = (tmp_path / "e" / "rows").glob("*.parquet")
    assert pq.read_table(part)["sample"].to_pylist() == ["caf\\udce9 \\udcff.png"]
    assert json.loads(bitlens("table", "e", "--json").stdout)["samples"] == 1


def test_a_report_of_words_that_are_no_text(tmp_path: Path) -> None:
    words = [{"word": "half \ud800", "span": [0, 6], "value": 0.5}]
    row = {"text": "half \ud800", "name": "\udcff", "unit": "bits/word", "words": words}
    (tmp_path / "t.json").write_text(json.dumps([row]))
    assert write_report([tmp_path / "t.json"], tmp_path / "r.html").texts == 1
    assert "half \\ud800" in (tmp_path / "r.html").read_text("utf-8")


def test_settings_of_results_that_are_something_else(tmp_path: Path) -> None:
    for wrong in ([], {"format": "bitlens.evaluation/1", "methods": {}, "metrics": []}, {"format": 3}):
        (tmp_path / "settings.json").write_text(json.dumps(wrong))
        with pytest.raises((DataError, SettingError), match=r"settings\.json is damaged or does not hold"):
            KINDS["settings"].read(tmp_path / "settings.json")
