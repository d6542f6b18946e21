"""Guided backpropagation against Captum, and with ReLUs of all kinds."""

import copy
import csv

import pytest
import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop as Reference
from PIL import Image
from scipy.stats import spearmanr
from torch import nn

from bitlens.baselines.gradcam import GradCAM
from bitlens.baselines.gradient import Gradient, Saliency
from bitlens.baselines.guided import GuidedBackprop, GuidedGradCAM
from bitlens.errors import SettingError
from bitlens.models.load import load_model
from networks import noise_images
from structures import images, structure


class Clean(nn.Module):
    """The network `Skip` as Captum wants it: nothing in place, each ReLU a module that is used once."""

    def __init__(self, model):
        super().__init__()
        self.stem, self.head = model.stem, model.head
        self.first, self.second = model.body["first"], model.body["second"]
        self.relus = nn.ModuleList([nn.ReLU() for _ in range(3)])

    def forward(self, x):
        x = self.relus[0](self.stem(x))
        x = self.relus[2](self.second(self.relus[1](self.first(x))) + x)
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("seed", range(3))
def test_as_captum_where_captum_works(seed):
    model, x = structure("Skip", seed=seed), images(seed=seed)
    target = model(x).argmax(1)
    expected = Reference(Clean(model)).attribute(x.clone().requires_grad_(), target)
    assert torch.allclose(GuidedBackprop(model).explain(x).map.double(), expected.abs().amax(1), rtol=1e-5, atol=1e-9)
    signed = GuidedBackprop(model, reduce="mean").explain(x, target).map
    assert torch.allclose(signed.double(), expected.mean(1), rtol=1e-5, atol=1e-9)
    assert (expected < 0).any()


class Chain(nn.Module):
    def __init__(self, convs, relu):
        super().__init__()
        self.convs, self.relu = convs, relu

    def forward(self, x):
        for conv in self.convs:
            x = conv(x)
            y = self.relu(x)
            x = x if y is None else y
        return x.mean((2, 3))


def dropped(x):
    x.relu_()


@pytest.mark.parametrize(
    "relu",
    [
        nn.ReLU(inplace=True),
        F.relu,
        F.relu_,
        dropped,
        lambda x: F.relu(x, True),
        lambda x: x.clamp(min=0),
        lambda x: x.clamp_min_(0),
        lambda x: torch.clamp(x, 0, 1e9),
        lambda x: F.hardtanh(x, 0, 1e9, inplace=True),
        lambda x: F.leaky_relu(x, 0.0),
    ],
)
def test_all_relus_are_one(relu):
    convs = nn.ModuleList([nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3), nn.Conv2d(6, 4, 3)])
    clean = nn.Sequential(
        *[part for conv in convs for part in (conv, nn.ReLU())], nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    x = noise_images(2)
    expected = Reference(clean).attribute(x.clone().requires_grad_(), 1).abs().amax(1)
    assert expected.max() > 0
    assert torch.allclose(GuidedBackprop(Chain(convs, relu).eval()).explain(x, 1).map, expected, rtol=1e-4, atol=1e-8)


def test_bounded_relus_hand_nothing_back_beyond_their_bound():
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU6(), nn.Flatten())
    nn.init.ones_(model[0].weight)
    x = torch.tensor([-1.0, 3.0, 7.0]).reshape(1, 1, 1, 3)
    result = GuidedBackprop(model.eval()).explain(x, lambda output: output.sum(1) - 2 * output[:, 0]).map
    assert result.flatten().tolist() == [0, 1, 0]


def test_leaky_relus_are_relus_on_the_way_back():
    model = nn.Sequential(nn.LeakyReLU(0.5), nn.Flatten()).eval()
    x = torch.tensor([-1.0, 3.0, 7.0]).reshape(1, 1, 1, 3)
    assert GuidedBackprop(model).explain(x, lambda output: output.sum(1)).map.flatten().tolist() == [0, 1, 1]


