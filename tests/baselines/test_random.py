"""The random order of pixels."""

import torch

from bitlens.baselines.random import Random
from networks import noise_images, small_net


def test_every_value_occurs_once() -> None:
    maps = Random(small_net()).explain(noise_images(3, size=(16, 12))).map
    expected = torch.linspace(-1, 1, 16 * 12)
    for values in maps:
        assert torch.equal(values.flatten().sort().values, expected)


def test_order_follows_from_image_and_seed() -> None:
    images = noise_images(3)
    images[2] = images[0]
    first = Random(small_net()).explain(images).map
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first[0], first[1])
    assert torch.equal(Random(small_net(classes=7)).explain(images.flip(0), 2).map, first.flip(0))
    assert not torch.equal(Random(small_net(), seed=1).explain(images).map, first)


def test_orders_know_nothing() -> None:
    """Of the image, of each other, of the place: correlations as they are between independent orders of 256 pixels."""
    images = noise_images(400, channels=1)
    maps = Random(small_net(1)).explain(images).map.flatten(1)
    rows = torch.arange(256.0).expand(400, 256)
    for others in (images.flatten(1), maps.roll(1, 0), rows):
        pairs = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(maps, others, strict=True)])
        assert abs(float(pairs.mean())) < 4 / (400 * 255) ** 0.5
        assert 0.85 < float(pairs.std()) * 255**0.5 < 1.15
