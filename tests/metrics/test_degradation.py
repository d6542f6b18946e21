"""Degradation: closed forms, a plain loop, Quantus, and that random maps score nothing."""

import csv
import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bitlens.core.targets import Score
from bitlens.errors import InputError
from bitlens.metrics import Degradation, degradation
from bitlens.metrics.degradation import tile_counts
from bitlens.models.builtin.scenes import preprocess, scenes
from bitlens.probe import Network
from drawn_scenes import drawn_scenes
from host_reads import HostReads
from networks import noise_images, small_net

FLOAT32 = {"precision": "float32"}


def test_the_counts_of_the_specification():
    assert tile_counts(784, schedule="released")[:5] == [0, 1, 9, 17, 25]
    assert tile_counts(256, schedule="released")[:5] == [0, 1, 4, 6, 9]
    for tiles, share in ((784, 0.991), (256, 0.992)):
        released, full = tile_counts(tiles, schedule="released"), tile_counts(tiles)
        assert (len(released), released[-1], round(released[-2] / tiles, 3)) == (101, tiles, share)
        assert (len(full), full[0], full[-1]) == (100, 0, tiles)
        assert full == [round(j * tiles / 99) for j in range(100)]
    assert tile_counts(4, 100) == [0, 1, 2, 3, 4]


def weighted(weights):
    """A target that is a weighted sum of pixels, of a network that changes nothing."""
    return nn.Identity().eval(), Score(lambda images: (images * weights).sum((1, 2, 3)))


@pytest.mark.parametrize("schedule", ["full", "released"])
def test_a_sum_of_tiles_loses_what_each_tile_adds(schedule):
    worth = torch.rand(1, 1, 3, 4) + 0.1
    weights = worth.repeat_interleave(4, 2).repeat_interleave(4, 3)
    model, target = weighted(weights)
    images = torch.ones(1, 1, 12, 16)
    result = degradation(
        model, images, target, weights[0], 4, points=13, schedule=schedule, replacement="zero", **FLOAT32
    )
    parts = np.sort(16 * worth.flatten().double().numpy())
    morf = parts.sum() - np.concatenate([[0], parts[::-1].cumsum()])
    lerf = parts.sum() - np.concatenate([[0], parts.cumsum()])
    np.testing.assert_allclose(result.morf[0].numpy(), morf, atol=1e-4)
    np.testing.assert_allclose(result.lerf[0].numpy(), lerf, atol=1e-4)
    np.testing.assert_allclose(result.removed.numpy(), np.arange(13) / 12)
    area = np.trapezoid(lerf - morf, dx=1 / 12) if hasattr(np, "trapezoid") else np.trapz(lerf - morf, dx=1 / 12)
    assert result.areas()[0].item() == pytest.approx(area, rel=1e-5)
    assert result.areas("mean")[0].item() == pytest.approx((lerf - morf)[:-1].mean(), rel=1e-5)
    assert result.score().value == pytest.approx(area / parts.sum(), rel=1e-5)


def test_against_a_plain_loop():
    model, images, maps = small_net(), noise_images(2, size=(12, 16)), torch.randn(2, 12, 16)
    result = degradation(model, images, [1, 2], maps, 4, points=6, **FLOAT32)
    for sample, label in enumerate([1, 2]):
        places = [(y, x) for y in range(0, 12, 4) for x in range(0, 16, 4)]
        order = sorted(places, key=lambda p: -maps[sample, p[0] : p[0] + 4, p[1] : p[1] + 4].mean().item())
        for curve, tiles in ((result.morf, order), (result.lerf, order[::-1])):
            for point, count in enumerate(tile_counts(12, 6)):
                changed = images[sample : sample + 1].clone()
                for y, x in tiles[:count]:
                    changed[0, :, y : y + 4, x : x + 4] = images[sample].mean((1, 2))[:, None, None]
                expected = model(changed).softmax(1)[0, label].item()
                assert curve[sample, point].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("patch", [4, 8])
