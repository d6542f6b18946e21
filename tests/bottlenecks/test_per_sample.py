import math

import pytest
import torch
from torch import Tensor

from bitlens.core.attribution import Attribution
from bitlens.core.gaussian import NoiseModel, noised_features
from networks import (
    LAYER,
    quadrant_iba,
    quadrant_images,
    quadrant_net,
)

IMAGES, CLASSES = quadrant_images(6, seed=21)


def _close(got: Attribution, expected: Attribution, tolerance: float = 1e-5) -> None:
    assert got.map.shape == expected.map.shape
    assert ((got.map - expected.map).abs().max() / expected.map.abs().max()).item() <= tolerance


# what a map says -----------------------------------------------------------------------------------------------------


def test_information_lies_where_the_class_is() -> None:
    maps = quadrant_iba().explain(IMAGES, CLASSES).map
    for one, quadrant in zip(maps, CLASSES.tolist(), strict=True):
        sums = [float(part.sum()) for half in one.chunk(2, 0) for part in half.chunk(2, 1)]
        assert sums[quadrant] == max(sums)


def test_attribution_says_all_about_itself() -> None:
    result = quadrant_iba(beta=3.0, seed=4).explain(IMAGES, CLASSES, keep_capacity=True)
    assert (result.map.shape, result.map.dtype, result.map.device.type) == ((6, 16, 16), torch.float32, "cpu")
    assert (result.unit, result.method, result.model, result.layer) == ("bits/pixel", "iba", "Sequential", LAYER)
    assert result.targets == tuple(str(int(c)) for c in CLASSES)
    assert (result.settings["beta"], result.settings["seed"], result.settings["steps"]) == (3.0, 4, 10)
    assert result.settings["statistics"] == "per element, 1000 inputs"
    assert result.total_bits is not None
    assert result.cells is not None
    assert result.capacity is not None
    assert (result.cells.shape, result.capacity.shape) == ((6, 8, 8), (6, 8, 8, 8))
    torch.testing.assert_close(result.capacity.flatten(1).sum(1), result.total_bits)
    torch.testing.assert_close(result.map.flatten(1).sum(1), result.total_bits)
    torch.testing.assert_close(result.capacity.sum(1), result.cells)
    assert bool((result.map >= 0).all())


def test_very_large_beta_lets_nothing_pass() -> None:
    strict = quadrant_iba(beta=1e6, steps=60, noise_samples=2).explain(IMAGES, CLASSES, evidence_samples=0)
    usual = quadrant_iba(steps=60, noise_samples=2).explain(IMAGES, CLASSES, evidence_samples=0)
    assert strict.total_bits is not None
    assert usual.total_bits is not None
    assert bool((strict.total_bits < 1e-2).all())
    assert bool((usual.total_bits > 20 * strict.total_bits).all())


@pytest.mark.parametrize("beta", [0.0, 1e-4])
def test_without_a_price_the_prediction_is_kept(beta: float) -> None:
    evidence = quadrant_iba(beta=beta).explain(IMAGES, CLASSES).evidence
    assert evidence is not None
    assert bool((evidence.before > 0.9).all())
    assert bool((evidence.under_noise >= 0.99 * evidence.before).all())


def test_a_higher_price_lets_less_pass() -> None:
    totals = []
    for beta in (0.1, 1.0, 10.0, 100.0):
        total = quadrant_iba(beta=beta, steps=30, noise_samples=4).explain(IMAGES, evidence_samples=0).total_bits
        assert total is not None
        totals.append(float(total.mean()))
    assert totals == sorted(totals, reverse=True)


def test_zero_information_means_the_network_does_not_see_it() -> None:
    iba = quadrant_iba()
    recording = iba.probe.record(IMAGES[:2])
    features = recording.features
    changed = features.clone()
    changed[:, :, :4] = 1e3 * torch.randn_like(changed[:, :, :4])
    u = torch.full_like(features, 0.3)
    u[:, :, :4] = 1.0
    noise = iba.statistics.noise(iba.noise).sample(torch.randn(5, 1, *features.shape[1:]))
    with recording.suffix() as run, torch.no_grad():
        original = run(noised_features(features, u, noise).flatten(0, 1))
        assert torch.equal(original, run(noised_features(changed, u, noise).flatten(0, 1)))
        seen = run(noised_features(features + 1, u, noise).flatten(0, 1))
        assert not torch.equal(original, seen)


# repeatable, and independent of the batch -----------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 3, 16, 100])
def test_internal_batch_size_changes_nothing(rows: int) -> None:
    expected = quadrant_iba().explain(IMAGES, CLASSES)
    got = quadrant_iba(internal_batch_size=rows).explain(IMAGES, CLASSES)
    _close(got, expected)
    assert got.evidence is not None
    assert expected.evidence is not None
    torch.testing.assert_close(got.evidence.under_noise, expected.evidence.under_noise, rtol=1e-5, atol=1e-6)
    assert got.targets == expected.targets


