"""The commonest mistakes: each is told in one sentence that says what to do, before anything is computed or written."""

import importlib.util
import json
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bitlens as lens
from bitlens.errors import BitlensWarning, SettingError

NETWORK = """
import torch
from torch import nn
from torchvision.transforms import v2


def bare():
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(16, 3))


def build():
    steps = [v2.Grayscale(), v2.Resize((48, 64)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    return bare(), v2.Compose(steps)


def named():
    network, prepare = build()
    network.classes = ["normal", "nodule", "mass"]
    return network, prepare
"""


@pytest.fixture
def place(tmp_path):
    """A folder with a network of one channel and three classes, scans, and tables of them."""
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "scans").mkdir()
    rng = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(rng.integers(0, 255, (60, 80), dtype=np.uint8)).save(tmp_path / "scans" / f"{i}.png")
    (tmp_path / "scan.dcm").write_bytes(bytes(128) + b"DICM" + bytes(99))
    (tmp_path / "three.txt").write_text("normal\nnodule\nmass\n")
    (tmp_path / "two.txt").write_text("normal\nnodule\n")
    tables = {"named": ("normal", "nodule", "mass", "mass"), "seven": (0, 1, 2, 7), "typo": ("normal", "nodul", "", "")}
    for name, labels in tables.items():
        rows = "".join(f"scans/{i}.png,{label}\n" for i, label in enumerate(labels))
        (tmp_path / f"{name}.csv").write_text(f"file,label\n{rows}")
    return tmp_path