def test_against_quantus(patch):
    quantus = pytest.importorskip("quantus")
    model, images, maps = small_net(), noise_images(4), torch.randn(4, 16, 16)
    labels, tiles = np.array([0, 1, 2, 3]), (16 // patch) ** 2
    result = degradation(
        model, images, labels.tolist(), maps, patch, points=tiles + 1, replacement="zero", precision="float32"
    )
    for order, curve in (("morf", result.morf), ("lerf", result.lerf)):
        metric = quantus.RegionPerturbation(
            patch_size=patch,
            regions_evaluation=tiles,
            order=order,
            perturb_baseline=0.0,
            normalise=False,
            abs=False,
            disable_warnings=True,
        )
        drops = metric(model, images.numpy(), labels, maps[:, None].numpy(), softmax=True, channel_first=True)
        np.testing.assert_allclose((curve[:, :1] - curve[:, 1:]).numpy(), np.array(drops), atol=1e-5)


def made_up(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    morf, lerf = torch.rand(2, count, 5, generator=generator).double()
    lerf[:, [0, -1]] = morf[:, [0, -1]] = torch.rand(count, 2, generator=generator).double() * 0.3 + torch.tensor(
        [0.7, 0]
    )
    return Degradation(torch.linspace(0, 1, 5).double(), morf, lerf)


def test_equation_9_over_the_set():
    result = made_up(7)
    top, bottom = result.morf[:, 0].mean(), result.morf[:, -1].mean()
    normalised = [(curve.mean(0) - bottom) / (top - bottom) for curve in (result.morf, result.lerf)]
    for got, expected in zip(result.curves(), normalised, strict=True):
        torch.testing.assert_close(got, expected)
        assert got[0] == 1
        assert got[-1] == 0
    expected = torch.trapezoid(normalised[1] - normalised[0], dx=0.25).item()
    assert result.score().value == pytest.approx(expected)
    assert result.score(normalise="none").value == pytest.approx(expected * (top - bottom).item())


def test_the_standard_error_agrees_with_the_jackknife():
    result = made_up(200)
    without = []
    for i in range(200):
        keep = torch.arange(200) != i
        without.append(Degradation(result.removed, result.morf[keep], result.lerf[keep]).score().value)
    jackknife = np.sqrt(199 / 200 * ((np.array(without) - np.mean(without)) ** 2).sum())
    assert result.score().standard_error == pytest.approx(jackknife, rel=0.02)


def test_samples_that_agree_on_the_ratio_leave_no_doubt_of_it():
    """Their areas differ only because their drops do: the score, a ratio, is the same whichever samples are drawn."""
    removed = torch.linspace(0, 1, 5).double()
    drop = torch.tensor([0.9, 0.2, 0.5, 0.7]).double()[:, None]
    result = Degradation(removed, drop * (1 - removed) ** 3, drop * (1 - removed**3))
    score = result.score()
    assert score.value == pytest.approx(result.areas()[0].item() / 0.9)
    assert score.standard_error < 1e-12
    assert result.score(normalise="none").standard_error > 0.01


def test_parts_are_joined_and_others_refused():
    whole = made_up(7)
    parts = [Degradation(whole.removed, whole.morf[a:b], whole.lerf[a:b]) for a, b in ((0, 3), (3, 7))]
    assert Degradation.join(parts).score() == whole.score()
    with pytest.raises(InputError, match="joined"):
        Degradation.join([whole, Degradation(whole.removed / 2, whole.morf, whole.lerf)])
    with pytest.raises(InputError, match="joined"):
        Degradation.join([])
    with pytest.raises(InputError, match=r"\(N, points\)"):
        Degradation(whole.removed, whole.morf, whole.lerf[:, :2])


@pytest.fixture(scope="module")
def pictures():
    drawn = drawn_scenes("test", 24)
    images = torch.stack([preprocess(Image.fromarray(s.image)) for s in drawn])
    masks = torch.stack([torch.from_numpy(s.mask) for s in drawn]).float()
    return scenes()[0], images, [s.label for s in drawn], masks


def test_random_maps_score_nothing_and_the_object_much(pictures):
    model, images, labels, masks = pictures
    scores = []
    for seed in range(4):
        maps = torch.rand(masks.shape, generator=torch.Generator().manual_seed(seed))
        scores.append(degradation(model, images, labels, maps, 8, points=12).score())
    for score in scores:
        assert abs(score.value) < 2 * score.standard_error
    exact = degradation(model, images, labels, masks, 8, points=12)
    assert exact.score().value > 0.3
    inverted = degradation(model, images, labels, -masks, 8, points=12)
    assert inverted.score().value < -0.3


def test_constant_maps_score_exactly_nothing(pictures):
    model, images, labels, masks = pictures
    result = degradation(model, images[:4], labels[:4], torch.full_like(masks[:4], 0.1), 14, points=6)
    assert torch.equal(result.morf, result.lerf)
    assert result.score().value == 0


def test_the_unit_of_a_map_does_not_matter(pictures):
    model, images, labels, masks = pictures
    maps = masks[:4] + torch.rand(4, 96, 96) / 100
    one, other = (degradation(model, images[:4], labels[:4], m, 8, points=6) for m in (maps, maps / 1024))
    torch.testing.assert_close(one.morf, other.morf)


@pytest.mark.slow
def test_photos_in_lower_precision_and_with_fewer_points(data_folder):
    place = importlib.util.spec_from_file_location("zoo", data_folder / "zoo.py")
    zoo = importlib.util.module_from_spec(place)
    place.loader.exec_module(zoo)
    model, prepare = zoo.mobilenet_edgetpu()
    rows = list(csv.DictReader((data_folder / "imagenet" / "val.csv").open()))[:8]
    images = torch.stack([prepare(Image.open(data_folder / "imagenet" / row["file"])) for row in rows])
    labels = [int(row["label"]) for row in rows]
    middle = torch.linspace(-1, 1, 224).square()
    maps = -(middle[:, None] + middle).expand(8, -1, -1)  # photographers put the object into the middle
    low = degradation(model, images, labels, maps, 14, points=34, precision="bfloat16")
    exact = degradation(model, images, labels, maps, 14, points=34, precision="float32").score()
    assert exact.value > exact.standard_error
    assert abs(low.score().value - exact.value) < 0.2 * exact.standard_error
    few = Degradation(low.removed[::3], low.morf[:, ::3], low.lerf[:, ::3]).score()
    assert abs(few.value - exact.value) < 0.5 * exact.standard_error
    random = degradation(model, images, labels, torch.rand(8, 224, 224), 14, points=12).score()
    assert abs(random.value) < 2 * random.standard_error


def test_the_host_waits_no_more_often_for_more_points():
    images, maps, counts = noise_images(2), torch.rand(2, 16, 16), []
    network = Network(small_net())
    for points in (4, 4, 16):  # the first call learns about the network
        with HostReads() as reads:
            degradation(network, images, 1, maps, 2, points=points)
        counts.append(reads.count)
    assert counts[1] == counts[2] < counts[0]
