"""The command line as a person uses it, on a small network of their own."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitlens.core.attribution import Attribution
from bitlens.core.statistics import FeatureStatistics
from bitlens.explaining import pictures

NETWORK = """
import torch
from torch import nn
from torchvision.transforms import v2

def build():
    torch.manual_seed(0)
    layers = []
    for i, o in ((3, 8), (8, 12), (12, 16)):
        layers += [nn.Conv2d(i, o, 3, 2, 1), nn.ReLU(inplace=True)]
    head = [nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)]
    model = nn.Sequential(nn.Sequential(*layers), *head)
    steps = [v2.Resize(96), v2.CenterCrop(96), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    prepare = v2.Compose([*steps, v2.Normalize([0.5] * 3, [0.5] * 3)])
    return model.eval(), prepare
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a network, class names and photos in two folders."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "net.py").write_text(NETWORK)
    (folder / "names.txt").write_text("ant\nbee\ncat, house cat\ndog\nelk\n")
    rng = np.random.default_rng(0)
    for name, count in (("photos", 3), ("others", 12)):
        (folder / name).mkdir()
        for i in range(count):
            smooth = Image.fromarray(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8)).resize(
                (160, 120), Image.Resampling.BICUBIC
            )
            smooth.save(folder / name / f"photo {i}.jpg")
    return folder


def model(place):
    return ["--model", f"{place / 'net.py'}:build"]


def test_explain_writes_picture_map_attribution_and_summary_and_goes_on_where_it_was(bitlens, place, tmp_path):
    command = [
        "explain",
        place / "photos",
        *model(place),
        "--statistics-from",
        place / "others",
        "--classes",
        place / "names.txt",
        "--beta",
        10,
    ]
    done = bitlens(*command, "--out", "result", "--json")
    rows = json.loads(done.stdout)
    assert len(rows) == 3
    assert {row["unit"] for row in rows} == {"bits/pixel"}
    assert all(0 <= row["probability_before"] <= 1 and row["total_bits"] > 0 for row in rows)
    for row in rows:
        stem = tmp_path / "result" / row["files"]
        assert Image.open(stem.with_suffix(".png")).width > 500
        raw = np.load(stem.with_suffix(".npy"), allow_pickle=False)
        assert raw.shape == (96, 96)
        assert raw.dtype == np.float32
        assert raw.sum() == pytest.approx(row["total_bits"], rel=1e-4)
        kept = Attribution.load(stem.with_suffix(".safetensors"))
        assert np.array_equal(kept.map[0].numpy(), raw)
        assert kept.settings["beta"] == 10
    summary = json.loads((tmp_path / "result" / "summary.json").read_text())
    assert summary["photos"] == rows
    assert summary["settings"]["seed"] == 0
    assert (tmp_path / "result" / "sheet.png").is_file()
    assert list((tmp_path / "cache" / "statistics").iterdir())

    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "result").glob("*.safetensors")}
    again = bitlens(*command, "--out", "result")
    assert "3 of 3 were there already" in again.stdout
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "result").glob("*.safetensors")}
    other = bitlens(*command, "--out", "result", "--beta", "100", "--json")
    assert all(b["total_bits"] < a["total_bits"] for a, b in zip(rows, json.loads(other.stdout), strict=True))


def test_maps_of_nothing_are_dark_on_any_scale(bitlens, place, tmp_path, monkeypatch):
    ends = []
    draw = pictures.draw_explanation
    monkeypatch.setattr(
        pictures, "draw_explanation", lambda *a, scale, **k: ends.append(scale.top) or draw(*a, scale=scale, **k)
    )
    command = [
        "explain",
        place / "photos",
        *model(place),
        "--statistics-from",
        place / "others",
        "--beta",  # this network says much the same without seeing anything: maps of that are dark, where nothing is measured
        "10",
        "--out",
        "r",
        "--json",
    ]
    rows = json.loads(bitlens(*command, "--same-scale").stdout)
    lit = max((row["max"] for row in rows if row["kept"] is not None), default=0)
    assert ends == [pytest.approx(20 * row["max"] if row["kept"] is None else lit) for row in rows]
    assert len(list((tmp_path / "r").glob("photo*.png"))) == 3
    bitlens(*command, "--own-scale")
    assert ends[3:] == [pytest.approx((20 if row["kept"] is None else 1) * row["max"]) for row in rows]


def test_other_statistics_are_not_taken_for_the_same(bitlens, place, tmp_path):
    """Both files say: per channel, 6 inputs, from the same folder."""
    folder, photo = shutil.copytree(place / "others", tmp_path / "others"), place / "photos" / "photo 0.jpg"
    made = []
    for name in ("a", "b"):
        command = ["statistics", *model(place), "--data", folder, "--out", f"{name}.safetensors", "--per", "channel"]
        bitlens(*command, "--count", 6)
        if name == "a":
            pixels = np.asarray(Image.open(folder / "photo 0.jpg"))
            Image.fromarray(255 - pixels).save(folder / "photo 0.jpg")
        command = ["explain", photo, *model(place), "--statistics", f"{name}.safetensors", "--out", "r", "--json"]
        command += ["--beta", "1"]
        made.append(json.loads(bitlens(*command).stdout)[0]["total_bits"])
    assert made[0] != made[1]


