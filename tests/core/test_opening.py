"""What opening adds: closed forms of linear, quadratic and multiplicative networks, and the sum of all."""

import math

import pytest
import torch
from torch import Tensor

from bitlens.core.family import MaskFamily, Region
from bitlens.core.gaussian import NoiseModel
from bitlens.core.layout import LAYOUTS
from bitlens.core.opening import gains
from bitlens.core.targets import Score

FEATURES = torch.tensor([[[2.0, -1.0], [0.5, 3.0], [1.0, 1.0]]])
MEAN, STD = torch.tensor([0.5, -0.25]), torch.tensor([0.3, 0.7])


def found(network, levels: int = 1, copies: int = 2, region: Region | None = None) -> Tensor:
    noise = NoiseModel(MEAN, STD, torch.ones(2))
    masks = MaskFamily.of(FEATURES, noise, LAYOUTS["TD"], region or Region(), 0.0)
    return gains(network, Score(lambda output: output), masks, levels=levels, copies=copies)


def test_of_a_linear_network_each_feature_adds_its_weight_times_its_distance_from_the_noise():
    weights = torch.tensor([[1.0, -2.0], [0.0, 0.5], [3.0, 1.0]])
    got = found(lambda z: (z * weights).sum((1, 2)))
    torch.testing.assert_close(got[0], weights * (FEATURES[0] - MEAN))


def test_of_squares_each_feature_adds_the_difference_of_its_square():
    got = found(lambda z: z.square().sum((1, 2)), levels=20, copies=2000)
    expected = FEATURES[0].square() - MEAN.square() - STD.square()
    torch.testing.assert_close(got[0], expected, rtol=0.02, atol=0.02)


def test_two_factors_share_what_their_product_adds():
    got = found(lambda z: z[:, 0, 0] * z[:, 1, 1], levels=50, copies=2000)[0]
    a, b = FEATURES[0, 0, 0], FEATURES[0, 1, 1]
    half = (a - MEAN[0]) * (b - MEAN[1]) / 2
    torch.testing.assert_close(got[0, 0], half + (a - MEAN[0]) * MEAN[1], rtol=0.02, atol=0.02)
    torch.testing.assert_close(got[1, 1], half + (b - MEAN[1]) * MEAN[0], rtol=0.02, atol=0.02)


def test_they_sum_to_what_the_answer_gains_over_noise_and_what_is_not_restricted_adds_nothing():
    region = Region(restricted=torch.tensor([1.0, 1.0, 0.0])[None, :, None])

    def network(z: Tensor) -> Tensor:
        return torch.tanh(z).sum((1, 2)).square() - z[:, 2, 0] * z[:, 0, 1]

    got = found(network, levels=40, copies=2000, region=region)
    noise = MEAN + STD * torch.randn(200_000, 3, 2, generator=torch.Generator().manual_seed(1))
    noise[:, 2] = FEATURES[0, 2]
    under = network(noise)
    error = float(under.std()) / math.sqrt(len(under))
    assert float(got.sum()) == pytest.approx(float(network(FEATURES) - under.mean()), abs=0.03 + 4 * error)
    assert not got[0, 2].any()


def test_it_does_not_matter_how_many_rows_go_through_at_once():
    def network(z: Tensor) -> Tensor:
        return torch.tanh(z).sum((1, 2)).square()

    masks = MaskFamily.of(FEATURES, NoiseModel(MEAN, STD, torch.ones(2)), LAYOUTS["TD"], Region(), 0.0)
    one, all_ = (gains(network, Score(lambda output: output), masks, levels=5, copies=2, rows=rows) for rows in (1, 64))
    torch.testing.assert_close(one, all_)
