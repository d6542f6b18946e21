import dataclasses
import math

import mpmath
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from bitlens.core.gaussian import (
    NoiseModel,
    NoiseSettings,
    beyond_prior,
    beyond_prior_slope,
    information,
    information_slope,
    laid_out_like,
    noised_features,
)
from bitlens.errors import SettingError


def _noise_model(shape: tuple[int, ...], clamp: bool = False) -> NoiseModel:
    generator = torch.Generator().manual_seed(3)
    mean = torch.randn(shape, generator=generator)
    std = torch.rand(shape, generator=generator) + 0.1
    return NoiseModel(mean, std, torch.ones(shape), clamp)


def _exact(u: float, squared_score: float) -> float:
    """The divergence of two Gaussians to 50 digits."""
    with mpmath.workdps(50):
        u_, r2 = mpmath.mpf(u), mpmath.mpf(squared_score)
        return float(-mpmath.log(u_) + (u_**2 + (1 - u_) ** 2 * r2 - 1) / 2)


def test_information_is_the_divergence_of_the_two_gaussians() -> None:
    generator = torch.Generator().manual_seed(0)
    features = 3 * torch.randn(5000, generator=generator, dtype=torch.float64)
    mean = torch.randn(5000, generator=generator, dtype=torch.float64)
    std = torch.rand(5000, generator=generator, dtype=torch.float64) + 0.01
    u = torch.rand(5000, generator=generator, dtype=torch.float64) * 0.98 + 0.01
    expected = kl_divergence(Normal((1 - u) * features + u * mean, u * std), Normal(mean, std))
    got = information(u, ((features - mean) / std).square())
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("squared_score", [0.0, 1e-3, 1.0, 9.0, 1e4])
@pytest.mark.parametrize("u", [1e-6, 1e-4, 0.006693, 0.5, 0.9, 0.999])
def test_information_keeps_its_digits_in_both_precisions(u: float, squared_score: float) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        rounded = torch.tensor(u, dtype=dtype)
        got = information(rounded, torch.tensor(squared_score, dtype=dtype)).item()
        expected = _exact(rounded.item(), torch.tensor(squared_score, dtype=dtype).item())
        # -ln u and λ cancel when λ is small, so rounding is relative to λ
        assert abs(got - expected) <= tolerance * expected + torch.finfo(dtype).eps * (1 - u)


@pytest.mark.parametrize("passed", [1e-3, 1e-4, 1e-5, 1e-6])
def test_almost_nothing_passes_in_float32(passed: float) -> None:
    u = torch.tensor(1 - passed, dtype=torch.float32)
    assert information(u, torch.tensor(4.0)).item() == pytest.approx(_exact(u.item(), 4.0), abs=2e-7 * passed)


def test_values_of_the_specification() -> None:
    u = torch.sigmoid(torch.tensor(-5.0, dtype=torch.float64))
    one, zero = torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    assert information(u, one).item() == pytest.approx(5.00007, abs=5e-6)
    assert information(u, one).item() / math.log(2) == pytest.approx(7.21357, abs=5e-6)
    assert information(u, zero).item() == pytest.approx(4.50674, abs=5e-6)
    assert information(one, torch.tensor(100.0, dtype=torch.float64)).item() == 0


def test_mean_information_at_the_start_is_five_nats_for_standardised_features() -> None:
    scores = torch.randn(10**6, generator=torch.Generator().manual_seed(0)).square()
    scores = scores / scores.mean()
    mean = information(torch.full_like(scores, torch.sigmoid(torch.tensor(-5.0)).item()), scores).mean().item()
    assert mean == pytest.approx(5.000, abs=1e-3)
    assert mean / math.log(2) == pytest.approx(7.214, abs=1e-3)


def test_information_grows_with_what_passes_as_its_derivative_says() -> None:
    passed = torch.linspace(0.01, 0.99, 99, dtype=torch.float64).requires_grad_()
    squared_score = torch.tensor(2.5, dtype=torch.float64)
    (slope,) = torch.autograd.grad(information(1 - passed, squared_score).sum(), passed)
    expected = 1 / (1 - passed) - (1 - passed) + passed * squared_score
    torch.testing.assert_close(slope, expected, rtol=1e-12, atol=1e-12)
    assert bool((slope > 0).all())


def test_information_stays_finite_when_no_noise_is_left() -> None:
    u = torch.zeros(3, requires_grad=True)
    nats = information(u, torch.tensor([0.0, 1.0, 100.0]))
    nats.sum().backward()
    assert bool(torch.isfinite(nats).all())
    assert u.grad is not None
    assert bool(torch.isfinite(u.grad).all())
    assert nats[0].item() == pytest.approx(-math.log(1e-7) - 0.5, rel=1e-5)