def test_a_half_finished_run_is_finished(bitlens, place, tmp_path):
    command = [
        "explain",
        place / "photos",
        *model(place),
        "--statistics-from",
        place / "others",
        "--out",
        "r",
        "--json",
    ]
    first = json.loads(bitlens(*command).stdout)
    damaged = tmp_path / "r" / f"{first[1]['files']}.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert json.loads(bitlens(*command).stdout) == first


def test_a_broken_photo_among_others_is_left_out_and_named(bitlens, place, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    photos = ["broken.jpg", place / "photos" / "photo 0.jpg"]
    done = bitlens("explain", *photos, *model(place), "--statistics-from", place / "others", "--out", "r")
    assert "broken.jpg" in done.stderr
    assert "photo 0.jpg" in done.stdout
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert list(summary["skipped"]) == ["broken.jpg"]
    assert len(summary["photos"]) == 1


def test_statistics_to_a_file_and_back(bitlens, place, tmp_path):
    made = bitlens(
        "statistics", *model(place), "--data", place / "others", "--out", "s.safetensors", "--per", "channel", "--json"
    )
    assert json.loads(made.stdout)["samples"] == 12
    assert FeatureStatistics.load(tmp_path / "s.safetensors").provenance.layer == "2"
    photo = place / "photos" / "photo 0.jpg"
    done = bitlens("explain", photo, *model(place), "--statistics", "s.safetensors", "--target", "house cat", "--classes",
                   place / "names.txt", "--format", "svg", "--out", "r", "--json")  # fmt: skip
    assert json.loads(done.stdout)[0]["target"] == "2"
    assert "cat, house cat" in (tmp_path / "r" / "photo 0.svg").read_text()
    other = bitlens("explain", photo, *model(place), "--statistics", "s.safetensors", "--layer", "1", code=1)
    assert "layer '2', not '1'" in other.stderr


def one_line(done, *parts):
    lines = [line for line in done.stderr.splitlines() if line.startswith("bitlens:")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in lines[0]


def test_every_failure_is_one_line_that_says_what_to_do(bitlens, place, tmp_path, monkeypatch):
    photo, others = place / "photos" / "photo 0.jpg", ["--statistics-from", place / "others"]
    wants = ["--method", "pattern-attribution"]
    one_line(bitlens("explain", photo, *model(place), *wants, code=1), "--statistics-from DIR", "bitlens patterns")
    one_line(bitlens("explain", photo, "--model", "resnet", code=1), "torchvision/NAME")
    one_line(bitlens("explain", photo, *model(place), *others, "--layer", "1.2", code=1), "no layer '1.2'")
    one_line(bitlens("explain", photo, *model(place), *others, "--target", "77", code=1), "class 77 does not exist")
    one_line(bitlens("explain", photo, *model(place), *others, "--target", "cow", code=1), "--classes FILE")
    one_line(bitlens("explain", photo, *model(place), "--method", "magic", code=1), "iba")
    one_line(bitlens("explain", "nothing-here", *model(place), code=1), "nothing-here")
    (tmp_path / "empty").mkdir()
    one_line(bitlens("explain", "empty", *model(place), code=1), "empty")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    one_line(bitlens("explain", "broken.jpg", *model(place), *others, code=1), "broken.jpg")
    one_line(bitlens("explain", photo, *model(place), *others, "--layer", "4", code=1), "height and width")
    one_line(bitlens("explain", photo, *model(place), *others, "--out", "broken.jpg", code=1), "broken.jpg")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    one_line(bitlens("explain", photo, *model(place), "--device", "cuda", code=1), "--device cpu")


def test_wrong_use_exits_with_2(bitlens):
    assert "--model" in bitlens("explain", "a.jpg", code=2).stderr
    bitlens("explain", "a.jpg", "--model", "x", "--quality", "superb", code=2)


def test_lists(bitlens):
    specs = {row["spec"] for row in json.loads(bitlens("models", "--json").stdout)}
    assert {"builtin/scenes", "torchvision/resnet50", "torchvision/vgg16"} <= specs
    assert "builtin/scenes" in bitlens("models").stdout


def test_help_does_not_wait_for_torch():
    code = "import sys, bitlens.cli; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    done = subprocess.run([sys.executable, "-m", "bitlens", "--help"], check=True, capture_output=True, text=True)
    assert "explain" in done.stdout


@pytest.mark.slow
def test_demo(bitlens, tmp_path):
    rows = json.loads(bitlens("demo", "--scenes", "3", "--json").stdout)
    assert [row["method"] for row in rows] == ["iba", "readout"] * 3
    for row in rows:
        assert 0 <= row["top_pixels_on_object"] <= 1
        files = tmp_path / "bitlens-demo" / row["files"]
        assert all(Path(f"{files}{suffix}").is_file() for suffix in (".npy", ".safetensors"))
        assert (tmp_path / "bitlens-demo" / row["scene"].replace(" ", "-")).with_suffix(".png").is_file()
    for method in ("iba", "readout"):
        found = [row["top_pixels_on_object"] / row["object_share"] for row in rows if row["method"] == method]
        assert np.mean(found) > 2, method
    summary = json.loads((tmp_path / "bitlens-demo" / "summary.json").read_text())
    assert set(summary["settings"]["methods"]) == set(summary["settings"]["seconds"]) == {"iba", "readout"}
    table = bitlens("demo", "--scenes", "2").stdout
    assert "top pixels on" in table
    assert re.search(r"the readout is \d+ times cheaper", table)
