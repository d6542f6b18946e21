"""DeepSHAP against Captum, and the differences that must add up in networks of all kinds."""

import pytest
import torch
import torch.nn.functional as F
from captum.attr import DeepLift, DeepLiftShap
from torch import nn

from bitlens.baselines.deep_shap import DeepSHAP
from bitlens.core.targets import AnyOf
from bitlens.errors import BitlensWarning, SettingError
from networks import noise_images, small_vit
from structures import STRUCTURES, images, structure


def classic(pool=True):
    """A network that Captum's DeepLIFT can deal with."""
    pools = [nn.MaxPool2d(2)] if pool else []
    parts = [nn.Conv2d(3, 6, 3), nn.ReLU(), *pools, nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4)]
    model = nn.Sequential(*parts).double().eval()
    model(images(1))
    if pool:  # where the pooled baseline is above the image Captum's contributions do not add up
        nn.init.constant_(model[0].bias, -0.1)
    return model


def contributions(model, x, baseline=None, target=None):
    """The sum over all values of each image: the map is a mean over three colours."""
    return 3 * DeepSHAP(model, baselines=baseline).explain(x, target).map.sum((1, 2)).double()


@pytest.mark.parametrize("pool", [True, False])
def test_as_captum_where_captum_works(pool):
    model, x = classic(pool), images(4)
    target = model(x).argmax(1)
    expected = DeepLift(model).attribute(x.clone(), torch.zeros_like(x), target).detach()
    assert torch.allclose(DeepSHAP(model).explain(x, target).map.double(), expected.mean(1), rtol=1e-4, atol=1e-7)
    baselines = images(3, seed=5) if not pool else torch.zeros(2, 3, 12, 12).double()
    expected = DeepLiftShap(model).attribute(x.clone(), baselines, target).detach()
    made = DeepSHAP(model, baselines=baselines).explain(x, target).map
    assert torch.allclose(made.double(), expected.mean(1), rtol=1e-4, atol=1e-7)