def test_inactive_features_count_no_information_and_are_zero() -> None:
    model = NoiseModel(torch.ones(2), torch.ones(2), torch.tensor([1.0, 0.0]))
    features = torch.tensor([[3.0, 3.0]])
    assert model.squared_score(features).tolist() == [[4.0, 0.0]]
    assert information(torch.full((2,), 0.5), model.squared_score(features), model.active)[0, 1].item() == 0
    assert model.sample(torch.ones(1, 1, 2)).tolist() == [[[2.0, 0.0]]]


def test_noise_has_the_mean_and_spread_of_the_statistics() -> None:
    model = _noise_model((4, 3))
    draws = model.sample(torch.randn(40_000, 1, 4, 3, generator=torch.Generator().manual_seed(1)))[:, 0]
    standard_error = model.std / math.sqrt(len(draws))
    assert bool(((draws.mean(0) - model.mean).abs() < 5 * standard_error).all())
    torch.testing.assert_close(draws.std(0), model.std, rtol=0.02, atol=0)


def test_noised_features_have_the_distribution_the_information_is_about() -> None:
    model = _noise_model((6,))
    features, u = torch.linspace(-2, 2, 6)[None], torch.linspace(0.1, 0.9, 6)[None]
    noise = model.sample(torch.randn(40_000, 1, 6, generator=torch.Generator().manual_seed(1)))
    z = noised_features(features, u, noise)
    assert z.shape == (40_000, 1, 6)
    expected_std = (u * model.std)[0]
    expected_mean = ((1 - u) * features + u * model.mean)[0]
    assert bool(((z[:, 0].mean(0) - expected_mean).abs() < 5 * expected_std / 200).all())
    torch.testing.assert_close(z[:, 0].std(0), expected_std, rtol=0.02, atol=0)


def test_ends_of_the_mask_are_exact() -> None:
    features, noise = torch.randn(2, 3, 4, 4), torch.randn(5, 1, 3, 4, 4)
    zeros = torch.zeros_like(features)
    assert torch.equal(noised_features(features, zeros, noise), features.expand(5, -1, -1, -1, -1))
    assert torch.equal(noised_features(features, zeros + 1, noise), noise.expand(-1, 2, -1, -1, -1))


def test_noise_is_that_of_the_paper_unless_told_otherwise() -> None:
    settings = NoiseSettings()
    assert (settings.noise, settings.min_std, settings.activity_threshold) == ("gaussian", 0.01, 0.01)


@pytest.mark.parametrize("min_std", [0.0, -1.0, math.nan])
def test_a_floor_that_is_none_is_refused(min_std: float) -> None:
    with pytest.raises(SettingError, match="min_std must be positive"):
        NoiseSettings(min_std=min_std)


def test_an_unknown_kind_of_noise_is_refused() -> None:
    with pytest.raises(SettingError, match="noise must be one of 'gaussian', 'clamped', 'zero-mean', got 'pink'"):
        NoiseSettings(noise="pink")  # type: ignore[arg-type]


# beyond a prior (proposition 3 of InputIBA) ---------------------------------------------------------------------------


def _drawn(count: int = 5000) -> tuple[torch.Tensor, ...]:
    """Values, means, deviations, λ and λ_G, in float64."""
    generator = torch.Generator().manual_seed(5)
    values = 3 * torch.randn(count, generator=generator, dtype=torch.float64)
    mean, std, passed, prior = torch.rand(4, count, generator=generator, dtype=torch.float64)
    return values, mean, std + 0.05, 0.98 * passed + 0.01, 0.98 * prior + 0.01


def _beyond(
    values: torch.Tensor, mean: torch.Tensor, std: torch.Tensor, u: torch.Tensor, v: torch.Tensor
) -> torch.Tensor:
    return information(beyond_prior(u, v), ((values - mean) / std).square())


def test_information_beyond_a_prior_is_the_divergence_of_the_two_gaussians() -> None:
    values, mean, std, passed, prior = _drawn()
    both = prior * passed
    given = Normal(passed * values + (1 - passed) * mean, (1 - passed) * std)
    known = Normal(both * values + (1 - both) * mean, (1 - both) * std)
    got = _beyond(values, mean, std, 1 - passed, 1 - prior)
    torch.testing.assert_close(got, kl_divergence(given, known), rtol=1e-6, atol=1e-9)


def test_information_beyond_a_prior_is_proposition_3_as_printed() -> None:
    x, mean, std, passed, prior = _drawn()
    u, w = 1 - passed, 1 - prior * passed
    printed = torch.log(w / u) + u**2 / (2 * w**2) - 0.5
    printed += (x - mean) ** 2 * passed**2 * (1 - prior) ** 2 / (2 * w**2 * std**2)
    torch.testing.assert_close(_beyond(x, mean, std, u, 1 - prior), printed, rtol=1e-6, atol=1e-9)


