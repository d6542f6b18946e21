from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bitlens.bottlenecks.input.prior import Generator, feature_map, feature_matching
from bitlens.errors import FitError, LayerError
from networks import noise_images
from stages import distance, first_stage


def test_masked_inputs_are_mixed_as_the_mask_says() -> None:
    images, logits = noise_images(2), torch.linspace(-6, 6, 16).expand(2, 1, 16, 16)
    standard = torch.randn(5, 1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    masked = Generator(images, logits).masked(standard)
    passed = torch.sigmoid(logits)
    torch.testing.assert_close(masked, passed * images + (1 - passed) * standard)
    full, none = (Generator(images, torch.full((1, 1, 1, 1), value)).masked(standard) for value in (100.0, -200.0))
    assert torch.equal(full, images.expand(5, -1, -1, -1, -1))
    assert torch.equal(none, standard.expand(-1, 2, -1, -1, -1))


def test_the_generator_has_a_mask_for_every_value_and_noise_for_every_channel() -> None:
    shapes = [tuple(p.shape) for p in Generator(noise_images(2), torch.zeros(2, 1, 16, 16)).parameters]
    assert shapes == [(2, 3, 16, 16), (2, 3, 1, 1), (2, 3, 1, 1)]


def test_samples_of_z_have_its_mean_and_spread() -> None:
    stage = first_stage(1)
    drawn = stage.targets(torch.randn(20_000, 1, *stage.features.shape[1:], generator=torch.Generator().manual_seed(2)))
    spread = (stage.u * stage.noise.std)[0]
    wanted = torch.lerp(stage.features, stage.noise.mean.expand_as(stage.features), stage.u)[0]
    assert bool(((drawn[:, 0].mean(0) - wanted).abs() < 5 * spread / 20_000**0.5 + 1e-6).all())
    torch.testing.assert_close(drawn[:, 0].std(0), spread, rtol=0.05, atol=1e-6)


def test_one_sample_of_a_stage_is_that_sample() -> None:
    stage, rows = first_stage(3), []
    watched = replace(stage, reach=lambda variants, of: rows.append(of.tolist()) or stage.reach(variants, of))
    one = watched.only(2)
    assert len(one) == 1
    assert torch.equal(one.images[0], stage.images[2])
    assert torch.equal(one.maps[0], stage.maps[2])
    one.features_of(torch.zeros(4, 1, 3, 16, 16))
    assert rows == [[2, 2, 2, 2]]


def test_the_feature_map_is_the_prior_that_the_released_code_starts_from() -> None:
    stage = first_stage()
    prior = torch.sigmoid(feature_map(stage))
    assert torch.equal(prior, torch.sigmoid(stage.maps))
    assert float(prior.min()) >= 0.5


@pytest.mark.parametrize("seed", range(3))
def test_feature_matching_brings_the_features_nearer_to_z(seed: int) -> None:
    stage = first_stage(3, seed=seed)
    start = distance(stage, feature_map(stage))
    assert distance(stage, feature_matching(stage, steps=40, pairs=4)) < 0.8 * start


def test_feature_matching_takes_each_sample_by_itself() -> None:
    stage = first_stage(3)
    together = feature_matching(stage, steps=3)
    alone = torch.cat([feature_matching(stage.only(i), steps=3) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_features_that_are_not_finite_are_refused() -> None:
    stage = first_stage(1)
    broken = replace(stage, reach=lambda variants, rows: stage.reach(variants, rows) * torch.nan)
    with pytest.raises(FitError, match="not finite under noise"):
        feature_matching(broken, steps=1)


def test_features_without_a_gradient_are_refused() -> None:
    stage = first_stage(1)

    def detached(variants: Tensor, rows: Tensor) -> Tensor:
        return stage.reach(variants, rows).detach()

    with pytest.raises(LayerError, match="no gradient with respect to the input"):
        feature_matching(replace(stage, reach=detached), steps=1)
