import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.core.effort import QUALITY, FitSettings
from bitlens.core.family import MaskFamily, Region
from bitlens.core.fitting import fit_masks, loss_gradient
from bitlens.core.gaussian import NoiseModel, NoiseSettings
from bitlens.core.holding import Holding
from bitlens.core.layout import LAYOUTS
from bitlens.core.noise import NoisyCopies
from bitlens.core.proofs import mean_and_error
from bitlens.core.targets import ClassTarget, Score
from bitlens.errors import FitError, SettingError, TargetError
from host_reads import HostReads
from networks import LAYER, noise_images, quadrant_images, quadrant_net, quadrant_statistics

CPU = torch.device("cpu")


def measure_under_noise(
    run: Any,
    target: Any,
    features: Tensor,
    u: Tensor,
    model: NoiseModel,
    *,
    noise_samples: int = 32,
    seed: int = 0,
    rows: int = 16,
) -> tuple[Tensor, Tensor]:
    masks = MaskFamily.of(features, model, LAYOUTS["CHW"], Region(), 0.0)
    return mean_and_error(Holding(run, target, masks, rows).values(u, noise_samples, seed))[:2]


def _published_procedure(
    model: nn.Module,
    image: Tensor,
    target: int,
    mean: Tensor,
    std: Tensor,
    *,
    beta: float = 10.0,
    steps: int = 10,
    samples: int = 10,
    seed: int = 0,
    clamp: bool = False,
    antithetic: bool = False,
    rising: bool = False,
    after_last_update: bool = False,
    layer: str = LAYER,
) -> Tensor:
    """One image by the text of the paper: the whole network in every step, a hook, autograd through everything.

    Returns:
        The divergence of every feature, nats, (C, H, W).
    """
    state: dict[str, Tensor] = {}

    def restrict(_module: nn.Module, _inputs: object, r: Tensor) -> Tensor:
        mask = torch.sigmoid(state["alpha"])
        line = torch.exp(-0.5 * torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]) ** 2)
        kernel = torch.outer(line, line) / line.sum() ** 2
        padded = F.pad(mask[None], (2, 2, 2, 2), mode="reflect")
        lam = F.conv2d(padded, kernel.expand(len(mask), 1, 5, 5), groups=len(mask))
        var = (1 - lam) ** 2
        normal = (r - mean) / std
        state["lam"] = lam
        state["kl"] = -0.5 * (1 + torch.log(var) - (lam * normal) ** 2 - var)
        z = lam * r + (1 - lam) * (mean + std * state["noise"])
        return z.clamp(min=0) if clamp else z

    generator = torch.Generator().manual_seed(seed)
    alpha = torch.full_like(mean, 5.0, requires_grad=True)
    state["alpha"] = alpha
    optimizer = torch.optim.Adam([alpha], lr=1.0)
    handle = model.get_submodule(layer).register_forward_hook(restrict)
    for step in range(steps):
        copies = math.floor(samples * step / (steps - 1)) + 1 if rising and step < steps - 1 else samples
        drawn = torch.randn(math.ceil(copies / 2) if antithetic else copies, *mean.shape, generator=generator)
        state["noise"] = torch.cat([drawn, -drawn])[:copies] if antithetic else drawn
        optimizer.zero_grad()
        logits = model(image.expand(copies, -1, -1, -1))
        loss = F.cross_entropy(logits, torch.full((copies,), target))
        (loss + beta * state["kl"].mean()).backward()
        optimizer.step()
    if after_last_update:
        model(image.expand(samples, -1, -1, -1))
    handle.remove()
    model.zero_grad()
    return state["kl"][0].detach()


def _prepared(
    count: int = 1, layer: str = LAYER
) -> tuple[nn.Sequential, Tensor, Tensor, Tensor, Callable[[Tensor], Tensor]]:
    model = quadrant_net().requires_grad_(False)
    images, classes = quadrant_images(count, seed=5)
    first = int(layer) + 1
    return model, images, classes, model[:first](images), model[first:]