def test_samples_together_are_as_alone() -> None:
    targets = torch.tensor([0, 3, 1, 2, 2, 0])
    together = quadrant_iba(internal_batch_size=100).explain(IMAGES, targets)
    alone = [quadrant_iba().explain(IMAGES[i : i + 1], int(targets[i])) for i in range(6)]
    for i, one in enumerate(alone):
        _close(together[i], one)
        assert together[i].targets == one.targets


def test_seed_decides() -> None:
    first, again = (quadrant_iba(seed=3).explain(IMAGES, evidence_samples=4) for _ in range(2))
    assert torch.equal(first.map, again.map)
    assert first.evidence is not None
    assert again.evidence is not None
    assert torch.equal(first.evidence.under_noise, again.evidence.under_noise)
    other = quadrant_iba(seed=4).explain(IMAGES, evidence_samples=4)
    assert not torch.allclose(first.map, other.map, rtol=1e-2)


def test_random_state_of_the_user_is_untouched() -> None:
    iba = quadrant_iba()
    before = torch.get_rng_state()
    iba.explain(IMAGES)
    assert torch.equal(before, torch.get_rng_state())


def test_progress_counts_samples() -> None:
    counts: list[int] = []
    quadrant_iba(internal_batch_size=4, steps=1).explain(IMAGES[:5], progress=counts.append)
    assert counts == [2, 4, 5]


# evidence ---------------------------------------------------------------------------------------------------------


def test_evidence_before_is_the_clean_softmax() -> None:
    evidence = quadrant_iba(steps=2).explain(IMAGES, CLASSES).evidence
    assert evidence is not None
    expected = torch.softmax(quadrant_net()(IMAGES), 1)[torch.arange(6), CLASSES].detach()
    torch.testing.assert_close(evidence.before, expected)
    assert (evidence.measure, evidence.noise_samples) == ("probability", 8)


def test_evidence_agrees_with_an_independent_monte_carlo() -> None:
    iba = quadrant_iba(beta=100.0, smoothing=0)
    result = iba.explain(IMAGES, CLASSES, evidence_samples=200, keep_capacity=True)
    evidence, capacity = result.evidence, result.capacity
    assert evidence is not None
    assert capacity is not None
    model = quadrant_net()
    noise = iba.statistics.noise(iba.noise)
    features = model[:3](IMAGES)
    u = _u_from_bits(capacity, noise.squared_score(features)).float()
    epsilon = noise.mean + noise.std * torch.randn(500, *features.shape)
    z = (1 - u) * features + u * epsilon
    values = torch.softmax(model[3:](z.flatten(0, 1)), 1).reshape(500, 6, 4)[:, torch.arange(6), CLASSES].detach()
    standard_error = values.std(0) * math.sqrt(1 / 200 + 1 / 500)
    assert bool(((evidence.under_noise - values.mean(0)).abs() < 4 * standard_error + 1e-4).all())
    fourth = (values - values.mean(0)).pow(4).mean(0)
    error_of_spread = ((fourth - values.var(0) ** 2).clamp_min(0) * (1 / 200 + 1 / 500)).sqrt() / (2 * values.std(0))
    assert bool(((evidence.under_noise_std - values.std(0)).abs() < 4 * error_of_spread + 1e-3).all())


def _u_from_bits(bits: Tensor, squared_score: Tensor) -> Tensor:
    """The mask's complement that passes so much, by bisection: more u, less information."""
    nats, r2 = bits.double() * math.log(2), squared_score.double()
    low, high = torch.zeros_like(nats), torch.ones_like(nats)
    for _ in range(60):
        middle = (low + high) / 2
        passes = -middle.log() + (middle**2 + (1 - middle) ** 2 * r2 - 1) / 2
        low, high = torch.where(passes > nats, middle, low), torch.where(passes > nats, high, middle)
    return (low + high) / 2


def test_evidence_uses_noise_that_the_fit_has_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Tensor] = []
    sample = NoiseModel.sample

    def noted(self: NoiseModel, standard: Tensor) -> Tensor:
        drawn.extend(standard[:, 0].clone())
        return sample(self, standard)

    monkeypatch.setattr(NoiseModel, "sample", noted)
    quadrant_iba(steps=4, noise_samples=5).explain(IMAGES[:1], evidence_samples=7)
    assert len(drawn) >= 3 * 5 + 7 + 2  # fits, proof, floor
    assert len({tuple(noise.flatten().tolist()) for noise in drawn}) == len(drawn)


def test_evidence_can_be_left_out() -> None:
    assert quadrant_iba(steps=1).explain(IMAGES, evidence_samples=0).evidence is None


def test_evidence_of_a_score_is_a_score() -> None:
    evidence = quadrant_iba(steps=2).explain(IMAGES, lambda out: out[:, 0]).evidence
    assert evidence is not None
    assert evidence.measure == "score"
    torch.testing.assert_close(evidence.before, quadrant_net()(IMAGES)[:, 0].detach())