OWN = ("--model", "net.py:build", "--layer", "2")
SCAN = ("explain", "scans/0.png", *OWN)
EVALUATE = ("evaluate", *OWN, "--methods", "grad-cam", "--metrics", "degradation-14:tile=16")
MISTAKES = {
    "channels": (("explain", "scans/0.png", "--model", "net.py:bare"), "takes 1 channels.*let the callable return"),
    "channels of a data set": (("evaluate", "--model", "net.py:bare", "--data", "scans"), "let the callable return"),
    "channels to learn from": (
        ("statistics", "--model", "net.py:bare", "--data", "scans", "--out", "s.safetensors"), "let the callable return"),
    "DICOM": (("explain", "scan.dcm", *OWN), "it is DICOM; save the picture as PNG first"),
    "a file without its callable": (("explain", "scans", "--model", "net.py"), "write net.py:NAME, where NAME is bare, build"),
    "a missing folder": (("explain", "scnas", *OWN), "scnas does not exist"),
    "a missing folder to learn from": ((*SCAN, "--statistics-from", "folder:scnas"), "there is no folder scnas"),
    "a table as a data set": ((*EVALUATE, "--data", "named.csv"), r"did you mean csv:named\.csv\?"),
    "a table as a photo": (("explain", "named.csv", *OWN), r"it is a table; .*--data csv:FILE"),
    "a file to write into": ((*SCAN, "--out", "net.py"), r"net\.py is a file; name a folder"),
    "a class that is none": ((*SCAN, "--classes", "three.txt", "--target", "nodul"), "did you mean 'nodule'"),
    "a class by name without names": ((*SCAN, "--target", "nodule"), "give an index, or --classes FILE"),
    "a class beyond the last": ((*SCAN, "--target", "3"), "class 3 does not exist: the network has classes 0 to 2"),
    "two names for three classes": (
        (*SCAN, "--classes", "two.txt"), r"there are 2 names .*normal, nodule.*has 3 outputs.*one name for each"),
    "two names in an evaluation": ((*EVALUATE, "--data", "csv:named.csv", "--classes", "two.txt"), "2 names .* 3 outputs"),
    "labels by name without names": ((*EVALUATE, "--data", "csv:named.csv"), "names of classes need --classes FILE"),
    "a label that is none": (
        (*EVALUATE, "--data", "csv:typo.csv", "--classes", "three.txt"), "line 3: .*did you mean 'nodule'"),
    "a label beyond the last": ((*EVALUATE, "--data", "csv:seven.csv"), "line 5: the label is '7', .*0 to 2"),
    "a method": ((*SCAN, "--method", "gradcam"), "did you mean grad-cam"),
    "a metric": ((*EVALUATE, "--data", "csv:named.csv", "--metrics", "degradtion-14"), "did you mean degradation-14"),
    "a layer": (("explain", "scans", "--model", "net.py:build", "--layer", "22"), "no layer '22'; did you mean '2'"),
    "a setting": ((*SCAN, "--method", "iba:stesp=3"), "did you mean steps"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_one_sentence_before_any_work(bitlens, place, name):
    command, words = MISTAKES[name]
    before = {*place.rglob("*")}
    done = bitlens(*command, code=1)
    told = [line for line in done.stderr.splitlines() if line.startswith("bitlens: ")]
    assert len(told) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "did not expect" not in done.stderr
    assert re.search(words, told[0]), told[0]
    assert not done.stdout
    assert {path for path in place.rglob("*") if path.is_file()} <= before


def test_an_option_is_told_with_the_nearest(bitlens, place):
    assert "--layer" in bitlens("explain", "scans", "--model", "net.py:build", "--layre", "2", code=2).stderr
    assert not (place / "bitlens-out").exists()


@pytest.mark.parametrize(
    ("package", "extra", "command"),
    [
        ("timm", "timm", ("explain", "scans", "--model", "timm/resnet18")),
        ("transformers", "text", ("explain", "scans", "--model", "hf/some/network")),
        ("transformers", "text", ("text", "explain", "a film", "--model", "hf/some/network")),
        ("ray", "cluster", (*SCAN, "--cluster", "ray")),
        ("gradio", "app", ("app",)),
    ],
)
def test_a_missing_extra_is_named(bitlens, place, monkeypatch, package, extra, command):
    find = importlib.util.find_spec
    monkeypatch.setitem(sys.modules, package, None)
    assert find(package) is None
    assert f"pip install 'bitlens[{extra}]'" in bitlens(*command, code=1).stderr
    assert not (place / "bitlens-out").exists()


def test_labels_by_name_and_names_of_the_network_itself(bitlens, place):
    """With --classes, or with the names that the network has: the same rows."""
    rows = []
    for number, model in enumerate((("net.py:build", "--classes", "three.txt"), ("net.py:named",))):
        command = ["evaluate", "--model", *model, "--layer", "2", "--data", "csv:named.csv", "--out", f"r{number}"]
        done = bitlens(
            *command, "--methods", "grad-cam", "--metrics", "degradation-14:tile=16", "--keep-maps", "--json"
        )
        rows.append(json.loads(done.stdout))
        assert (place / f"r{number}" / "maps-1.png").is_file()
    for found in rows:
        found["settings"].pop("model")
    assert rows[0] == rows[1]
    (row,) = json.loads(
        bitlens("explain", "scans/0.png", "--model", "net.py:named", "--layer", "2", "--target", "Nodule",
                "--json").stdout
    )  # fmt: skip
    assert (row["target"], row["name"]) == ("1", "nodule")
    assert (
        "did you mean 'nodule'"
        in bitlens(
            "explain", "scans/0.png", "--model", "net.py:named", "--layer", "2", "--target", "nodul", code=1
        ).stderr
    )


def test_an_evaluation_in_which_everything_failed_is_no_success(bitlens, place):
    for i in range(4):
        path = place / "scans" / f"{i}.png"
        path.write_bytes(path.read_bytes()[:200])
    done = bitlens(*EVALUATE, "--data", "scans", code=1)
    assert "nothing could be measured, every sample failed: cannot read the image scans/" in done.stderr


def network(place: Path):
    scope: dict = {}
    exec(compile((place / "net.py").read_text(), "net.py", "exec"), scope)
    return scope["bare"]()


def test_a_network_in_train_mode_is_explained_in_eval_mode_and_that_is_said_once(place):
    model, image = network(place).train(), torch.rand(1, 1, 48, 64)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        found = lens.explain(model, image, layer="2")
    assert [str(one.message) for one in told if issubclass(one.category, BitlensWarning)] == [
        "Sequential is in train mode; it is explained in eval mode (model.eval() silences this)"
    ]
    assert {one.filename for one in told if issubclass(one.category, BitlensWarning)} == {__file__}
    assert model.training
    assert torch.equal(found.map, lens.explain(model.eval(), image, layer="2").map)


def test_a_setting_in_python_is_told_with_the_nearest(place):
    with pytest.raises(SettingError, match=r"iba has no setting 'kepe'; did you mean keep\?"):
        lens.explain(network(place).eval(), torch.rand(1, 1, 48, 64), layer="2", kepe=0.9)
    with pytest.raises(SettingError, match="rise has no setting 'mask'; it has samples"):
        lens.method("rise", network(place).eval(), mask=3)
