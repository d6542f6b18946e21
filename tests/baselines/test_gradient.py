"""Gradients against closed forms and Captum."""

from typing import Any

import captum.attr
import pytest
import torch
from torch import Tensor, nn

from bitlens.baselines.baseline import Baseline
from bitlens.baselines.gradient import Gradient, GradientXInput, IntegratedGradients, Saliency, SmoothGrad
from bitlens.errors import SettingError
from networks import noise_images, quadrant_images, quadrant_net, small_net

TARGETS = [1, 0, 3]


class Linear(nn.Module):
    """Class scores that are linear in the pixels, with weights (classes, 3, 16, 16)."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weights = nn.Parameter(torch.randn(4, 3, 16, 16, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        return torch.einsum("nchw,kchw->nk", images, self.weights) + 0.7


class Power(nn.Module):
    """One score, the sum over pixels of x**k / k: the gradient is x**(k - 1)."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return (images**self.k / self.k).sum((1, 2, 3))[:, None].expand(-1, 2)


class Blind(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.detach().mean((2, 3))


def linear() -> tuple[nn.Module, Tensor, Tensor]:
    """A linear network, images, and the weights of their targets."""
    model = Linear().eval()
    return model, noise_images(3), model.weights.detach()[TARGETS]


@pytest.mark.parametrize(
    ("method", "settings", "expected"),
    [
        (Gradient, {}, lambda _, w: w.mean(1)),
        (Saliency, {}, lambda _, w: w.abs().amax(1)),
        (GradientXInput, {}, lambda x, w: (x * w).mean(1)),
        (IntegratedGradients, {}, lambda x, w: (x * w).mean(1)),
        (IntegratedGradients, {"reduce": "abs-max"}, lambda x, w: (x * w).abs().amax(1)),
        (IntegratedGradients, {"baseline": -0.5}, lambda x, w: ((x + 0.5) * w).mean(1)),
        (IntegratedGradients, {"baseline": "mean-colour"}, lambda x, w: ((x - x.mean((2, 3), True)) * w).mean(1)),
        (IntegratedGradients, {"baseline": "mean-colour", "multiply": False, "steps": 3}, lambda _, w: w.mean(1)),
        (SmoothGrad, {}, lambda _, w: w.abs().amax(1)),
        (SmoothGrad, {"reduce": "mean", "noise_samples": 7}, lambda _, w: w.mean(1)),
    ],
)
def test_closed_forms_on_a_linear_network(method: type[Baseline], settings: dict[str, Any], expected: Any) -> None:
    model, images, weights = linear()
    got = method(model, **settings).explain(images, TARGETS).map
    torch.testing.assert_close(got, expected(images, weights), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("baseline", [torch.full((3, 16, 16), 0.3), torch.tensor([0.1, -0.2, 0.3])[:, None, None]])
def test_a_baseline_may_be_an_image(baseline: Tensor) -> None:
    model, images, weights = linear()
    ready = IntegratedGradients(model, baseline=baseline)
    result = ready.explain(images, TARGETS)
    torch.testing.assert_close(result.map, ((images - baseline) * weights).mean(1), rtol=1e-4, atol=1e-5)
    other = IntegratedGradients(model, baseline=baseline + 1)
    assert result.settings["baseline"].startswith("image ")
    assert result.settings["baseline"] != other.settings()["baseline"]


@pytest.mark.parametrize("size", [None, 2])
def test_agreement_with_captum(size: int | None) -> None:
    model, images = quadrant_net(), quadrant_images(3)[0]
    settings: dict[str, Any] = {"internal_batch_size": size} if size else {}
    saliency = captum.attr.Saliency(model)
    for method, reference in [
        (Gradient, saliency.attribute(images.clone().requires_grad_(), TARGETS, abs=False).mean(1)),
        (Saliency, saliency.attribute(images.clone().requires_grad_(), TARGETS).amax(1)),
        (GradientXInput, captum.attr.InputXGradient(model).attribute(images.clone().requires_grad_(), TARGETS).mean(1)),
        (IntegratedGradients, captum.attr.IntegratedGradients(model).attribute(images, target=TARGETS).mean(1)),
    ]:
        got = method(model, **settings).explain(images, TARGETS).map
        torch.testing.assert_close(got, reference.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("baseline", ["zero", "mean-colour", 0.4, torch.rand(3, 16, 16)])
def test_integrated_gradients_are_complete(baseline: Any) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.Tanh(), nn.Conv2d(5, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(576, 4)
    )
    model, images = model.double().eval(), noise_images(3).double()
    maps = IntegratedGradients(model, baseline=baseline).explain(images, TARGETS).map
    start = (
        baseline
        if isinstance(baseline, Tensor)
        else {"zero": 0.0, "mean-colour": images.mean((2, 3), True)}.get(baseline, baseline)
    )
    with torch.no_grad():
        rise = (model(images) - model(torch.zeros_like(images) + start))[range(3), TARGETS]
    torch.testing.assert_close(maps.double().sum((1, 2)) * 3, rise, rtol=1e-4, atol=1e-5)


def _range(images: Tensor) -> Tensor:
    return (images.amax((1, 2, 3)) - images.amin((1, 2, 3)))[:, None, None, None]


def _within_chance(errors: Tensor) -> None:
    """Errors (n, 16, 16) in units of their standard deviation."""
    assert (errors.mean((1, 2)).abs() < 4 / 16).all()
    assert ((errors.std((1, 2)) > 0.85) & (errors.std((1, 2)) < 1.15)).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_smoothgrad_adds_the_noise_that_it_promises(seed: int) -> None:
    """For a cubic score the mean gradient is x² + σ², its variance over copies 4x²σ² + 2σ⁴, σ = 0.15 of the range."""
    images = noise_images(2) * torch.tensor([1.0, 4.0])[:, None, None, None]
    sigma = 0.15 * _range(images)
    maps = SmoothGrad(Power(3), reduce="mean", seed=seed).explain(images, 0).map
    spread = ((4 * images**2 * sigma**2 + 2 * sigma**4) / 50 / 3**2).sum(1).sqrt()
    _within_chance((maps - (images**2 + sigma**2).mean(1)) / spread)
    assert not torch.equal(SmoothGrad(Power(3), reduce="mean", seed=seed + 9).explain(images, 0).map, maps)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_smoothgrad_takes_the_size_of_every_copy_before_it_averages(seed: int) -> None:
    """For a square score and one channel the gradients are N(x, σ²), their sizes have the folded normal's mean."""
    images = noise_images(2, channels=1)
    sigma = 0.3 * _range(images)
    maps = SmoothGrad(Power(2), noise=0.3, noise_samples=200, seed=seed).explain(images, 0).map
    ratio = images / sigma
    mean = sigma * ((2 / torch.pi) ** 0.5 * (-(ratio**2) / 2).exp() + ratio * torch.erf(ratio / 2**0.5))
    spread = ((images**2 + sigma**2 - mean**2) / 200).sqrt()
    _within_chance(((maps[:, None] - mean) / spread)[:, 0])


def test_smoothgrad_without_noise_is_saliency() -> None:
    model, images = small_net(), noise_images(2)
    got = SmoothGrad(model, noise=0, noise_samples=3).explain(images, 1).map
    torch.testing.assert_close(got, Saliency(model).explain(images, 1).map)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        (IntegratedGradients, {"steps": 0}, "steps must be at least 1, got 0"),
        (IntegratedGradients, {"baseline": "blur"}, "baseline must be one of 'zero', 'mean-colour', got 'blur'"),
        (IntegratedGradients, {"baseline": torch.zeros(2, 3, 16, 16, 4)}, "baseline must be one input"),
        (IntegratedGradients, {"baseline": None}, "baseline must be 'zero', 'mean-colour', a number or an image"),
        (IntegratedGradients, {"reduce": "sum"}, "reduce must be one of 'mean', 'abs-max', got 'sum'"),
        (SmoothGrad, {"noise_samples": 0.5}, "noise_samples must be at least 1, got 0.5"),
        (SmoothGrad, {"noise": -0.1}, "noise must be a share of the image's range, 0 or more, got -0.1"),
        (SmoothGrad, {"reduce": "max"}, "reduce must be one of"),
    ],
)
def test_settings_without_sense_are_refused(method: type[Baseline], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        method(small_net(), **settings)


def test_a_baseline_of_another_size_is_refused() -> None:
    with pytest.raises(SettingError, match=r"baseline has shape \(3, 8, 8\), the inputs \(3, 16, 16\)"):
        IntegratedGradients(small_net(), baseline=torch.zeros(3, 8, 8)).explain(noise_images(1))


@pytest.mark.parametrize("method", [Gradient, SmoothGrad])
def test_a_score_without_gradient_is_refused(method: type[Baseline]) -> None:
    with pytest.raises(SettingError, match="the score has no gradient at the input"):
        method(Blind().eval()).explain(noise_images(1))