@pytest.mark.parametrize(
    ("settings", "noise", "reference"),
    [
        ({}, "gaussian", {}),
        ({"beta": 1.0, "steps": 6, "noise_samples": 4}, "gaussian", {"beta": 1.0, "steps": 6, "samples": 4}),
        ({"readout": "final"}, "gaussian", {"after_last_update": True}),
        ({}, "clamped", {"clamp": True}),
        ({"antithetic": True}, "gaussian", {"antithetic": True}),
        (
            {"noise_samples": 3, "rising": True, "antithetic": True},
            "gaussian",
            {"samples": 3, "rising": True, "antithetic": True},
        ),
        ({"noise_samples": 5, "rising": True}, "gaussian", {"samples": 5, "rising": True}),
    ],
    ids=["paper", "few", "final", "clamped", "antithetic", "fast", "rising"],
)
@pytest.mark.parametrize("rows", [3, 16])
def test_same_map_as_the_published_procedure(
    settings: dict[str, object], noise: str, reference: dict[str, object], rows: int
) -> None:
    layer = "3" if noise == "clamped" else LAYER  # after the ReLU, where keeping features above zero matters
    model, images, classes, features, suffix = _prepared(layer=layer)
    noise_settings = NoiseSettings(noise=noise, activity_threshold=-1)  # type: ignore[arg-type]
    noise_model = quadrant_statistics(layer).noise(noise_settings)
    fitted = fit_masks(
        suffix,
        ClassTarget(classes),
        features,
        noise_model,
        LAYOUTS["CHW"],
        FitSettings(**settings),  # type: ignore[arg-type]
        seed=11,
        rows=rows,
    )
    expected = _published_procedure(
        model,
        images,
        int(classes[0]),
        noise_model.mean,
        noise_model.std,
        seed=11,
        layer=layer,
        **reference,  # type: ignore[arg-type]
    )
    got, expected = fitted.information[0].sum(0), expected.sum(0)
    assert expected.std() > 0.05 * expected.mean()  # a map, not a plane
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * expected.max().item())


@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("copies", [1, 2, 5, 8])
def test_gradient_is_that_of_autograd_through_everything(copies: int, clamp: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    features, mean, std, u, standard = (
        torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1
        for shape in ((3, 2, 4, 4), (2, 4, 4), (2, 4, 4), (3, 2, 4, 4), (5, 1, 2, 4, 4))
    )
    standard = 3 * (standard - 0.6)
    weights = torch.randn(5, 32, generator=generator, dtype=torch.float64)
    noise_model = NoiseModel(mean, std, torch.ones_like(mean), clamp)
    target = ClassTarget(torch.tensor([0, 3, 4]))

    def run(z: Tensor) -> Tensor:
        return torch.tanh(z.flatten(1)) @ weights.T

    u.requires_grad_()
    z = (1 - u) * features + u * (mean + std * standard)
    z = z.clamp(min=0) if clamp else z
    losses = F.cross_entropy(run(z.flatten(0, 1)), torch.tensor([0, 3, 4] * 5), reduction="none").reshape(5, 3)
    (expected,) = torch.autograd.grad(losses.mean(0).sum(), u)
    got = loss_gradient(run, target, features, u.detach(), noise_model, standard, copies)
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("averaged", [False, True])
def test_what_draws_say_of_a_slope_is_left_out_where_it_is_averaged(averaged: bool) -> None:
    """Of a quadratic loss Σ aZ²/2, mirrored noise: a(R + u(μ - R))(μ - R), and for the draws auσ²n² more."""
    features, mean, std, u, noise, weights = torch.rand(6, 12, dtype=torch.float64).add(0.1).unsqueeze(1)
    standard = torch.stack([noise, -noise])
    target = Score(lambda output: -output[:, 0])
    got = loss_gradient(
        lambda z: (weights * z.square() / 2).sum(1, keepdim=True),
        target, features, u, NoiseModel(mean[0], std[0], torch.ones(12)), standard, 2, averaged=averaged,
    )  # fmt: skip
    expected = weights * (features + u * (mean - features)) * (mean - features)
    expected = expected if averaged else expected + weights * u * (std * noise).square()
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-13)


