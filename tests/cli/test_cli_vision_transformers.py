"""`bitlens explain` on a vision transformer of the user's own: picture, map, and the bits that no pixel shows."""

import json

import numpy as np
import pytest
from PIL import Image

from bitlens.core.attribution import Attribution

BUILD = """
import torch
from torchvision.transforms import v2
{imports}

def build():
    torch.manual_seed(0)
    model = {network}
    torch.nn.init.normal_({head}.weight)
    return model, v2.Compose([v2.Resize((32, 32)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
"""
NETWORKS = {
    "torchvision": (
        "from torchvision.models import VisionTransformer",
        "VisionTransformer(32, 8, 4, 2, 16, 32, num_classes=3)",
        "model.heads.head",
        "encoder.layers.encoder_layer_0",
    ),
    "timm": (
        "from timm.models.vision_transformer import VisionTransformer",
        "VisionTransformer(img_size=32, patch_size=8, embed_dim=16, depth=4, num_heads=2, num_classes=3)",
        "model.head",
        "blocks.0",
    ),
    "transformers": (
        "from transformers import ViTConfig, ViTForImageClassification",
        "ViTForImageClassification(ViTConfig(image_size=32, patch_size=8, hidden_size=16, num_hidden_layers=4, "
        "num_attention_heads=2, intermediate_size=32, num_labels=3, attn_implementation='eager'))",
        "model.classifier",
        "vit.",
    ),
}
"""How each library is imported and makes a small transformer, where its head is, how the default layer's name begins."""


@pytest.fixture(params=NETWORKS)
def layer(request, tmp_path):
    """The default layer of the network in net.py."""
    if request.param != "torchvision":
        pytest.importorskip(request.param)
    imports, network, head, layer = NETWORKS[request.param]
    (tmp_path / "net.py").write_text(BUILD.format(imports=imports, network=network, head=head))
    return layer


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    noise = np.random.default_rng(0)
    for number in range(70):
        Image.fromarray(noise.integers(0, 255, (40, 40, 3), np.uint8)).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


def test_patch_tokens_become_a_picture(bitlens, layer, photos, tmp_path):
    methods = "iba:steps=3:beta=1,grad-cam,attention-rollout"
    given = ["--model", "net.py:build", "--statistics-from", "photos", "--device", "cpu", "--out", "r"]
    done = bitlens("explain", photos / "3.png", *given, "--method", methods, "--json")
    rows = json.loads(done.stdout)
    assert len(rows) == 3
    assert f"layer {layer}" in done.stderr
    kept = Attribution.load(tmp_path / "r" / f"{rows[0]['files']}.safetensors")
    assert (kept.map.shape, kept.cells.shape, kept.extra_bits.shape) == ((1, 32, 32), (1, 4, 4), (1, 1))
    assert rows[0]["extra_bits"] == pytest.approx(float(kept.extra_bits.sum()))
    assert rows[0]["extra_bits"] < rows[0]["total_bits"]
    assert Image.open(tmp_path / "r" / "3.png").width > 300
    told = bitlens("explain", photos / "3.png", *given, "--method", "iba:steps=3:beta=1").stdout
    assert "not in the picture" in told
