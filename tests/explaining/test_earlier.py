"""A folder that holds what earlier runs explained: what fits is kept, what does not is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bitlens.core.attribution import Attribution
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import SettingError
from bitlens.explaining import pictures
from bitlens.explaining.file_names import file_stems
from bitlens.explaining.photos import Ready, Request
from bitlens.explaining.pictures import explain_into, write_merged
from bitlens.methods.specs import Spec
from bitlens.models.loaded import Loaded


class Fake:
    """A method whose map is the photo's first channel, times something."""

    seed = 0

    def __init__(self, name, times=1.0):
        self.name, self.times = name, times

    def settings(self):
        return {"times": self.times}

    def explain(self, images, target):
        values = self.times * images[:, 0].float()
        return Attribution(values, "score", self.name, (str(int(target)),), total_bits=values.flatten(1).sum(1))


@pytest.fixture(scope="module")
def loaded():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3)).eval()
    return Loaded(
        "net",
        network,
        Preprocessing(lambda image: torch.from_numpy(np.asarray(image) / np.float32(255)).permute(2, 0, 1)),
    )


@pytest.fixture
def photos(tmp_path):
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        for i in range(3):
            Image.new("RGB", (8, 8), (80 * i, 40, 200 if place == "a" else 20)).save(tmp_path / place / f"{i}.png")
    return tmp_path


def ready(name, times=1.0, alone=True):
    return Ready(name, Spec(name, {}), Fake(name, times), alone)


def run(loaded, out, photos, *methods, target=0, command="explain", **more):
    several = [replace(one, alone=len(methods) == 1) for one in methods]
    done = explain_into(Request(loaded, several, target, ("x", "y", "z"), out, **more), photos)
    settings = {"command": [command], "model": loaded.name, "target": str(target), "seed": 0,
                "methods": {one.label: one.settings() for one in methods}}  # fmt: skip
    return write_merged(done, settings, {}, out)


def summary(out):
    return json.loads((out / "summary.json").read_text("utf-8"))


def held(out):
    return [(Path(row["photo"]).parent.name + row["files"], row["method"]) for row in summary(out)["photos"]]


def sheets(monkeypatch):
    drawn = []
    draw = pictures.write_sheet
    monkeypatch.setattr(
        pictures, "write_sheet", lambda photos, labels, *a: drawn.append(([one.stem for one in photos], labels)) or
        draw(photos, labels, *a)
    )  # fmt: skip
    return drawn


def test_another_photo_joins_those_that_are_there(loaded, photos, tmp_path, monkeypatch):
    out, drawn = tmp_path / "out", sheets(monkeypatch)
    assert run(loaded, out, sorted((photos / "a").iterdir()), ready("rise"), command="first") == 0
    assert run(loaded, out, [photos / "b" / "0.png"], ready("rise"), command="second") == 3
    assert held(out) == [("a0", "rise"), ("a1", "rise"), ("a2", "rise"), ("b0-2", "rise")]
    assert drawn == [(["0", "1", "2"], ["rise"]), (["0", "1", "2", "0-2"], ["rise"])]
    assert (summary(out)["settings"]["command"], summary(out)["settings"]["earlier"]) == (["second"], [["first"]])
    first, other = (Attribution.load(out / f"{stem}.safetensors").map for stem in ("0", "0-2"))
    assert first.shape == other.shape
    assert run(loaded, out, sorted((photos / "b").iterdir()), ready("rise"), command="third") == 3
    assert held(out)[3:] == [("b0-2", "rise"), ("b1-2", "rise"), ("b2-2", "rise")]


