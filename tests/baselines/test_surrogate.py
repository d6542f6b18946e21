from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import LimeBase, ShapleyValues
from torch import Tensor, nn

from bitlens.baselines.surrogate import LIME, KernelSHAP, grid_of_segments
from bitlens.errors import BitlensWarning, SettingError
from networks import noise_images, quadrant_images, quadrant_net, small_net

BOTH = pytest.mark.parametrize("method", [LIME, KernelSHAP])
SIZE = (12, 12)


def linear_net(seed: int = 0) -> nn.Sequential:
    """Two classes, linear in the pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE[0] * SIZE[1], 2)).eval()


def contributions(model: nn.Sequential, images: Tensor, segments: Tensor) -> Tensor:
    """What each segment adds to class 1 of a linear network, as maps (N, H, W)."""
    each = (model[1].weight[1].view(3, *SIZE) * (images - images.mean((2, 3), keepdim=True))).sum(1).detach()
    sums = torch.zeros(len(images), int(segments.max()) + 1).index_add_(1, segments.flatten(), each.flatten(1))
    return sums[:, segments]


def of_segments(maps: Tensor, segments: Tensor) -> Tensor:
    """The values (N, M) of maps that are constant in each segment."""
    first = [int((segments.flatten() == number).nonzero()[0]) for number in range(int(segments.max()) + 1)]
    values = maps.flatten(1)[:, first]
    assert torch.equal(values[:, segments], maps)
    return values


@pytest.mark.parametrize(("segments", "samples"), [(4, 100), (36, 200)])  # all coalitions, and some
def test_shapley_values_of_a_linear_network(segments: int, samples: int) -> None:
    model, images = linear_net(), noise_images(3, size=SIZE)
    ours = KernelSHAP(model, segments=segments, samples=samples).explain(images, 1).map
    expected = contributions(model, images, grid_of_segments(segments, *SIZE))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


def test_lime_without_penalty_of_a_linear_network() -> None:
    model, images = linear_net(), noise_images(3, size=SIZE)
    expected = contributions(model, images, grid_of_segments(36, *SIZE))
    exact = LIME(model, segments=36, samples=200, ridge=0.0).explain(images, 1).map
    torch.testing.assert_close(exact, expected, atol=1e-5, rtol=1e-4)
    shrunk = LIME(model, segments=36, samples=200, ridge=50.0).explain(images, 1).map
    assert float(shrunk.square().sum()) < 0.9 * float(expected.square().sum())


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("segments", "samples"), [(9, 600), (64, 200), (64, 30)])
def test_shapley_values_sum_to_the_score(seed: int, segments: int, samples: int) -> None:
    model, images = quadrant_net(), quadrant_images(2, seed=seed)[0]
    shap = KernelSHAP(model, segments=segments, samples=samples, seed=seed)
    if samples < segments:
        with pytest.warns(BitlensWarning, match="30 samples cannot tell 64 segments apart"):
            maps = shap.explain(images, 1).map
    else:
        maps = shap.explain(images, 1).map
    sums = of_segments(maps, grid_of_segments(segments, 16, 16)).sum(1)
    covered = images.mean((2, 3), keepdim=True).expand_as(images)
    torch.testing.assert_close(sums, (model(images) - model(covered))[:, 1].detach(), atol=1e-4, rtol=1e-4)


def test_all_coalitions_give_the_values_of_all_orders() -> None:
    model, images, targets = quadrant_net(), quadrant_images(2)[0], torch.tensor([2, 1])
    segments = torch.tensor([[0, 0, 1, 2], [3, 3, 1, 4]]).repeat_interleave(8, 0).repeat_interleave(4, 1)
    ours = KernelSHAP(model, segments=segments).explain(images, targets).map
    background = images.mean((2, 3), keepdim=True).expand_as(images)
    theirs = ShapleyValues(model).attribute(images, background, targets, feature_mask=segments[None, None])
    torch.testing.assert_close(ours, theirs[:, 0].detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_some_coalitions_come_near(seed: int) -> None:
    model, images = quadrant_net(), quadrant_images(3, seed=seed)[0]
    exact = KernelSHAP(model, segments=9, samples=510).explain(images, 1).map
    some = KernelSHAP(model, segments=9, samples=400, seed=seed).explain(images, 1).map
    fewer = KernelSHAP(model, segments=9, samples=50, seed=seed).explain(images, 1).map
    error, larger = ((maps - exact).square().mean().sqrt() for maps in (some, fewer))
    assert 0 < float(error) < 0.1 * float(exact.std())
    assert error < larger


class _NumpyRidge:
    """A weighted ridge regression for Captum: least squares with rows for the penalty and a column for the intercept."""

    def fit(self, loader: Any) -> None:
        ((shown, answers, weights),) = loader
        rows = np.column_stack([shown.numpy(), np.ones(len(shown))]) * np.sqrt(weights.numpy())[:, None]
        penalty = np.eye(shown.shape[1], shown.shape[1] + 1)
        right = np.concatenate([answers.numpy() * np.sqrt(weights.numpy()), np.zeros(shown.shape[1])])
        self.coefficients = np.linalg.lstsq(np.concatenate([rows, penalty]), right, rcond=None)[0][:-1]

    def representation(self) -> Tensor:
        return torch.tensor(self.coefficients)


def test_lime_as_captum_does() -> None:
    model, images = quadrant_net(), quadrant_images(1)[0]
    ready = LIME(model, segments=16, samples=120)
    segments = grid_of_segments(16, 16, 16)
    shown, _ = ready.linear.coalitions(16, ready.seed)

    def samples(_: Tensor) -> Any:
        yield from shown[:, None].float()

    def picture(sample: Tensor, image: Tensor) -> Tensor:
        return torch.where(sample[0, segments] > 0, image, image.mean((2, 3), keepdim=True))

    def similarity(_image: Tensor, _variant: Tensor, sample: Tensor) -> Tensor:
        distance = 1 - torch.cosine_similarity(sample[0], torch.ones(16), dim=0)
        return torch.exp(-(distance**2) / 0.25**2)

    theirs = LimeBase(model, _NumpyRidge(), similarity, samples, True, picture, None)
    expected = theirs.attribute(images, target=3, n_samples=120).float()
    ours = of_segments(ready.explain(images, 3).map, segments)[0]
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-3)


@BOTH
@pytest.mark.parametrize("seed", [0, 1])
def test_the_quadrant_that_decides_is_found(method: Any, seed: int) -> None:
    images, classes = quadrant_images(6, seed=3)
    maps = method(quadrant_net(), segments=16, samples=300, seed=seed).explain(images, classes).map
    quadrants = maps.unflatten(2, (2, 8)).unflatten(1, (2, 8)).mean((2, 4)).flatten(1)
    assert torch.equal(quadrants.argmax(1), classes)


@BOTH
def test_images_may_have_segments_of_their_own(method: Any) -> None:
    def halves_or_quarters(images: Tensor) -> Tensor:
        """Top and bottom where the image is dark, four quarters where it is bright."""
        bright = images.mean((1, 2, 3)) > 0
        quarters = grid_of_segments(4, 16, 16)
        return torch.stack([quarters * 7 - 3 if each else quarters // 2 for each in bright])

    images = torch.stack([quadrant_images(1)[0][0] - 1, quadrant_images(1)[0][0] + 1])
    ready = method(quadrant_net(), segments=halves_or_quarters, samples=60)
    together = ready.explain(images, 1)
    assert [len(each.unique()) for each in together.map] == [2, 4]
    assert together.settings["segments"] == "halves_or_quarters"
    alone = torch.cat([ready.explain(image[None], 1).map for image in images])
    torch.testing.assert_close(together.map, alone, atol=1e-5, rtol=1e-4)


@BOTH
def test_given_segments_may_have_any_numbers(method: Any) -> None:
    model, images, segments = quadrant_net(), quadrant_images(2)[0], grid_of_segments(16, 16, 16)
    expected = method(model, segments=16, samples=100).explain(images).map
    renamed = method(model, segments=segments * 5 - 20, samples=100).explain(images)
    torch.testing.assert_close(renamed.map, expected)
    assert renamed.settings["segments"] == "16 given segments"


def test_a_single_segment_takes_all() -> None:
    model, images = small_net(), noise_images(2)
    maps = KernelSHAP(model, segments=1).explain(images, 0).map
    covered = images.mean((2, 3), keepdim=True).expand_as(images)
    expected = (model(images) - model(covered))[:, 0].detach()
    torch.testing.assert_close(maps, expected[:, None, None].expand_as(maps), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("count", "size", "cells"), [(64, (224, 224), 64), (64, (100, 400), 64), (50, (7, 5), 35)])
def test_grid_cells_are_alike(count: int, size: tuple[int, int], cells: int) -> None:
    segments = grid_of_segments(count, *size)
    numbers, areas = segments.unique(return_counts=True)
    assert segments.shape == size
    assert torch.equal(numbers, torch.arange(cells))
    assert int(areas.max()) <= 1.3 * int(areas.min())
    first = (segments == 0).nonzero()
    height, width = (first.max(0).values + 1).tolist()
    assert len(first) == height * width
    assert 0.5 <= height / width <= 2


@BOTH
@pytest.mark.parametrize(
    ("segments", "message"),
    [
        (torch.zeros(8, 8, dtype=torch.long), r"segments must be whole numbers \(16, 16\), got torch.int64 \(8, 8\)"),
        (torch.zeros(16, 16), "got torch.float32"),
        (
            lambda images: torch.zeros(len(images), 8, 8).long(),
            r"whole numbers \(1, 16, 16\), got torch.int64 \(1, 8, 8\)",
        ),
    ],
)
def test_segments_that_do_not_fit_are_refused(method: Any, segments: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        method(small_net(), segments=segments).explain(noise_images(2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"segments": 0}, "segments must be at least 1, got 0"),
        ({"samples": 1}, "samples must be at least 2, got 1"),
        ({"width": 0.0}, "width must be positive and ridge not negative, got 0.0 and 1.0"),
        ({"ridge": -1.0}, "width must be positive and ridge not negative"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        LIME(small_net(), **settings)