def test_limits_of_the_information_beyond_a_prior() -> None:
    x, mean, std, passed, prior = _drawn()
    u, none, all_ = 1 - passed, torch.ones_like(passed), torch.zeros_like(passed)
    plain = information(u, ((x - mean) / std).square())
    assert torch.equal(_beyond(x, mean, std, u, none), plain)  # λ_G = 0
    assert float(_beyond(x, mean, std, u, all_).abs().max()) < 1e-12  # λ_G = 1
    assert float(_beyond(x, mean, std, none, 1 - prior).abs().max()) < 1e-12  # λ = 0
    assert float(_beyond(x, mean, std, none, all_).abs().max()) < 1e-12
    assert bool((_beyond(x, mean, std, u, 1 - prior) <= plain).all())


@pytest.mark.parametrize("u", [0.0, 1e-30, 1e-6, 0.5, 1.0])
@pytest.mark.parametrize("v", [0.0, 1e-30, 1e-6, 0.5, 1.0])
def test_information_beyond_a_prior_and_its_gradient_stay_finite_in_float32(u: float, v: float) -> None:
    share = torch.tensor([u], requires_grad=True)
    nats = information(beyond_prior(share, torch.tensor([v])), torch.tensor([9.0]))
    nats.sum().backward()
    assert share.grad is not None
    assert bool(torch.isfinite(nats).all())
    assert bool(torch.isfinite(share.grad).all())


def test_a_noise_model_counts_beyond_the_prior_that_it_carries() -> None:
    plain = _noise_model((4, 3))
    u, hidden = torch.rand(2, 4, 3), torch.rand(2, 4, 3)
    guided = dataclasses.replace(plain, hidden=hidden).to(torch.device("cpu"))
    assert torch.equal(plain.counted(u), u)
    assert torch.equal(guided.counted(u), beyond_prior(u, hidden))


def test_slopes_are_the_derivatives() -> None:
    generator = torch.Generator().manual_seed(5)
    u = (torch.rand(4000, generator=generator, dtype=torch.float64) * 0.999 + 5e-4).requires_grad_()
    squared_score, hidden = (torch.rand(4000, generator=generator, dtype=torch.float64) for _ in range(2))
    (expected,) = torch.autograd.grad(information(u, 9 * squared_score).sum(), u)
    torch.testing.assert_close(information_slope(u.detach(), 9 * squared_score), expected, rtol=1e-9, atol=1e-12)
    (expected,) = torch.autograd.grad(beyond_prior(u, hidden).sum(), u)
    torch.testing.assert_close(beyond_prior_slope(u.detach(), hidden), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("u", "squared_score"), [(1 - 2**-20, 0.0), (1 - 2**-20, 7.5), (2.0**-10, 3.0), (0.5, 0.0)])
def test_the_slope_of_the_information_keeps_its_digits_in_float32(u: float, squared_score: float) -> None:
    exact = -(1 - u) * (squared_score + 1 + 1 / u)
    got = information_slope(torch.tensor([u]), torch.tensor([squared_score]))
    assert got.item() == pytest.approx(exact, rel=1e-6)


def test_the_slope_of_the_information_stays_finite_and_points_back_where_no_noise_is_left() -> None:
    slope = information_slope(torch.tensor([0.0, 1e-9]), torch.tensor([0.0, 4.0]))
    assert torch.isfinite(slope).all()
    assert (slope < 0).all()
    assert torch.isfinite(beyond_prior_slope(torch.tensor([0.0]), torch.tensor([0.0]))).all()


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 1, 1), (3, 4, 5, 6), (3, 1, 4, 5, 6)])
def test_values_are_laid_out_like_features_and_stay_what_they_are(shape: tuple[int, ...]) -> None:
    values = torch.randn(shape)
    features = torch.randn(2, 4, 5, 6).contiguous(memory_format=torch.channels_last)
    laid_out = laid_out_like(features, values)
    assert torch.equal(laid_out, values)
    if shape[-3:] == (4, 5, 6):
        assert laid_out.stride()[-3:] == features.stride()[-3:]
    assert laid_out_like(features.contiguous(), values) is values


def test_distance_is_in_standard_deviations_of_what_is_active() -> None:
    noise = NoiseModel(torch.tensor([1.0, 0.0]), torch.tensor([2.0, 1.0]), torch.tensor([1.0, 0.0]))
    assert noise.distance(torch.tensor([[5.0, 9.0], [1.0, -9.0]])).tolist() == [2.0, 0.0]
    shared = NoiseModel(torch.zeros(3, 1), torch.ones(3, 1), torch.tensor([[1.0], [1.0], [0.0]]))
    assert shared.distance(torch.full((1, 3, 4), -3.0)).tolist() == [3.0]
