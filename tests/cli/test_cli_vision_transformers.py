"""`bitlens explain` on a vision transformer of the user's own: picture, map, and the bits that no pixel shows."""

import json

import numpy as np
import pytest
from PIL import Image

from bitlens.attribution import Attribution

NETWORK = """
import torch
from torchvision.models import VisionTransformer
from torchvision.transforms import v2


def build():
    torch.manual_seed(0)
    model = VisionTransformer(32, 8, 4, 2, 16, 32, num_classes=3)
    torch.nn.init.normal_(model.heads.head.weight)
    return model, v2.Compose([v2.Resize((32, 32)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
"""


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "photos").mkdir()
    noise = np.random.default_rng(0)
    for number in range(70):
        Image.fromarray(noise.integers(0, 255, (40, 40, 3), np.uint8)).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


def test_patch_tokens_become_a_picture(bitlens, photos, tmp_path):
    methods = "iba:steps=3,grad-cam,attention-rollout"
    given = ["--model", "net.py:build", "--statistics-from", "photos", "--device", "cpu", "--out", "r"]
    done = bitlens("explain", photos / "3.png", *given, "--method", methods, "--json")
    rows = json.loads(done.stdout)
    assert len(rows) == 3
    assert "layer encoder.layers.encoder_layer_0" in done.stderr
    kept = Attribution.load(tmp_path / "r" / f"{rows[0]['files']}.safetensors")
    assert (kept.map.shape, kept.cells.shape, kept.extra_bits.shape) == ((1, 32, 32), (1, 4, 4), (1, 1))
    assert rows[0]["extra_bits"] == pytest.approx(float(kept.extra_bits.sum()))
    assert rows[0]["extra_bits"] < rows[0]["total_bits"]
    assert Image.open(tmp_path / "r" / "3.png").width > 300
    told = bitlens("explain", photos / "3.png", *given, "--method", "iba:steps=3").stdout
    assert "not in the picture" in told
