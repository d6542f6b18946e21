"""Default layers: a stage at 1/8 of the resolution, whatever the architecture."""

import pytest
import torch
import torchvision
from torch import nn

from bitlens.errors import LayerError
from bitlens.models.default_layer import default_layer, grid_layers
from bitlens.probe import Probe
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


def test_networks_without_such_a_grid_have_the_nearest():
    def half() -> nn.Module:
        return nn.Conv2d(3, 3, 3, 2, 1)

    shallow = nn.Sequential(nn.Sequential(half()), half(), nn.ReLU(), nn.Flatten())
    assert default_layer(shallow, torch.zeros(1, 3, 96, 96)) == "2"  # 1/4, where 1/8 was looked for
    whole = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert default_layer(whole, torch.zeros(1, 3, 32, 32)) == "1"
    coarse = nn.Sequential(nn.Conv2d(3, 8, 16, 16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert default_layer(coarse, torch.zeros(1, 3, 96, 96)) == "1"
    between = nn.Sequential(nn.Conv2d(3, 3, 4, 4), nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Flatten())
    assert default_layer(between, torch.zeros(1, 3, 96, 96)) == "0"  # of 1/4 and 1/16 the finer
    dense = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 1))
    assert default_layer(dense, torch.zeros(1, 3, 32, 32)) == "0"  # not what the network puts out


def test_networks_without_places_are_refused():
    with pytest.raises(LayerError, match=r"no layer of Sequential has places .*: name a layer .* input-iba"):
        default_layer(nn.Sequential(nn.Flatten(), nn.Linear(3072, 2)), torch.zeros(1, 3, 32, 32))
    with pytest.raises(LayerError, match="images"):
        default_layer(nn.Linear(4, 2), torch.zeros(1, 4))


class Branches(nn.Module):
    """A stem, four stages that halve the image, and a way round the later ones from the `since`-th on."""

    def __init__(self, since: int) -> None:
        super().__init__()
        self.since = since
        self.stages = nn.ModuleList(nn.Conv2d(3, 3, 3, 2, 1) for _ in range(4))
        self.head = nn.Linear(3, 2)
        self.eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = [image]
        for stage in self.stages:
            found.append(stage(found[-1]))
        return self.head(sum(one.mean((2, 3)) for one in found[self.since :]))


def test_a_layer_that_something_goes_round_is_not_the_default() -> None:
    torch.manual_seed(0)
    image = torch.randn(1, 3, 96, 96)
    for since, layer in ((4, "stages.2"), (3, "stages.2"), (2, "stages.1")):
        network = Branches(since)
        assert default_layer(network, image) == layer
        assert not Probe(network, layer).around(image).share
    assert Probe(Branches(2), "stages.2").around(image).share > 0.1
    with pytest.raises(
        LayerError, match=r"something goes round every layer of Branches .* such as 'stages.2': name a layer"
    ):
        default_layer(Branches(0), image)


def test_what_works_at_once_costs_one_pass_more() -> None:
    network, passes = Branches(4), []
    network.head.register_forward_hook(lambda *_: passes.append(1))
    assert default_layer(network, torch.zeros(1, 3, 96, 96)) == "stages.2"
    assert len(passes) == 2


def test_a_way_that_gradients_cannot_take_is_left_to_be_measured() -> None:
    class Detour(Branches):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return super().forward(torch.from_numpy(image.numpy()))  # numpy takes nothing that has gradients

    assert default_layer(Detour(0), torch.zeros(1, 3, 96, 96)) == "stages.2"


def test_a_head_of_zeros_is_told() -> None:
    model = small_vit()
    nn.init.zeros_(model.heads.head.weight)
    with pytest.raises(
        LayerError, match=r"says the same whatever its layer .* puts out, .* never trained: load weights"
    ):
        default_layer(model, torch.zeros(1, 3, 16, 16))


def test_the_blocks_of_a_vision_transformer() -> None:
    """The default is an early one; `conv_proj` has a grid as well, and no depth."""
    model, image = small_vit(), torch.zeros(1, 3, 16, 16)
    names = ("encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1")
    assert default_layer(model, image) == names[0]
    assert grid_layers(model, image) == names
