"""Commands about regions, keypoints and boxes: `--target region:NAME`, and tables of photos with masks."""

import json

import numpy as np
import pytest
from PIL import Image

NETWORKS = '''
import torch
from torch import nn
from torchvision.transforms.functional import to_tensor


class Colours(nn.Module):
    """A class for each colour of a pixel: red, green, blue."""

    classes = ["red", "green", "blue"]

    def __init__(self):
        super().__init__()
        self.look = nn.Conv2d(3, 3, 1)
        nn.init.eye_(self.look.weight[:, :, 0, 0])
        nn.init.zeros_(self.look.bias)

    def forward(self, images):
        return 8 * self.look(images)


class Heat(Colours):
    """A heat map for each colour of a pixel, as it says."""

    bitlens_output = "multi-label"


class Brightest(Colours):
    """A detector of one thing, the picture, as likely as it is bright."""

    classes = ["nothing", "picture"]

    def forward(self, images):
        whole = torch.tensor([[0.0, 0.0, images.shape[3], images.shape[2]]])
        scores = self.look(images).mean((1, 2, 3))
        return [{"boxes": whole, "labels": torch.ones(1, dtype=torch.long), "scores": one[None]} for one in scores]


def colours():
    return Colours().eval(), to_tensor


def heat():
    return Heat().eval(), to_tensor


def brightest():
    return Brightest().eval(), to_tensor
'''


@pytest.fixture
def folder(tmp_path):
    """Two pictures, red with a green corner, with masks, a table and the networks."""
    (tmp_path / "nets.py").write_text(NETWORKS, "utf-8")
    lines = ["file,label,mask"]
    for number, side in enumerate((6, 10)):
        pixels = np.zeros((24, 24, 3), np.uint8)
        pixels[..., 0] = 200
        pixels[:side, :side] = (0, 220, 0)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        indices = Image.fromarray(pixels[..., 1].astype(bool).astype(np.uint8))
        indices.save(tmp_path / f"mask {number}.png")
        lines.append(f"{number}.png,green,mask {number}.png")
    (tmp_path / "photos.csv").write_text("\n".join(lines), "utf-8")
    return tmp_path


def explain(bitlens, target, network="colours", code=0):
    command = ["explain", "0.png", "--model", f"nets.py:{network}", "--layer", "look", "--target", target, "--out", "r"]
    return bitlens(*command, "--beta", 0.01, "--json", code=code)


@pytest.mark.parametrize(
    ("network", "target", "name"),
    [
        ("colours", "region:green", "green where it is predicted"),
        ("colours", "1", "green where it is predicted"),
        ("heat", "keypoint:green", "green where it is seen"),
    ],
)
def test_a_place_of_the_answer_is_explained_by_name(bitlens, folder, network, target, name):
    (row,) = json.loads(explain(bitlens, target, network).stdout)
    assert row["name"] == name
    assert row["probability_before"] > 0.9
    assert "predicted" not in row
    found = np.load(folder / "r" / f"{row['files']}.npy", allow_pickle=False)
    assert np.unravel_index(found.argmax(), found.shape) < (6, 6)
    settings = json.loads((folder / "r" / "summary.json").read_text("utf-8"))["settings"]
    assert settings["target"] == ("1" if target == "1" else f"{target.partition(':')[0]}:1")


@pytest.mark.usefixtures("folder")
def test_a_box_is_explained(bitlens):
    (row,) = json.loads(explain(bitlens, "box:0", "brightest").stdout)
    assert row["name"] == "picture in box 0"


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("region:blue", "predicts class 2 at no place"),
        ("region:pink", "names no class"),
        ("region:", "expected region:CLASS, keypoint:NAME or box:INDEX"),
        ("box:0", "Box asks a detector"),
        ("auto", "no class is the predicted one"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_cannot_be_asked_is_told_in_a_sentence(bitlens, target, told):
    assert told in explain(bitlens, target, code=1).stderr


@pytest.mark.usefixtures("folder")
def test_regions_are_evaluated_against_masks(bitlens):
    methods = ["--methods", "iba:beta=0.01,saliency", "--metrics", "rank-auc,mass-inside,degradation-8"]
    bitlens(
        "evaluate", "--data", "csv:photos.csv", "--model", "nets.py:colours", "--layer", "look", *methods, "--out", "e"
    )
    rows = json.loads(bitlens("table", "e", "--json").stdout)["rows"]
    found = {(row["method"], row["metric"]): row["mean"] for row in rows}
    assert found["saliency", "rank-auc"] == 1.0
    assert found["saliency", "mass-inside"] == pytest.approx(1.0)
