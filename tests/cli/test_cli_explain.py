"""`bitlens explain` with several methods, on the bundled network and its scenes."""

import json

import numpy as np
import pytest
from PIL import Image

from bitlens.baselines.guided import GuidedBackprop
from bitlens.baselines.patterns import Patterns
from bitlens.core.attribution import Attribution
from bitlens.data.datasets import open_dataset
from bitlens.methods import METHODS as EVERY

MODEL = ["--model", "builtin/scenes", "--statistics-count", 20, "--device", "cpu"]
LIGHT = {
    "iba": "steps=2:noise_samples=1",
    "input-iba": "steps=2:noise_samples=1",
    "extremal-perturbation": "iterations=5",
    "rise": "samples=20",
    "lime": "samples=60",
    "kernel-shap": "samples=60",
}
"""Settings for methods whose own ones take long."""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A folder with two scenes."""
    folder = tmp_path_factory.mktemp("scenes")
    for number, sample in enumerate(open_dataset("builtin:scenes")[:2]):
        sample.image.save(folder / f"scene {number}.png")
    return folder


def explain(bitlens, scenes, methods, *others):
    return json.loads(bitlens("explain", scenes, *MODEL, "--method", methods, "--out", "r", "--json", *others).stdout)


def written(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}


@pytest.mark.slow
def test_every_method_is_drawn_beside_the_others_or_named_with_a_reason(bitlens, scenes, tmp_path):
    methods = ",".join(f"{name}:{LIGHT[name]}" if name in LIGHT else name for name in EVERY["image"])
    done = bitlens("explain", scenes / "scene 0.png", *MODEL, "--method", methods, "--out", "r", "--json")
    rows = json.loads(done.stdout)
    refused = json.loads((tmp_path / "r" / "summary.json").read_text())["refused"]
    assert [row["method"].partition("[")[0] for row in rows] == [name for name in EVERY["image"] if name not in refused]
    assert set(refused) == {"attention-rollout", "gradient-attention-rollout"}
    assert all(f"left out: {name} needs a vision transformer" in done.stderr for name in refused)
    for row in rows:
        assert row["unit"] == EVERY["image"][row["method"].partition("[")[0]].unit
        assert row["name"] == rows[0]["name"]
        raw = np.load(tmp_path / "r" / f"{row['files']}.npy", allow_pickle=False)
        kept = Attribution.load(tmp_path / "r" / f"{row['files']}.safetensors")
        assert np.array_equal(kept.map[0].numpy(), raw)
        assert raw.max() == pytest.approx(row["max"])
    assert Image.open(tmp_path / "r" / "scene 0.png").height > 2000


def test_one_picture_for_each_photo_a_sheet_and_a_summary(bitlens, scenes, tmp_path):
    rows = explain(bitlens, scenes, "iba,grad-cam:layer=layer3,iba:beta=100,gradient", "--format", "svg")
    labels = ["iba", "grad-cam[layer=layer3]", "iba[beta=100]", "gradient"]
    assert [row["method"] for row in rows] == labels * 2
    assert [row["files"] for row in rows[:4]] == [
        f"scene 0.{part}" for part in ("iba", "grad-cam-layer=layer3", "iba-beta=100", "gradient")
    ]
    assert [row["layer"] for row in rows[:4]] == ["layer2", "layer3", "layer2", ""]
    assert rows[2]["total_bits"] < rows[0]["total_bits"]
    picture = (tmp_path / "r" / "scene 0.svg").read_text()
    for text in (">grad-cam<", ">layer3<", ">beta=100 · layer2<", ">bits/pixel<", ">score<", rows[0]["name"]):
        assert text in picture
    assert f"iba: p = {rows[0]['probability_before']:.2f}, and " in picture.replace("\N{NO-BREAK SPACE}", " ")
    sheet = (tmp_path / "r" / "sheet.svg").read_text()
    assert f"{rows[6]['total_bits']:,.0f} bits" in sheet
    settings = json.loads((tmp_path / "r" / "summary.json").read_text())["settings"]["methods"]
    assert list(settings) == labels
    assert (settings["iba"]["keep"], settings["iba[beta=100]"]["beta"]) == (0.9, 100)


def test_what_is_there_already_is_not_made_again_with_more_or_fewer_methods(bitlens, scenes, tmp_path):
    def again(methods):
        done = bitlens("explain", scenes / "scene 0.png", *MODEL, "--method", methods, "--out", "r").stdout
        return int(done.partition(" there already")[0].rpartition("(")[2].split()[0]) if "already" in done else 0

    assert again("gradient") == 0
    assert set(written(tmp_path / "r")) == {"scene 0.safetensors"}
    before = written(tmp_path / "r")
    assert again("saliency,gradient") == 1
    assert {name: time for name, time in written(tmp_path / "r").items() if name in before} == before
    assert again("gradient,saliency") == 2
    assert again("saliency") == 1
    kept = [
        Attribution.load(tmp_path / "r" / f"scene 0{ending}.safetensors") for ending in ("", ".gradient", ".saliency")
    ]
    assert [one.method for one in kept] == ["gradient", "gradient", "saliency"]
    rows = json.loads((tmp_path / "r" / "summary.json").read_text())["photos"]
    assert [row["method"] for row in rows] == ["gradient", "saliency"]


@pytest.mark.slow
def test_other_settings_layers_targets_and_photos_are_made_anew(bitlens, scenes, tmp_path):
    def repeated(methods, *others, into="r"):
        out = bitlens("explain", photo, *MODEL, "--method", methods, "--out", into, *others).stdout
        return "1 of 1 were there already" in out

    photo = tmp_path / "photo.png"
    photo.write_bytes((scenes / "scene 0.png").read_bytes())
    assert not repeated("grad-cam")
    assert not repeated("grad-cam:layer=layer2")
    assert not repeated("grad-cam:layer=layer3")
    assert repeated("grad-cam:layer=layer3")
    assert not repeated("grad-cam:layer=layer3", into="other")
    assert not repeated("grad-cam:layer=layer3", "--target", "3", into="other")
    assert not repeated("smoothgrad")
    assert not repeated("smoothgrad", "--seed", 1)
    assert repeated("smoothgrad", "--seed", 1)
    photo.write_bytes((scenes / "scene 1.png").read_bytes())
    assert not repeated("smoothgrad", "--seed", 1)
    rows = json.loads((tmp_path / "r" / "summary.json").read_text())["photos"]
    assert [row["method"] for row in rows] == [
        "smoothgrad"
    ]  # maps of the photo that was there are no longer of this one


def test_a_run_that_was_cut_short_keeps_what_was_done(bitlens, scenes, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    command = ["explain", scenes / "scene 0.png", *MODEL, "--method", "gradient,guided-backprop", "--out", "r"]
    with monkeypatch.context() as patch:
        patch.setattr(GuidedBackprop, "explain", stop)
        bitlens(*command, code=130)
    assert set(written(tmp_path / "r")) == {"scene 0.gradient.safetensors"}
    assert "(1 of 2 were there already)" in bitlens(*command).stdout


def test_options_are_for_methods_without_a_setting_of_their_own(bitlens, scenes, tmp_path):
    photo = scenes / "scene 0.png"
    options = ["--beta", 5, "--layer", "layer1", "--quality", "fast"]
    explain(bitlens, photo, "iba,iba:beta=2:quality=paper,iba:layer=layer2,grad-cam", *options)
    methods = json.loads((tmp_path / "r" / "summary.json").read_text())["settings"]["methods"]
    fast, paper, deeper, cam = methods.values()
    assert [made["beta"] for made in (fast, paper, deeper)] == [5, 2, 5]
    assert [made["layer"] for made in (fast, paper, deeper)] == ["layer1", "layer1", "layer2"]
    assert fast["noise_samples"] == deeper["noise_samples"] < paper["noise_samples"]
    assert "layer" not in cam


@pytest.mark.parametrize("option", [("--layer", "layer3"), ("--beta", 3), ("--patterns", "file")])
def test_an_option_that_no_method_takes_is_an_error(bitlens, scenes, option):
    done = bitlens("explain", scenes, *MODEL, "--method", "grad-cam,gradient", *option, code=1)
    assert f"{option[0]} is not for grad-cam or gradient" in done.stderr


def test_an_allowed_bypass_is_told_with_the_table(bitlens, scenes):
    shown = bitlens(
        "explain", scenes, *MODEL, "--method", "iba:steps=1:noise_samples=1:allow_bypass=true", "--out", "r"
    )
    assert "for 2 of 2 more may go round the layer (allow_bypass=True)" in shown.stderr.replace("\n", " ")


def test_patterns_are_made_once_or_read(bitlens, scenes, tmp_path):
    photo = scenes / "scene 0.png"
    made = bitlens("explain", photo, *MODEL, "--method", "pattern-attribution", "--out", "r")
    (kept,) = (tmp_path / "cache" / "patterns").iterdir()
    assert str(kept) in made.stderr
    assert Patterns.load(kept).samples == 20
    before = kept.stat().st_mtime_ns
    first = explain(bitlens, photo, "pattern-attribution")
    assert kept.stat().st_mtime_ns == before
    kept.rename(tmp_path / "own.safetensors")
    own = explain(bitlens, photo, "pattern-attribution", "--patterns", "own.safetensors", "--out", "other")
    assert own[0]["max"] == first[0]["max"]
    assert not list((tmp_path / "cache" / "patterns").iterdir())


def test_no_statistics_are_asked_for_where_none_are_needed(bitlens, scenes, tmp_path):
    (tmp_path / "net.py").write_text("from bitlens.models.builtin.scenes import scenes")
    command = ["explain", scenes / "scene 0.png", "--model", "net.py:scenes", "--out", "r", "--method"]
    assert "score" in bitlens(*command, "saliency,occlusion-14", "--json").stdout
    (row,) = json.loads(bitlens(*command, "iba", "--out", "own", "--json").stdout)  # the photo's own places serve
    assert row["kept"] > 0.85
    assert "--patterns FILE" in bitlens(*command, "pattern-attribution", code=1).stderr


def test_one_method_that_cannot_be_used_is_an_error(bitlens, scenes):
    done = bitlens("explain", scenes, *MODEL, "--method", "attention-rollout", code=1)
    assert done.stderr.count("needs a vision transformer") == 1
    done = bitlens("explain", scenes, *MODEL, "--method", "attention-rollout,gradient-attention-rollout", code=1)
    assert "none of the 2 methods can be used on builtin/scenes" in done.stderr


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ("gradcam,iba", "no method 'gradcam'; did you mean grad-cam"),
        ("iba,grad-cam:layers=x", "no setting 'layers'; did you mean layer?"),
        ("gradient,iba:beta=much", "iba:beta=much: expected a number"),
        ("gradient,grad-cam:layer=layer9", "no layer 'layer9'"),
        ("gradient,occlusion-8:window=0", "window must be at least 1"),
    ],
)
def test_what_is_mistyped_is_an_error_among_several_too(bitlens, scenes, methods, words):
    assert words in bitlens("explain", scenes, *MODEL, "--method", methods, code=1).stderr


def test_the_curve_is_made_when_it_is_asked_for(bitlens, scenes, tmp_path):
    photo = scenes / "scene 0.png"
    explain(bitlens, photo, "iba,gradient")
    (tmp_path / "r" / "summary.json").unlink()
    before = written(tmp_path / "r")
    explain(bitlens, photo, "iba,gradient", "--curve", "--report")
    after = written(tmp_path / "r")
    assert [name for name in before if after[name] != before[name]] == ["scene 0.iba.safetensors"]
    assert written(tmp_path / "r") == after
    curve = Attribution.load(tmp_path / "r" / "scene 0.iba.safetensors").curve
    assert curve is not None
    assert curve.maps.shape == (1, 8, 96, 96)
    assert Image.open(tmp_path / "r" / "scene 0.iba.curve.png").width > 1000
    assert not (tmp_path / "r" / "scene 0.gradient.curve.png").exists()
    page = (tmp_path / "r" / "report.html").read_text("utf-8")
    assert page.count("How few bits until the decision goes?") == 1
    assert "<dt>held</dt>" in page
    assert "quality='fast'" in page or "quality=&#39;fast&#39;" in page
    explain(bitlens, photo, "iba,gradient")  # one that was not asked for does no harm
    assert written(tmp_path / "r") == after
    assert (
        "--curve is of bottlenecks"
        in bitlens("explain", photo, *MODEL, "--method", "gradient", "--curve", code=1).stderr
    )


def test_the_spread_over_seeds_is_told_and_drawn(bitlens, scenes, tmp_path):
    photo = scenes / "scene 0.png"
    (row,) = explain(bitlens, photo, "iba", "--spread", "2", "--report")
    assert "2 seeds agree on" in (tmp_path / "r" / "report.html").read_text("utf-8")
    assert (row["seeds"], 0 < row["top_agreed"] <= 1) == (2, True)
    assert Image.open(tmp_path / "r" / "scene 0.spread.png").width > 800
    before = written(tmp_path / "r")
    said = bitlens("explain", photo, *MODEL, "--spread", 2, "--out", "r").stdout
    assert "seeds agree" in said
    assert written(tmp_path / "r") == before
    explain(bitlens, photo, "iba", "--spread", "3")
    assert written(tmp_path / "r") != before


def test_labels_tell_right_from_wrong(bitlens, scenes, tmp_path):
    (tmp_path / "known.csv").write_text("".join(
        ["file,label\n", f"{scenes / 'scene 0.png'},ring\n", f"{scenes / 'scene 1.png'},ring\n"]
    ))  # fmt: skip
    rows = explain(bitlens, scenes, "gradient", "--labels", "csv:known.csv", "--report")
    assert [(row["predicted"], row["label"]) for row in rows] == [("heart", "ring"), ("ring", "ring")]
    assert rows[0]["predicted_probability"] == rows[0]["probability_before"]  # it was asked about
    page = (tmp_path / "r" / "report.html").read_text()
    assert f"predicted heart ({rows[0]['probability_before']:.2f})" in page
    assert "label ring: wrong" in page
    assert page.count('data-answer="right"') == 1
    (asked,) = explain(bitlens, scenes / "scene 0.png", "gradient", "--target", "ring", "--out", "q")
    assert (asked["name"], asked["predicted"]) == ("ring", "heart")
    assert asked["predicted_probability"] > 0.9 > asked["probability_before"]


def test_labels_of_other_photos_are_refused(bitlens, scenes, tmp_path):
    (tmp_path / "known.csv").write_text(f"file,label\n{scenes / 'scene 0.png'},ring\n")
    said = bitlens("explain", scenes / "scene 1.png", *MODEL, "--labels", "csv:known.csv", code=1).stderr
    assert "csv:known.csv labels none of the 1 photos: name the table that lists these very files" in said