def test_with_max_pooling_captum_does_not_add_up_and_this_does():
    """The note of docs/baselines.md: by how much of the difference the contributions are off."""
    model = classic(pool=True)
    nn.init.constant_(model[0].bias, 0.3)  # the pooled reference is above the image in places
    x, baselines = images(4), images(3, seed=5)
    target = model(x).argmax(1)
    expected = model(x).gather(1, target[:, None])[:, 0] - model(baselines).mean(0)[target]
    theirs = DeepLiftShap(model).attribute(x.clone(), baselines, target).detach().sum((1, 2, 3))
    assert ((theirs - expected) / expected).abs().max() > 0.1
    assert torch.allclose(contributions(model, x, baselines, target), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", list(STRUCTURES))
@pytest.mark.parametrize("baseline", [None, 0.7 * images(1, seed=8)], ids=["zero", "image"])
def test_contributions_sum_to_the_difference(name, baseline):
    model, x = structure(name), images(4)
    before = torch.zeros_like(x[:1]) if baseline is None else baseline
    expected = model(x)[:, 2] - model(before)[:, 2]
    assert expected.abs().min() > 1e-4
    assert torch.allclose(contributions(model, x, baseline, 2), expected, rtol=1e-5, atol=1e-6)


class Applied(nn.Module):
    """A function of the features of a convolution."""

    def __init__(self, function):
        super().__init__()
        self.stem, self.function = nn.Conv2d(3, 8, 3, stride=2), function

    def forward(self, x):
        return self.function(self.stem(x)).flatten(1)


@pytest.mark.parametrize(
    "function",
    [
        torch.sigmoid, torch.tanh, F.gelu, F.elu, F.mish, F.softplus, F.hardsigmoid, F.relu6, torch.exp,
        lambda x: F.prelu(x, torch.full((8,), 0.2).to(x)), lambda x: 1 / (2 + x.square()), lambda x: (x.abs() + 1).sqrt().log(),
        lambda x: x * x.flip(1), lambda x: torch.einsum("nchw,nchv->ncwv", x, x), lambda x: x.flatten(2) @ x.flatten(2).mT,
        lambda x: x / (1 + x.square().mean((2, 3), keepdim=True)), lambda x: F.adaptive_max_pool2d(x, 3),
        lambda x: F.max_pool2d(x, 3, 1, 1), lambda x: torch.max_pool2d(x, 2), lambda x: F.max_pool1d(x.flatten(2), 5, 2),
    ],
)  # fmt: skip
def test_rules_of_single_operations(function):
    model, x, baseline = Applied(function).double().eval(), images(4), 0.5 * images(1, seed=4)

    def score(output):
        return output[:, 0] - 0.3 * output[:, -1]

    expected = score(model(x)) - score(model(baseline))
    assert expected.abs().min() > 1e-4
    assert torch.allclose(contributions(model, x, baseline, score), expected, rtol=1e-4, atol=1e-6)


def test_attention_and_normalisation_by_quadrature():
    model, x = small_vit(), noise_images(3)
    target = model(x).argmax(1)
    expected = (model(x) - model(torch.zeros_like(x))).gather(1, target[:, None])[:, 0].double()
    assert torch.allclose(contributions(model, x, target=target), expected, rtol=1e-2)


def test_a_product_is_shared_fairly():
    """Shapley's values of a product of two numbers, from a baseline."""

    class Area(nn.Module):
        def forward(self, x):
            return x[:, 0].flatten(1).sum(1, keepdim=True) * x[:, 1].flatten(1).sum(1, keepdim=True)

    x, start = torch.tensor([5.0, 3.0]), torch.tensor([1.0, 2.0])
    made = DeepSHAP(Area().eval(), baselines=start.reshape(1, 2, 1, 1), output="binary")
    total = made.explain(x.reshape(1, 2, 1, 1), 1)
    assert 2 * total.map.item() == pytest.approx(5 * 3 - 1 * 2)


def test_the_rise_of_a_maximum_is_where_it_is():
    pool = nn.Sequential(nn.MaxPool2d((1, 3)), nn.Flatten()).eval()
    x = torch.tensor([[[[1.0, 5.0, 2.0]]], [[[1.0, 0.5, 2.0]]]])
    made = DeepSHAP(pool, baselines=torch.tensor([[[[0.0, 1.0, 3.0]]]]), output="binary").explain(x, 1).map
    assert torch.allclose(made, torch.tensor([[[0.0, 2.0, 0.0]], [[0.0, 0.0, -1.0]]]))


def test_several_baselines_are_averaged():
    model, x, baselines = structure("Skip"), images(3), images(2, seed=3)
    both = DeepSHAP(model, baselines=baselines).explain(x)
    each = [DeepSHAP(model, baselines=baseline[None]).explain(x).map for baseline in baselines]
    assert torch.allclose(both.map, (each[0] + each[1]) / 2, atol=1e-7)
    alike = DeepSHAP(model, baselines=torch.zeros(10, 3, 12, 12)).explain(x)
    assert torch.allclose(alike.map, DeepSHAP(model).explain(x).map, atol=1e-7)
    assert both.settings["baselines"].startswith("2 images ")
    assert both.settings["baselines"] != DeepSHAP(model, baselines=baselines.flip(0)).settings()["baselines"]


def test_a_target_that_is_no_logit_is_warned_of():
    model, x = structure("Plain"), 30 * images(2)
    with pytest.warns(BitlensWarning, match=r"deep-shap: for \d of 2 images the pixels' contributions do not sum"):
        DeepSHAP(model).explain(x, AnyOf([0, 1]))


@pytest.mark.parametrize("baselines", [torch.zeros(0, 3, 12, 12), torch.full((1, 3, 12, 12), torch.nan)])
def test_baselines_that_are_no_images(baselines):
    with pytest.raises(SettingError, match="baselines must be finite images"):
        DeepSHAP(structure("Plain"), baselines=baselines)


def test_baselines_of_another_size():
    with pytest.raises(SettingError, match=r"baselines have shape \(1, 3, 8, 8\), but the inputs \(2, 3, 12, 12\)"):
        DeepSHAP(structure("Plain"), baselines=torch.zeros(1, 3, 8, 8)).explain(images(2))


class Moody(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        y = self.conv(x).mean((2, 3))
        return y.relu() if x.abs().sum() else y.sigmoid()


class Sorted(nn.Module):
    def forward(self, x):
        return x.flatten(1).sort(1).values


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (Moody(), r"this network does not take the same way for both \(at operation 'relu'\)"),
        (Sorted(), "deep-shap has no rule for the operation 'sort'"),
    ],
)
def test_networks_that_are_refused(model, sentence):
    with pytest.raises(SettingError, match=sentence):
        DeepSHAP(model.eval()).explain(noise_images(1), lambda output: output[:, 1])
