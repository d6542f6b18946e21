"""Class activation maps against Captum, direct computations, and the layers that are found in known networks."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from captum.attr import LayerGradCam
from torch import Tensor, nn

from bitlens.baselines.gradcam import GradCAM, LayerCAM
from bitlens.errors import LayerError, SettingError
from networks import noise_images, quadrant_images, quadrant_net, small_net, small_vit

FOUND = {
    "resnet18": "layer4",
    "vgg11": "features",
    "mobilenet_v2": "features",
    "squeezenet1_1": "classifier.2",
    "densenet121": "features",
    "convnext_tiny": "features",
    "efficientnet_b0": "features",
    "shufflenet_v2_x0_5": "conv5",
    "swin_t": "permute",
}
LARGE = {"vgg11", "densenet121", "convnext_tiny", "efficientnet_b0", "shufflenet_v2_x0_5", "swin_t"}


def spread(cells: Tensor, size: tuple[int, int] = (16, 16)) -> Tensor:
    return F.interpolate(cells[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def features_and_gradient(
    model: nn.Module, layer: nn.Module, images: Tensor, targets: list[int]
) -> tuple[Tensor, Tensor]:
    """By hooks and autograd alone."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[0].clone()

    handle = layer.register_forward_hook(keep)
    score = model(images)[range(len(images)), targets].sum()
    handle.remove()
    return kept[0].detach(), torch.autograd.grad(score, kept[0])[0]


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(1)
    model = torchvision.models.resnet18(num_classes=5).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training: nothing about it is neutral
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
    return model


@pytest.mark.parametrize("layer", [None, "layer4", "layer3", "layer2.0.conv1"])
def test_grad_cam_is_that_of_captum(resnet: nn.Module, layer: str | None) -> None:
    images, targets = noise_images(3, size=(64, 96)), [0, 4, 2]
    got = GradCAM(resnet, layer).explain(images, targets)
    assert got.layer == (layer or "layer4")
    reference = LayerGradCam(resnet, resnet.get_submodule(got.layer))
    cells = reference.attribute(images, torch.tensor(targets), relu_attributions=True).detach()[:, 0]
    torch.testing.assert_close(got.map, spread(cells, (64, 96)), rtol=1e-3, atol=1e-5 * float(cells.max()))
    assert got.map.amax() > 0


@pytest.mark.parametrize("layer", ["2", "3"])
def test_closed_forms(layer: str) -> None:
    model, (images, _) = quadrant_net(), quadrant_images(3)
    features, gradient = features_and_gradient(model, model.get_submodule(layer), images, [0, 1, 2])
    for method, weights in ((GradCAM, gradient.mean((2, 3), keepdim=True)), (LayerCAM, gradient.clamp_min(0))):
        got = method(model, model.get_submodule(layer)).explain(images, [0, 1, 2])
        torch.testing.assert_close(got.map, spread(F.relu((weights * features).sum(1))))
        assert got.layer == layer


def test_layer_cam_points_at_the_quadrant() -> None:
    """Grad-CAM cannot: this network's classes differ by place, and the mean gradient of a channel does not."""
    images, classes = quadrant_images(32, seed=5)
    maps = LayerCAM(quadrant_net()).explain(images, classes.tolist()).map
    quadrants = F.avg_pool2d(maps[:, None], 8).flatten(1)
    assert (quadrants.argmax(1) == classes).float().mean() > 0.9


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in FOUND])
def test_the_last_layer_with_a_grid_is_found(name: str) -> None:
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, num_classes=4).eval()
    for module in model.modules():
        if type(module).__name__ == "CNBlock":
            nn.init.ones_(module.layer_scale)  # 1e-6 would hide what passes through the block
    images = noise_images(1, size=(64, 64))
    result = GradCAM(model).explain(images, 1)
    assert result.layer == FOUND[name]
    features, gradient = features_and_gradient(model, model.get_submodule(result.layer), images, [1])
    cells = F.relu((gradient.mean((2, 3), keepdim=True) * features).sum(1))
    torch.testing.assert_close(result.map, spread(cells, (64, 64)), rtol=1e-3, atol=1e-4 * float(cells.max()))


