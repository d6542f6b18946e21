"""Kept share per bit: a layer of which the answer is known, planted truth, and what is refused."""

import math

import pytest
import torch
from torch import nn

from bitlens.bottlenecks.per_sample import IBA
from bitlens.core.targets import Score
from bitlens.errors import InputError, SettingError
from bitlens.metrics import KeptPerBit, kept_per_bit
from networks import noise_images, quadrant_iba, quadrant_images


def maps_of(classes, inside):
    maps = torch.full((len(classes), 16, 16), 1.0 - inside)
    for one, quadrant in zip(maps, classes.tolist(), strict=True):
        one[8 * (quadrant // 2) : 8 * (quadrant // 2) + 8, 8 * (quadrant % 2) : 8 * (quadrant % 2) + 8] = inside
    return maps + torch.rand(maps.shape, generator=torch.Generator().manual_seed(0)) * 1e-3


def test_the_area_of_known_curves():
    bits = torch.tensor([[0.0, 1.0, 1000.0]])
    assert KeptPerBit(bits, torch.tensor([[0.0, 0.0, 1.0]])).areas().tolist() == pytest.approx([0.5])
    assert KeptPerBit(bits, torch.tensor([[1.2, 1.0, 1.0]])).areas().tolist() == pytest.approx([1])
    ten = KeptPerBit(torch.tensor([[0.0, 10.0, 10.0, 1000.0]]), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
    assert ten.areas().tolist() == pytest.approx([2 / 3])
    assert ten.score().count == 1


def test_bits_are_those_of_open_places():
    """λ = 0.9 at k of the places costs, at each feature there, -ln u + (u² + λ²r² - 1)/2 nats."""
    iba = quadrant_iba(noise_samples=2)
    images, classes = quadrant_images(2)
    found = kept_per_bit(iba, images, classes, maps_of(classes, 1.0), points=4)
    features = iba.probe.features(images)
    noise = iba.statistics.noise(iba.noise, tuple(features.shape[1:]))
    nats = (-math.log(0.1) + (0.01 + 0.81 * noise.squared_score(features) - 1) / 2) * noise.active
    torch.testing.assert_close(found.bits[:, -1], nats.flatten(1).sum(1) / math.log(2), rtol=1e-5, atol=0)
    assert found.bits[:, 0].tolist() == [0, 0]
    assert (found.bits.diff(dim=1) > 0).all()


def test_the_object_comes_before_chance_before_the_rest():
    images, classes = quadrant_images(8)
    iba = quadrant_iba()
    order = [
        kept_per_bit(iba, images, classes, maps).score().value
        for maps in (maps_of(classes, 1.0), torch.rand(8, 16, 16), maps_of(classes, 0.0))
    ]
    assert order[0] > order[1] + 0.1 > order[2] + 0.2


def test_nothing_needed_has_no_share():
    iba = quadrant_iba()
    found = kept_per_bit(iba, noise_images(1), Score(lambda output: output[:, 0] * 0 + 1), torch.rand(1, 16, 16))
    assert found.areas().isnan().all()


def test_refusals():
    iba = quadrant_iba()
    images = noise_images(2)
    with pytest.raises(InputError, match="one for each of the 2"):
        kept_per_bit(iba, images, 0, torch.rand(1, 16, 16))
    with pytest.raises(InputError, match="choose a layer with a grid"):
        kept_per_bit(iba, images, 0, torch.rand(2, 16))
    for settings in ({"points": 2}, {"noise_samples": 1}, {"passed": 1.0}):
        with pytest.raises(SettingError, match=next(iter(settings))):
            kept_per_bit(iba, images, 0, torch.rand(2, 16, 16), **settings)
    flat = IBA(nn.Sequential(nn.Flatten(), nn.Linear(768, 8), nn.ReLU(), nn.Linear(8, 3)).eval(), "1")
    with pytest.raises(InputError, match="grid"):
        kept_per_bit(flat, images, 0, torch.rand(2, 16, 16))
