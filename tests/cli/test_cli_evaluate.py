"""The commands that measure, as a person uses them, on a small network and a tiny ImageNet of their own."""

import csv
import io
import json
import sys
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from bitlens.cli import main
from small_evaluation import make_home


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BITLENS_CACHE", str(tmp_path / "cache"))
    return make_home(tmp_path)


@pytest.fixture
def bitlens(monkeypatch, capsys):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main() sets its own

    def run(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["bitlens", *map(str, arguments)])
        with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:  # noqa: PT012
            warnings.simplefilter("default")
            main()
            sys.exit(0)
        out, err = capsys.readouterr()
        assert (ended.value.code or 0) == code, out + err
        return SimpleNamespace(stdout=out, stderr=err)

    return run


COMMON = ["evaluate", "--model", "net.py:build", "--data", "csv:table.csv", "--layer", "0", "--out", "out"]
QUICK = ["--methods", "random,gradient,iba", "--metrics", "degradation-8:points=5,bbox"]


@pytest.mark.usefixtures("home")
def test_evaluate_prints_a_table_and_goes_on(bitlens):
    done = bitlens(*COMMON, *QUICK, "--limit", 4)
    assert "net.py:build on csv:table.csv: 4 samples" in done.stdout
    for word in ("random", "gradient", "iba", "degradation-8[points=5] ↑", "bbox ↑", "difference from iba"):
        assert word in done.stdout
    again = bitlens(*COMMON, *QUICK)
    assert "4 of 8 samples were there already" in again.stderr
    assert "8 samples" in again.stdout
    rows = json.loads(bitlens(*COMMON, *QUICK, "--json").stdout)["rows"]
    assert len(rows) == 6
    assert all(row["count"] == (8 if row["metric"].startswith("deg") else 6) for row in rows)


@pytest.mark.usefixtures("home")
def test_tables_in_all_formats(bitlens):
    bitlens(*COMMON, *QUICK)
    one, other = (bitlens("table", "out", "--json").stdout for _ in range(2))
    assert one == other == bitlens("table", "out", "--format", "json").stdout
    lines = list(csv.DictReader(io.StringIO(bitlens("table", "out", "--format", "csv").stdout)))
    assert {line["method"] for line in lines} == {"random", "gradient", "iba"}
    markdown = bitlens("table", "out", "--format", "markdown", "--metric", "bbox", "--reference", "random").stdout
    assert "| method | bbox ↑ |" in markdown
    assert "difference from random" in markdown
    assert bitlens("table", "out", "--part", "1/2").stdout != bitlens("table", "out").stdout
    narrow = bitlens("table", "out", "--methods", "iba,random").stdout
    assert "gradient" not in narrow


@pytest.mark.usefixtures("home")
def test_published_numbers_stand_beside_ours(bitlens):
    bitlens(*COMMON, "--methods", "random,iba:beta=10", "--metrics", "bbox")
    text = bitlens("table", "out", "--paper", "iba-table1").stdout
    assert "0.620" in text
    assert "Schulz" in text
    assert "net.py:build on csv:table.csv" in text
    assert "not measured: degradation-8, degradation-14" in " ".join(text.split())
    found = json.loads(bitlens("table", "out", "--paper", "iba-table1", "--json").stdout)
    row = next(row for row in found["rows"] if row["method"] == "IBA, β=10/k")
    assert row["here"][0]["count"] == 6


def test_plots_and_kept_maps_are_drawn(home, bitlens):
    bitlens(*COMMON, *QUICK, "--keep-maps")
    assert Image.open("out/maps-1.png").width > 500
    done = bitlens("table", "out", "--plots", "plots")
    names = sorted(path.name for path in (home / "plots").iterdir())
    assert names == ["curves-degradation-8-points-5.png", "scores.png"]
    assert all(name in done.stderr for name in names)


def test_failures_are_told(home, bitlens):
    (home / "photos" / "5.png").write_bytes(b"no photo")
    done = bitlens(*COMMON, *QUICK)
    assert "(1 failed)" in done.stdout
    assert done.stderr.count("1 of 8 samples failed in bbox, degradation-8[points=5]") == 3  # once for each method
    assert "5.png" in done.stderr


def test_metrics_are_listed(bitlens):
    rows = json.loads(bitlens("metrics", "--json").stdout)
    assert {"degradation-14", "bbox", "ehr", "insertion", "deletion", "sensitivity-n-8"} <= {
        row["name"] for row in rows
    }
    for row in rows:
        assert all(row[key] for key in ("summary", "better", "range", "source", "passes"))
    text = bitlens("metrics").stdout
    assert "higher is better" in text
    assert "lower is better" in text


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "grad-can"], "did you mean grad-cam"),
        (["--metrics", "boxes"], "there is no metric 'boxes'"),
        (["--methods", "iba:beta=much"], "iba:beta=much: expected a number"),
        (["--part", "half"], "expected K/N"),
        (["--part", "3/2"], "part 3/2 does not exist"),
        (["--paper", "table1"], "choose one of iba-table1"),
        (["--data", "csv:missing.csv"], "missing.csv"),
        (["--methods", "iba", "--layer", "9"], "no layer '9'"),
    ],
)
def test_every_failure_is_one_line_that_says_what_to_do(arguments, words, bitlens):
    done = bitlens(*COMMON, *arguments, code=1)
    lines = [line for line in done.stderr.splitlines() if line.startswith("bitlens:")]
    assert len(lines) == 1
    assert words in lines[0]