def test_another_method_joins_on_pictures_and_sheets(loaded, photos, tmp_path, monkeypatch):
    out, drawn = tmp_path / "out", sheets(monkeypatch)
    compared = []
    monkeypatch.setattr(
        pictures, "draw_comparison", lambda _, panels, **__: compared.append([one.title for one in panels]))  # fmt: skip
    monkeypatch.setattr(pictures, "save_figure", lambda *_: None)
    run(loaded, out, sorted((photos / "a").iterdir()), ready("rise"))
    assert run(loaded, out, [photos / "a" / "1.png"], ready("gradient", 2.0)) == 2
    assert held(out) == [("a0", "rise"), ("a1", "rise"), ("a1.gradient", "gradient"), ("a2", "rise")]
    assert compared == [["rise", "gradient"]]
    assert drawn[-1] == (["0", "1", "2"], ["rise"])
    assert float(Attribution.load(out / "1.safetensors").map.max()) * 2 == pytest.approx(
        float(Attribution.load(out / "1.gradient.safetensors").map.max())
    )
    assert list(summary(out)["settings"]["methods"]) == ["rise", "gradient"]
    run(loaded, out, sorted((photos / "a").iterdir()), ready("gradient", 2.0))
    assert drawn[-1] == (["0", "1", "2"], ["rise", "gradient"])
    assert len(held(out)) == 6


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"methods": [ready("rise", 3.0)]}, r"rise: times was 1\.0, now 3\.0\): .*as rise:SETTING=VALUE"),
        ({"target": 1}, r'target was "0", now "1"\): repeat those settings, or use another --out'),
        ({"name": "other"}, 'model was "net", now "other"'),
        ({"weights": 2.0}, "other weights of net: use another --out"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_changed(loaded, photos, tmp_path, changed, words):
    out = tmp_path / "out"
    run(loaded, out, sorted((photos / "a").iterdir()), ready("rise"))
    before = {path: path.read_bytes() for path in out.iterdir()}
    other = replace(loaded, name=changed.get("name", "net"))
    if "weights" in changed:
        torch.manual_seed(1)
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3)).eval()
        other = replace(loaded, model=network)
    methods = changed.get("methods", [ready("rise")])
    with pytest.raises(SettingError, match=words):
        run(other, out, [photos / "b" / "0.png"], *methods, target=changed.get("target", 0))
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_what_is_replaced_as_a_whole_need_not_fit(loaded, photos, tmp_path):
    out, own = tmp_path / "out", sorted((photos / "a").iterdir())
    run(loaded, out, own, ready("rise"))
    assert run(loaded, out, own, ready("rise", 3.0), target=1) == 0
    assert summary(out)["settings"]["methods"]["rise"]["times"] == 3.0
    assert "earlier" not in summary(out)["settings"]


def test_one_scale_is_that_of_all_photos_of_the_folder(loaded, photos, tmp_path, monkeypatch):
    tops = []
    draw = pictures.draw_explanation
    monkeypatch.setattr(
        pictures, "draw_explanation", lambda *a, scale, **k: tops.append(scale.top) or draw(*a, scale=scale, **k))  # fmt: skip
    out = tmp_path / "out"
    run(loaded, out, [photos / "a" / "2.png", photos / "a" / "1.png"], ready("rise"), same_scale=True)
    tops.clear()
    run(loaded, out, [photos / "b" / "1.png"], ready("rise"), same_scale=True)
    assert len(tops) == 3
    assert len(set(tops)) == 1


def test_a_damaged_summary_and_lost_files_do_not_stop_a_run(loaded, photos, tmp_path):
    out, own = tmp_path / "out", sorted((photos / "a").iterdir())
    run(loaded, out, own, ready("rise"))
    (out / "0.safetensors").unlink()
    (out / "1.seen.jpg").unlink()
    assert run(loaded, out, [photos / "b" / "0.png"], ready("rise")) == 3
    assert len(held(out)) == 4
    (out / "summary.json").write_text("{")
    assert run(loaded, out, own, ready("rise")) == 0
    assert held(out) == [("a0", "rise"), ("a1", "rise"), ("a2", "rise")]


def test_the_folder_of_another_command_is_left_alone(loaded, photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(Path(__file__).parents[1] / "golden" / "0.1" / "texts.json", out / "other.json")
    (out / "summary.json").write_text(
        json.dumps({"photos": [{"scene": "scene 1", "files": "scene-1", "method": "iba"}]})
    )
    with pytest.raises(SettingError, match="what another command wrote: use another --out"):
        run(loaded, out, [photos / "b" / "0.png"], ready("rise"))


def test_names_of_files_leave_those_of_other_photos_alone(tmp_path):
    a, b = tmp_path / "a" / "1.png", tmp_path / "b" / "1.png"
    assert file_stems([a, b]) == ["1", "1-2"]
    assert file_stems([b], {"1": a}) == ["1-2"]
    assert file_stems([b, a], {"1": a, "1-2": b}) == ["1-2", "1"]
    assert file_stems([b, a], {"1": a}) == ["1-2", "1"]