def test_samples_together_are_as_alone() -> None:
    _, _, classes, features, suffix = _prepared(4)
    noise_model = quadrant_statistics().noise(NoiseSettings())
    classes = torch.tensor([0, 1, 2, 2])
    settings = FitSettings(steps=5)

    def fit(part: slice, rows: int) -> Tensor:
        target = ClassTarget(classes[part])
        return fit_masks(
            suffix, target, features[part], noise_model, LAYOUTS["CHW"], settings, seed=2, rows=rows
        ).information

    together = fit(slice(0, 4), 40)
    for i in range(4):
        alone = fit(slice(i, i + 1), 4)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5 * alone.max().item())


def test_logits_u_and_information_belong_together() -> None:
    _, _, classes, features, suffix = _prepared()
    noise_model = quadrant_statistics().noise(NoiseSettings())
    fitted = fit_masks(
        suffix, ClassTarget(classes), features, noise_model, LAYOUTS["CHW"], FitSettings(steps=3, smoothing=0)
    )
    assert torch.equal(fitted.u, torch.sigmoid(-fitted.logits))
    assert not fitted.logits.requires_grad
    assert fitted.information.shape == features.shape


def test_one_step_as_published_reports_the_start() -> None:
    _, _, classes, features, suffix = _prepared()
    noise_model = quadrant_statistics().noise(NoiseSettings())
    fitted = fit_masks(suffix, ClassTarget(classes), features, noise_model, LAYOUTS["CHW"], FitSettings(steps=1))
    assert torch.equal(fitted.logits, torch.full_like(features, 5.0))


def test_noise_depends_on_the_seed_alone() -> None:
    shape = torch.Size([2, 3])
    first, again, other = (NoisyCopies(shape, seed, CPU) for seed in (1, 1, 2))
    before = torch.get_rng_state()
    one, two = first.draw(4), first.draw(4)
    assert one.shape == (4, 1, 2, 3)
    assert torch.equal(one, again.draw(4))
    assert torch.equal(two, again.draw(4))
    assert not torch.equal(one, two)
    assert not torch.equal(one, other.draw(4))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_antithetic_noise_is_mirrored(count: int) -> None:
    noise = NoisyCopies(torch.Size([3]), 0, CPU, antithetic=True).draw(count)
    half = (count + 1) // 2
    assert noise.shape == (count, 1, 3)
    assert torch.equal(noise[half:], -noise[: count - half])


def test_noise_is_float32_whatever_the_default() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert NoisyCopies(torch.Size([3]), 0, CPU).draw(2).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_measurement_under_noise_does_not_depend_on_rows(rows: int) -> None:
    _, _, classes, features, suffix = _prepared(3)
    noise_model = quadrant_statistics().noise(NoiseSettings())
    u = torch.full_like(features, 0.6)
    target = ClassTarget(classes)
    expected = measure_under_noise(suffix, target, features, u, noise_model, noise_samples=9, seed=3, rows=300)
    got = measure_under_noise(suffix, target, features, u, noise_model, noise_samples=9, seed=3, rows=rows)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def test_mean_and_spread_under_noise_agree_with_another_monte_carlo() -> None:
    _, _, classes, features, confident = _prepared(3)
    noise_model = quadrant_statistics().noise(NoiseSettings())
    u = torch.full_like(features, 0.7)

    def suffix(z: Tensor) -> Tensor:
        return 0.1 * confident(z)

    mean, spread = measure_under_noise(suffix, ClassTarget(classes), features, u, noise_model, noise_samples=400)
    generator = torch.Generator().manual_seed(99)
    noise = noise_model.mean + noise_model.std * torch.randn(2000, *features.shape, generator=generator)
    logits = suffix((0.3 * features + 0.7 * noise).flatten(0, 1))
    values = torch.softmax(logits, 1).reshape(2000, 3, 4)[:, torch.arange(3), classes]
    standard_error = values.std(0) * math.sqrt(1 / 400 + 1 / 2000)
    assert bool((values.std(0) > 1e-3).all())
    assert bool(((mean - values.mean(0)).abs() < 4 * standard_error).all())
    fourth = (values - values.mean(0)).pow(4).mean(0)
    error_of_spread = ((fourth - values.var(0) ** 2) * (1 / 400 + 1 / 2000)).sqrt() / (2 * values.std(0))
    assert bool(((spread - values.std(0)).abs() < 4 * error_of_spread).all())