@pytest.mark.parametrize("bounds", [nn.Hardtanh(-1, 1), lambda x: x.clamp(max=1), lambda x: x.clamp(-1, 1)])
def test_bounds_elsewhere_than_at_zero_make_no_relu(bounds):
    with pytest.raises(SettingError, match="computes none"):
        GuidedBackprop(Chain(nn.ModuleList([nn.Conv2d(3, 6, 3)]), bounds).eval()).explain(noise_images(1))


def test_smooth_activations_keep_their_gradient():
    convs = [nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3)]
    model = nn.Sequential(convs[0], nn.SiLU(), convs[1], nn.ReLU(), nn.Flatten()).eval()
    smooth = nn.Sequential(convs[0], nn.SiLU(), convs[1], nn.Flatten()).eval()
    x = noise_images(1)
    positive = (model(x) > 0).float()
    expected = Saliency(smooth).explain(x, lambda output: (output * positive).sum(1)).map
    assert torch.allclose(GuidedBackprop(model).explain(x, lambda output: output.sum(1)).map, expected, rtol=1e-4)
    with pytest.raises(
        SettingError, match="guided-backprop changes what ReLUs hand back, and Sequential computes none"
    ):
        GuidedBackprop(smooth).explain(x)


def test_wrong_reduction():
    with pytest.raises(SettingError, match="reduce must be one of"):
        GuidedBackprop(nn.ReLU(), reduce="sum")


def test_batch_norm_behind_its_layer_is_not_folded_away():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(576, 5)
    )
    nn.init.uniform_(model[3].running_mean, -0.5, 0.5)
    nn.init.uniform_(model[3].running_var, 0.2, 3.0)
    model, x = model.eval(), noise_images(2)
    coarse, fine = GradCAM(model, "2").explain(x, 1).map, GuidedBackprop(model).explain(x, 1).map
    expected = coarse / coarse.amax((1, 2), keepdim=True) * fine
    assert float(expected.max()) > 0
    torch.testing.assert_close(GuidedGradCAM(model, "2").explain(x, 1).map, expected, rtol=1e-4, atol=1e-6)


def test_guided_grad_cam_is_the_product():
    model, x = structure("Skip"), images()
    target = model(x).argmax(1)
    made = GuidedGradCAM(model, "stem").explain(x, target)
    coarse, fine = GradCAM(model, "stem").explain(x, target).map, GuidedBackprop(model).explain(x, target).map
    for got, a, b in zip(made.map, coarse, fine, strict=True):
        assert torch.allclose(got, a / a.max() * b, rtol=1e-5)
    assert (made.layer, made.method) == ("stem", "guided-grad-cam")
    assert made.map.max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet", "mobilenet_v2"])
def test_it_hardly_changes_when_the_last_layer_is_drawn_anew(data_folder, name):
    """Adebayo et al., Sanity checks for saliency maps (2018): gradient and Grad-CAM change, guided backpropagation not."""
    loaded = load_model(f"{data_folder / 'zoo.py'}:{name}")
    rows = list(csv.DictReader((data_folder / "imagenet" / "val.csv").open()))[:4]
    photos = [Image.open(data_folder / "imagenet" / row["file"]).convert("RGB") for row in rows]
    x, labels = torch.stack([loaded.preprocess(photo) for photo in photos]), [int(row["label"]) for row in rows]
    other = copy.deepcopy(loaded.model)
    last = [module for module in other.modules() if isinstance(module, nn.Conv2d | nn.Linear)][-1]
    torch.manual_seed(0)
    last.reset_parameters()

    def likeness(method):
        pairs = zip(*(method(model).explain(x, labels).map.flatten(1) for model in (loaded.model, other)), strict=True)
        return sum(spearmanr(a, b).statistic for a, b in pairs) / len(x)

    assert likeness(GuidedBackprop) > 0.7
    assert abs(likeness(Gradient)) < 0.3
    assert likeness(Saliency) < 0.5
    assert likeness(GradCAM) < 0.5
