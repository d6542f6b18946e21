"""Sensitivity-n: linear networks, SciPy's correlation, exact occlusion, and what is not defined."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from torch import nn

from bitlens.core.targets import Score
from bitlens.errors import InputError, SettingError
from bitlens.metrics import SensitivityN, sensitivity_n
from bitlens.metrics.sensitivity_n import random_sets, set_sizes
from networks import noise_images, quadrant_images, quadrant_net, small_net


def test_the_sizes_of_the_specification():
    assert set_sizes(784) == [1, 2, 4, 6, 9, 13, 20, 31, 48, 73, 113, 173, 266, 408, 627]
    assert set_sizes(256) == [1, 2, 3, 4, 6, 8, 12, 17, 24, 35, 50, 71, 101, 144, 205]
    pixels = [1, 2, 4, 8, 17, 34, 69, 141, 285, 578, 1172, 2377, 4818, 9767, 19801, 40141]
    assert set_sizes(224 * 224) == pixels
    theirs = set_sizes(224 * 224, "input-iba")
    assert (len(theirs), theirs[0], theirs[-1]) == (42, 1, 31622)
    assert theirs == sorted({int(10 ** (4.5 * i / 44)) for i in range(45)})
    assert set_sizes(10, [5, 2, 5]) == [2, 5]
    for wrong in ([0, 1], [11], []):
        with pytest.raises(SettingError, match="from 1 to 10"):
            set_sizes(10, wrong)


def test_sets_are_random_and_come_from_the_seed():
    sets = random_sets(50, 20, 400, seed=1)
    assert sets.sum(1).eq(20).all()
    assert len({tuple(s) for s in sets.tolist()}) == 400
    often = sets.double().mean(0)
    assert (often - 0.4).abs().max() < 4 * (0.4 * 0.6 / 400) ** 0.5
    assert torch.equal(sets, random_sets(50, 20, 400, seed=1))
    assert not torch.equal(sets, random_sets(50, 20, 400, seed=2))
    again = random_sets(50, 20, 400, seed=1, draw="with").sum(1)
    expected = 50 * (1 - 0.98**20)
    assert again.max() <= 20
    assert again.double().mean().item() == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize(("small", "large"), [(5, 20), (20, 21), (10, 30)])
def test_sets_of_different_sizes_have_nothing_to_do_with_each_other(small, large):
    """Their overlap is hypergeometric: where sizes shared a stream, smaller sets would lie within larger ones."""
    count = 400
    overlap = (random_sets(50, small, count, seed=1) & random_sets(50, large, count, seed=1)).sum(1).double()
    mean = small * large / 50
    spread = (mean * (1 - small / 50) * (50 - large) / 49) ** 0.5
    assert abs(overlap.mean() - mean) < 4 * spread / count**0.5
    assert overlap.std().item() == pytest.approx(spread, rel=0.25)


def test_the_first_sets_of_different_sizes_share_no_draws():
    """Drawn with replacement from one stream, the smaller set would be the beginning of the larger one, whatever the seed."""

    def first(size, seed):
        return random_sets(50, size, 1, seed, draw="with")[0]

    within = [bool((first(5, seed) <= first(20, seed)).all()) for seed in range(40)]
    assert sum(within) < 5  # a share of about 0.33 ** 5 by chance


@pytest.mark.parametrize("tile", [1, 4, 5])
def test_exact_relevance_of_a_linear_network_correlates_fully(tile):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4)).eval()
    images = noise_images(3)
    maps = (images * model[1].weight[2].view(3, 16, 16)).sum(1).detach()
    right = sensitivity_n(model, images, 2, maps, tile, sets=20)
    torch.testing.assert_close(right.correlations(), torch.ones_like(right.correlations()), atol=1e-4, rtol=0)
    wrong = sensitivity_n(model, images, 2, -maps, tile, sets=20)
    assert wrong.score().value == pytest.approx(-1, abs=1e-4)
    torch.testing.assert_close(right.attributed, right.dropped.double(), atol=1e-4, rtol=0)


def test_against_a_plain_loop_and_scipy():
    model, images, maps = small_net(), noise_images(2), torch.randn(2, 16, 16)
    result = sensitivity_n(model, images, [1, 3], maps, 4, sizes=[1, 6], sets=12, seed=5)
    for point, size in enumerate([1, 6]):
        sets = random_sets(16, size, 12, seed=5).view(12, 4, 4).repeat_interleave(4, 1).repeat_interleave(4, 2)
        for sample, label in enumerate([1, 3]):
            whole = model(images[sample : sample + 1])[0, label].item()
            sums = [maps[sample][chosen].sum().item() for chosen in sets]
            drops = [whole - model(images[sample : sample + 1] * ~chosen)[0, label].item() for chosen in sets]
            np.testing.assert_allclose(result.attributed[sample, point].numpy(), sums, atol=1e-4)
            np.testing.assert_allclose(result.dropped[sample, point].numpy(), drops, atol=1e-5)
            expected = pearsonr(sums, drops).statistic
            assert result.correlations()[sample, point].item() == pytest.approx(expected, abs=1e-3)


def test_pooled_is_one_correlation_over_everything():
    result = sensitivity_n(small_net(), noise_images(3), 0, torch.randn(3, 16, 16), 4, sizes=[2, 3], sets=9)
    for point, got in enumerate(result.pooled().tolist()):
        sums, drops = result.attributed[:, point].flatten(), result.dropped[:, point].flatten()
        assert got == pytest.approx(pearsonr(sums.numpy(), drops.numpy()).statistic, abs=1e-6)


def test_exact_occlusion_is_near_one_for_single_tiles():
    model, (images, classes) = quadrant_net(), quadrant_images(8, seed=3)
    maps = torch.zeros(8, 16, 16)
    with torch.no_grad():
        whole = model(images).gather(1, classes[:, None])[:, 0]
        for y in range(0, 16, 4):
            for x in range(0, 16, 4):
                hidden = images.clone()
                hidden[:, :, y : y + 4, x : x + 4] = 0
                left = model(hidden).gather(1, classes[:, None])[:, 0]
                maps[:, y : y + 4, x : x + 4] = (whole - left)[:, None, None]
    means = [estimate.value for estimate in sensitivity_n(model, images, classes, maps, 4).curve()]
    assert means[0] > 0.9999
    assert min(means) > 0
    random = sensitivity_n(model, images, classes, torch.randn(8, 16, 16), 4)
    assert abs(random.score().value) < 3 * random.score().standard_error


def test_what_is_not_defined_is_left_out():
    model, images = small_net(), noise_images(3)
    maps = torch.randn(3, 16, 16)
    maps[1] = 0.1
    result = sensitivity_n(model, images, 0, maps, 4, sizes=[1, 4, 16], sets=10)
    undefined = result.correlations().isnan()
    assert undefined[1].all()
    assert undefined[:, 2].all()  # all tiles: there is one such set only
    assert not undefined[[0, 2], :2].any()
    assert result.score().count == 2
    assert [estimate.count for estimate in result.curve()] == [2, 2, 0]
    blind = sensitivity_n(model, images, Score(lambda output: output[:, 0] * 0 + 3), maps, 4, sizes=[2], sets=5)
    assert blind.correlations().isnan().all()


def test_what_differs_by_rounding_alone_is_not_correlated():
    scores, signal = torch.tensor([5.0]), torch.rand(1, 1, 30)
    other = torch.rand(1, 1, 30)

    def correlation(attributed, dropped):
        return SensitivityN(torch.tensor([3]), attributed, dropped, scores).correlations().item()

    expected = pearsonr(signal.flatten().numpy(), other.flatten().numpy()).statistic
    assert correlation(signal, other) == pytest.approx(expected, abs=1e-6)
    assert correlation(1e-6 * signal, 1e-3 * other) == pytest.approx(expected, abs=1e-6)  # small, and real
    assert np.isnan(correlation(signal, 1e-7 * other))  # of scores of 5 in float32
    assert np.isnan(correlation(3 + 1e-10 * signal.double(), other))
    assert correlation(3 + 1e-6 * signal.double(), other) == pytest.approx(expected, abs=1e-6)


def test_parts_are_joined_and_others_refused():
    model, images, maps = small_net(), noise_images(3), torch.randn(3, 16, 16)
    whole = sensitivity_n(model, images, 0, maps, 4, sizes=[1, 2], sets=5)
    parts = [sensitivity_n(model, images[a:b], 0, maps[a:b], 4, sizes=[1, 2], sets=5) for a, b in ((0, 1), (1, 3))]
    torch.testing.assert_close(SensitivityN.join(parts).correlations(), whole.correlations(), atol=1e-4, rtol=0)
    with pytest.raises(InputError, match="joined"):
        SensitivityN.join([whole, sensitivity_n(model, images, 0, maps, 4, sizes=[1, 3], sets=5)])
    with pytest.raises(InputError, match="attributed and dropped"):
        SensitivityN(whole.sizes, whole.attributed, whole.dropped[:, :1], whole.scores)
    with pytest.raises(SettingError, match="sets"):
        sensitivity_n(model, images, 0, maps, 4, sets=1)
    with pytest.raises(SettingError, match="draw"):
        sensitivity_n(model, images, 0, maps, 4, draw="some")
    with pytest.raises(SettingError, match="sizes"):
        sensitivity_n(model, images, 0, maps, 4, sizes="other")