def test_the_default_follows_the_size_of_the_image() -> None:
    """What is a single cell for a small image says nothing about places."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten()
    ).eval()
    ready = GradCAM(model)
    assert ready.explain(noise_images(2, size=(32, 32))).layer == "3"
    assert ready.explain(noise_images(2, size=(16, 16))).layer == "1"
    assert ready.explain(noise_images(1, size=(32, 32))).layer == "3"


class Shared(nn.Module):
    """One ReLU for all places, the last of which is the last grid."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        return self.relu(self.second(self.relu(self.first(images)))).mean((2, 3))


def test_a_layer_that_is_called_twice() -> None:
    model, images = Shared().eval(), noise_images(2)
    features = model.second(model.relu(model.first(images))).relu().detach()
    expected = spread(features[:, 3])  # the score is the mean of channel 3, all others have no gradient
    for ready in (GradCAM(model), GradCAM(model, "relu", call=1)):
        result = ready.explain(images, 3)
        torch.testing.assert_close(result.map * 12**2, expected)
        assert result.layer == "relu"
    with pytest.raises(LayerError, match="called 2 times"):
        GradCAM(model, "relu").explain(images, 3)


class Weighted(nn.Module):
    """Takes pixels and a weight for each image, both by name."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small_net()

    def forward(self, *, pixels: Tensor, weight: Tensor) -> Tensor:
        return self.inner(pixels) * weight[:, None]


def test_other_arguments_follow_their_image() -> None:
    images, weight = noise_images(5), torch.tensor([1.0, 2.0, 0.5, 3.0, 0.0])
    plain = LayerCAM(small_net()).explain(images, 1).map
    result = LayerCAM(Weighted().eval(), internal_batch_size=2).explain({"pixels": images, "weight": weight}, 1)
    torch.testing.assert_close(result.map, plain * weight[:, None, None])
    assert result.layer == "inner.3"


def test_tokens_of_a_vision_transformer() -> None:
    model, images = small_vit(), noise_images(2)
    layer = model.encoder.layers[-1].ln_1
    features, gradient = (t[:, 1:].mT.reshape(2, 8, 4, 4) for t in features_and_gradient(model, layer, images, [1, 2]))
    got = LayerCAM(model, "encoder.layers.encoder_layer_1.ln_1").explain(images, [1, 2]).map
    torch.testing.assert_close(got, spread(F.relu((gradient.clamp_min(0) * features).sum(1))))
    assert got.max() > 0


@pytest.mark.parametrize("method", [GradCAM, LayerCAM])
def test_the_default_of_a_vision_transformer(method: Callable[..., GradCAM | LayerCAM]) -> None:
    """Behind the last attention no patch has a gradient."""
    result = method(small_vit()).explain(noise_images(3), [0, 1, 2])
    assert result.layer == "encoder.layers.encoder_layer_1.ln_1"
    assert (result.map.amax((1, 2)) > 0).any()


class Sequence(nn.Module):
    """Ends in tokens that are no patches."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Flatten(2)

    def forward(self, images: Tensor) -> Tensor:
        return self.tokens(images).sum(2)


@pytest.mark.parametrize("method", [GradCAM, LayerCAM])
def test_a_network_that_ends_in_other_tokens_is_refused(method: Callable[..., GradCAM | LayerCAM]) -> None:
    with pytest.raises(SettingError, match=r"finds no layer of Sequence that ends in a grid .*: name a layer"):
        method(Sequence().eval()).explain(noise_images(1))


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.convolution(images).mean((2, 3)).detach()


def test_layers_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(LayerError, match="no layer 'layer9'"):
        GradCAM(small_net(), "layer9")
    with pytest.raises(SettingError, match="call=1 needs a layer"):
        GradCAM(small_net(), call=1)
    with pytest.raises(SettingError, match=r"layer '5' puts out \(1, 32\), whose places are no grid"):
        GradCAM(small_net(), "5").explain(noise_images(1))
    with pytest.raises(SettingError, match="finds no layer of Sequential"):
        GradCAM(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval()).explain(noise_images(1, size=(4, 4)))
    with pytest.raises(SettingError, match="no gradient at layer 'convolution'"):
        GradCAM(Detached().eval(), "convolution").explain(noise_images(1))


def test_a_module_with_several_outputs_is_no_default_layer() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=5, return_dict=True
    )
    network = transformers.ResNetForImageClassification(config).eval()
    result = GradCAM(network).explain(torch.randn(2, 3, 64, 64), 1)
    assert result.map.shape == (2, 64, 64)
    assert result.layer.startswith("resnet.encoder")
