"""Structural similarity: against its formula, closed cases, and what clipping and scaling must not change."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from bitlens.errors import InputError, SettingError
from bitlens.metrics import ssim


def formula(first, second):
    """Wang et al. with uniform 5 x 5 windows and sample covariance, where the window fits, for values in [0, 1]."""

    def mean(values):
        return ndimage.uniform_filter(values, 5)

    a, b = mean(first), mean(second)
    unbiased = 25 / 24
    var_a, var_b = (unbiased * (mean(x * x) - mean(x) ** 2) for x in (first, second))
    both = unbiased * (mean(first * second) - a * b)
    c1, c2 = 0.01**2, 0.03**2
    whole = (2 * a * b + c1) * (2 * both + c2) / ((a * a + b * b + c1) * (var_a + var_b + c2))
    return whole[2:-2, 2:-2].mean()


@pytest.mark.parametrize("percentiles", [(1.0, 99.0), (0, 100)])
def test_against_the_formula(percentiles):
    maps = torch.randn(4, 30, 41).cumsum(2)
    others = maps + 2 * torch.randn(4, 30, 41)
    for a, b, got in zip(maps, others, ssim(maps, others, percentiles=percentiles), strict=True):
        scaled = []
        for values in (a.double().numpy(), b.double().numpy()):
            low, high = np.percentile(values, percentiles)
            scaled.append((values.clip(low, high) - low) / (high - low))
        assert got.item() == pytest.approx(formula(*scaled), abs=1e-12)


def test_equal_maps_are_alike_whatever_their_scale_and_outliers():
    maps = torch.rand(3, 40, 40)
    assert torch.allclose(ssim(maps, 1e-9 * maps - 4e-9), torch.ones(3).double(), atol=1e-3)
    spiked = maps.clone()
    spiked[:, 7, 7] = 1e6
    assert bool((ssim(maps, spiked) > 0.99).all())
    assert bool((ssim(maps, spiked, percentiles=(0, 100)) < 0.1).all())


def test_the_negative_of_a_map_is_unlike_it_unless_its_sign_does_not_matter():
    maps = torch.rand(3, 40, 40)
    assert bool((ssim(maps, -maps) < -0.5).all())
    assert torch.allclose(ssim(maps, -maps, either_sign=True), torch.ones(3).double())
    others = torch.rand(3, 40, 40)
    assert torch.equal(ssim(maps, others, either_sign=True), torch.maximum(ssim(maps, others), ssim(maps, -others)))


def test_unrelated_maps_are_unlike_and_flat_ones_carry_nothing():
    generator = torch.Generator().manual_seed(0)
    maps, others = torch.rand(2, 200, 32, 32, generator=generator)
    scores = ssim(maps, others)
    assert abs(scores.mean()) < 0.02
    flat = torch.full((1, 32, 32), 3.0)
    assert ssim(flat, 5 * flat).item() == 1.0
    assert ssim(flat, maps[:1]).item() < 0.02


def test_what_cannot_be_compared_is_refused():
    maps = torch.rand(2, 10, 10)
    for others, message in ((maps[:1], "one shape"), (maps * torch.nan, "NaN")):
        with pytest.raises(InputError, match=message):
            ssim(maps, others)
    with pytest.raises(InputError, match="smaller than the window"):
        ssim(maps[:, :4], maps[:, :4])
    for settings in ({"window": 4}, {"window": 1}, {"percentiles": (50, 50)}, {"percentiles": (1, 101)}):
        with pytest.raises(SettingError):
            ssim(maps, maps, **settings)
