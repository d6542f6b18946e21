"""Replay equals the full pass on torchvision's networks, at layers that skip connections and concatenations cross."""

import pytest
import torch
import torchvision
from replay_oracle import assert_replay_is_exact
from torch import nn

from bitlens.probe import Probe

LAYERS = {
    "resnet18": ["bn1", "layer1.0.conv1", "layer2", "layer2.0.downsample", "layer3.1.relu"],
    "resnet50": ["layer2.1.conv2", "layer3"],
    "vgg16": ["features.4", "classifier.0"],
    "densenet121": [
        "features.denseblock2.denselayer3",
        "features.denseblock2.denselayer3.conv1",
        "features.transition1",
    ],
    "mobilenet_v2": ["features.5.conv.1", "features.8"],
    "squeezenet1_0": ["features.5.expand1x1", "features.5.squeeze", "features.7"],
    "vit_b_16": ["encoder.layers.encoder_layer_5", "encoder.layers.encoder_layer_9.self_attention"],
    "swin_t": ["features.3", "features.5.2.mlp.0"],
    "convnext_tiny": ["features.3.1", "features.5.4.block.0"],
}
CALL = {("resnet18", "layer3.1.relu"): 1}  # a basic block calls its ReLU twice
LARGE = {"vgg16"}
SHAPES = {("swin_t", "features.3"): (2, 8, 8, 192), ("vit_b_16", "encoder.layers.encoder_layer_5"): (2, 17, 96)}
"""Swin keeps channels last, and a vision transformer gives tokens."""


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    return {}


def build(name: str, networks: dict[str, nn.Module]) -> nn.Module:
    if name not in networks:
        networks.clear()
        torch.manual_seed(1)
        if name == "vit_b_16":
            model = torchvision.models.VisionTransformer(64, 16, 12, 4, 96, 192, num_classes=10).eval()  # but narrow
            nn.init.normal_(model.heads.head.weight)
        else:
            model = torchvision.models.get_model(name, weights=None, num_classes=10).eval()
        for module in model.modules():
            if type(module).__name__ == "CNBlock":
                nn.init.ones_(module.layer_scale)  # 1e-6 would hide what passes through the block
        networks[name] = model
    return networks[name]


EVERY = [
    pytest.param(name, layer, marks=[pytest.mark.slow] * (name in LARGE))
    for name, layers in LAYERS.items()
    for layer in layers
]


@pytest.mark.parametrize(("name", "layer"), EVERY)
def test_replay_equals_the_full_pass(name: str, layer: str, networks: dict[str, nn.Module]) -> None:
    model, x = build(name, networks), torch.randn(2, 3, 64, 64)
    assert_replay_is_exact(model, layer, x, call=CALL.get((name, layer)))
    if (name, layer) in SHAPES:
        assert Probe(model, layer).features(x).shape == SHAPES[name, layer]


def test_gradients_at_the_layer_equal_those_of_the_full_pass(networks: dict[str, nn.Module]) -> None:
    model, x = build("resnet18", networks), torch.randn(2, 3, 64, 64)
    recording = Probe(model, "layer2.1.conv1").record(x)
    z = torch.cat([recording.features] * 2).mul(0.5).requires_grad_()
    with recording.suffix() as run:
        (got,) = torch.autograd.grad(run(z)[:, 3].sum(), z)
    handle = model.layer2[1].conv1.register_forward_hook(lambda *_: z)
    (expected,) = torch.autograd.grad(model(torch.cat([x, x]))[:, 3].sum(), z)
    handle.remove()
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)