@pytest.mark.usefixtures("home")
def test_other_settings_and_missing_results_are_refused(bitlens):
    bitlens(*COMMON, "--methods", "random", "--metrics", "bbox", "--limit", 1)
    assert "seed was 0, now 1" in bitlens(*COMMON, "--methods", "random", "--seed", 1, code=1).stderr
    assert "holds no results" in bitlens("table", "nowhere", code=1).stderr
    assert "no results of the metric 'ehr'" in bitlens("table", "out", "--metrics", "ehr", code=1).stderr
    assert "no network was named" in bitlens("evaluate", "--data", "csv:table.csv", code=1).stderr
    bitlens("evaluate", code=2)


def tiny_imagenet(folder, count):
    """Photos, boxes and classes in the official layout."""
    photos, annotations = (folder / "ILSVRC" / kind / "CLS-LOC" / "val" for kind in ("Data", "Annotations"))
    for place in (photos, annotations):
        place.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        name = f"ILSVRC2012_val_{i + 1:08d}"
        small = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        small.resize((280, 260), Image.Resampling.BICUBIC).save(photos / f"{name}.JPEG")
        (annotations / f"{name}.xml").write_text(
            f"<annotation><size><width>280</width><height>260</height></size><object><name>n0000000{i}</name><bndbox>"
            "<xmin>90</xmin><ymin>80</ymin><xmax>190</xmax><ymax>170</ymax></bndbox></object></annotation>"
        )
    (folder / "LOC_synset_mapping.txt").write_text("".join(f"n0000000{i} class {i}\n" for i in range(count)))
    return folder


@pytest.fixture
def random_weights(monkeypatch):
    """torchvision's networks without a download: the paper's layers and preprocessing, other numbers."""
    from bitlens.evaluation import context

    load_model = context.load_model

    def load(spec, weights, device, *, kind):
        return replace(load_model(f"{spec.partition('@')[0]}@random", weights, device, kind=kind), name=spec)

    monkeypatch.setattr(context, "load_model", load)


@pytest.mark.slow
@pytest.mark.usefixtures("random_weights")
def test_a_papers_table_is_one_command(tmp_path, monkeypatch, bitlens):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BITLENS_CACHE", str(tmp_path / "cache"))
    tiny_imagenet(tmp_path / "imagenet", 2)
    command = ["evaluate", "--paper", "iba-table1", "--data", "imagenet:imagenet", "--out", "paper", "--statistics-per",
               "channel", "--methods", "iba:beta=10", "--metrics", "degradation-14:points=3,bbox",
               "--limit", "1"]  # fmt: skip
    done = bitlens(*command)
    for word in ("ResNet-50\npublished", "0.620", "resnet50", "vgg16"):
        assert word.split("\n")[0] in done.stdout
    settings = {
        name: json.loads((tmp_path / "paper" / name / "settings.json").read_text()) for name in ("resnet50", "vgg16")
    }
    assert settings["resnet50"]["methods"]["iba[beta=10]"]["layer"] == "layer2"
    assert settings["vgg16"]["methods"]["iba[beta=10]"]["layer"] == "features.17"
    assert settings["vgg16"]["statistics"]["count"] == 10_000
    found = json.loads(bitlens("table", "paper", "--paper", "iba-table1", "--json").stdout)
    row = next(row for row in found["rows"] if row["method"] == "IBA, β=10/k")
    assert {(entry["network"], entry["metric"]) for entry in row["here"]} == {
        (f"torchvision/{name}@IMAGENET1K_V1", metric)
        for name in ("resnet50", "vgg16")
        for metric in ("degradation-14", "bbox")
    }


@pytest.mark.usefixtures("home")
def test_a_papers_settings_are_those_of_the_paper(monkeypatch, bitlens):
    """Without any measurement: what would be run, on the user's own small network."""
    from bitlens.cli import evaluate

    plans = []
    monkeypatch.setattr(evaluate, "run_plan", lambda plan, folder, *_, **__: plans.append((plan, folder)))
    bitlens("evaluate", "--paper", "iba-table1", "--data", "csv:table.csv", "--out", "paper", code=1)
    assert [folder.name for _, folder in plans] == ["resnet50", "vgg16"]
    plan = plans[0][0]
    assert plan.model == "torchvision/resnet50@IMAGENET1K_V1"
    assert {"random", "grad-cam", "iba[beta=1]", "iba[beta=10]", "iba[beta=100]"} <= set(plan.methods)
    assert "integrated-gradients[baseline=mean-colour,multiply=false]" in plan.methods
    assert list(plan.metrics) == ["degradation-8", "degradation-14", "bbox"]
    assert (plan.statistics_count, plan.statistics_per) == (10_000, "element")
    bitlens("evaluate", "--paper", "inputiba-table3", "--data", "csv:table.csv", "--out", "paper", code=1)
    assert list(plans[-1][0].metrics) == ["insertion[step=10]", "deletion[step=10]"]
    assert "--weights" in bitlens("evaluate", "--paper", "iba-table1", "--data", "d", "--weights", "w", code=1).stderr
