"""Default layers: a stage at 1/8 of the resolution, whatever the architecture."""

import pytest
import torch
import torchvision
from torch import nn

from bitlens.errors import LayerError
from bitlens.models.default_layer import default_layer, grid_layers
from networks import small_vit

EXPECTED = {
    "resnet18": "layer2",
    "mobilenet_v2": "features.6",
    "squeezenet1_0": "features.10",
    "shufflenet_v2_x1_0": "stage2",
    "mobilenet_v3_large": "features.6",
    "regnet_y_400mf": "trunk_output.block2",
}
SLOW = {
    "resnet50": "layer2",
    "densenet121": "features.denseblock2",
    "swin_t": "features.3",
    "convnext_tiny": "features.3",
}


@pytest.mark.parametrize(("name", "layer"), EXPECTED.items())
def test_convolutional_networks(name, layer):
    model = torchvision.models.get_model(name, weights=None).eval()
    assert default_layer(model, torch.zeros(1, 3, 224, 224)) == layer


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layer"), SLOW.items())
def test_larger_networks(name, layer):
    test_convolutional_networks(name, layer)


def test_small_images_keep_more_of_their_resolution():
    model = nn.Sequential(*[nn.Conv2d(3, 3, 3, 2, 1) for _ in range(4)])
    names = [default_layer(model, torch.zeros(1, 3, size, size)) for size in (32, 64, 96, 224)]
    assert names == ["0", "1", "2", "2"]


def test_networks_without_such_a_grid_are_refused():
    with pytest.raises(LayerError, match="name a layer"):
        default_layer(nn.Sequential(nn.Flatten(), nn.Linear(3072, 2)), torch.zeros(1, 3, 32, 32))
    shallow = nn.Sequential(nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1)), nn.Conv2d(3, 3, 3, 2, 1), nn.ReLU(), nn.Flatten())
    with pytest.raises(LayerError, match=r"at 1/8 .*: name a layer \('1', '2' at 1/4 come nearest\)"):
        default_layer(shallow, torch.zeros(1, 3, 96, 96))
    with pytest.raises(LayerError, match="images"):
        default_layer(nn.Linear(4, 2), torch.zeros(1, 4))


def test_the_blocks_of_a_vision_transformer() -> None:
    """The default is an early one; `conv_proj` has a grid as well, and no depth."""
    model, image = small_vit(), torch.zeros(1, 3, 16, 16)
    names = ("encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1")
    assert default_layer(model, image) == names[0]
    assert grid_layers(model, image) == names