def test_a_single_noise_sample_has_no_spread() -> None:
    _, _, classes, features, suffix = _prepared(2)
    noise_model = quadrant_statistics().noise(NoiseSettings())
    u = torch.full_like(features, 0.5)
    _, spread = measure_under_noise(suffix, ClassTarget(classes), features, u, noise_model, noise_samples=1)
    assert spread.tolist() == [0, 0]


def test_inactive_features_reach_the_network_as_zero() -> None:
    seen = []

    def run(z: Tensor) -> Tensor:
        seen.append(z.detach().clone())
        return z.flatten(1)[:, :4]

    active = torch.tensor([1.0, 0.0])[:, None, None]
    noise_model = NoiseModel(torch.ones(2, 3, 3), torch.ones(2, 3, 3), active)
    features = noise_images(2, 2, (3, 3)) + 5
    target = ClassTarget(torch.tensor([0, 1]))
    fitted = fit_masks(run, target, features, noise_model, LAYOUTS["CHW"], FitSettings(steps=3, noise_samples=2))
    measure_under_noise(run, target, features, fitted.u, noise_model, noise_samples=2)
    assert all(bool((z[:, 1] == 0).all()) and bool((z[:, 0] != 0).any()) for z in seen)
    assert float(fitted.information[:, 1].abs().max()) == 0


@pytest.mark.parametrize("steps", [2, 9])
def test_the_host_never_waits_within_the_loop(steps: int) -> None:
    _, _, classes, features, suffix = _prepared(2)
    noise_model = quadrant_statistics().noise(NoiseSettings())
    with HostReads() as reads:
        fit_masks(suffix, ClassTarget(classes), features, noise_model, LAYOUTS["CHW"], FitSettings(steps=steps))
    assert reads.count == 1  # whether the result is finite, once at the end


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_refused(bad: float) -> None:
    _, _, classes, features, suffix = _prepared()
    noise_model = quadrant_statistics().noise(NoiseSettings())
    with pytest.raises(FitError, match="not finite under noise"):
        fit_masks(
            lambda z: suffix(z) * bad, ClassTarget(classes), features, noise_model, LAYOUTS["CHW"], FitSettings(steps=2)
        )


def test_a_loss_without_gradient_is_refused() -> None:
    _, _, classes, features, suffix = _prepared()
    noise_model = quadrant_statistics().noise(NoiseSettings())
    with pytest.raises(FitError, match="has no gradient at the layer"):
        fit_masks(
            lambda z: suffix(z).detach(), ClassTarget(classes), features, noise_model, LAYOUTS["CHW"], FitSettings()
        )


@pytest.mark.parametrize("function", [lambda out: out.mean().reshape(1), lambda out: out.flatten()])
def test_a_target_that_mixes_rows_is_refused(function: Callable[[Tensor], Tensor]) -> None:
    _, _, _, features, suffix = _prepared()
    noise_model = quadrant_statistics().noise(NoiseSettings())
    with pytest.raises(TargetError, match="one number per row"):
        fit_masks(suffix, Score(function), features, noise_model, LAYOUTS["CHW"], FitSettings())
    with pytest.raises(TargetError, match="one number per row"):
        measure_under_noise(suffix, Score(function), features, torch.zeros_like(features), noise_model)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"beta": -1.0}, "beta must not be negative, got -1.0"),
        ({"beta": math.nan}, "beta must be a finite int or float, got nan"),
        ({"smoothing": -0.5}, "smoothing must not be negative, got -0.5"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"noise_samples": -3}, "noise_samples must be at least 1, got -3"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"readout": "first"}, "readout must be one of 'last_forward', 'final', got 'first'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        FitSettings(**setting)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_quality_paper_is_table_2_of_the_paper() -> None:
    paper = QUALITY["paper"]
    assert (paper.beta, paper.steps, paper.noise_samples, paper.learning_rate, paper.smoothing) == (10, 10, 10, 1, 1)
    assert (paper.initial_logit, paper.readout, paper.antithetic) == (5, "last_forward", False)
    assert (paper.rising, paper.passes) == (False, 90)
    assert QUALITY["fast"].passes < paper.passes < QUALITY["best"].passes
    assert QUALITY["fast"].noise_samples < paper.noise_samples < QUALITY["best"].noise_samples
