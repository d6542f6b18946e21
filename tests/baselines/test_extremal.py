import math
from typing import Any

import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.special import lambertw
from torch import Tensor, nn

from bitlens.baselines.extremal import ExtremalPerturbation, MaskGrid, between_levels, blur_pyramid, smooth_maximum
from bitlens.errors import FitError, SettingError
from networks import noise_images, small_net

TOP, LEFT, SIDE = 3, 8, 4
"""A box in images of 16 x 16: one sixteenth of them."""


class Box(nn.Module):
    """Two classes: the sum of the box, and its negative."""

    def forward(self, images: Tensor) -> Tensor:
        total = images[:, :, TOP : TOP + SIDE, LEFT : LEFT + SIDE].sum((1, 2, 3))
        return torch.stack([total, -total], 1)


def boxed() -> Tensor:
    """An image that is bright in the box and dark elsewhere: blurring takes brightness away from the box."""
    images = torch.full((1, 3, 16, 16), -1.0)
    images[:, :, TOP : TOP + SIDE, LEFT : LEFT + SIDE] = 1.0
    return images


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_smooth_maximum_lies_between_mean_and_maximum(seed: int) -> None:
    values = torch.rand(500, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    smooth, largest = smooth_maximum(values, 1), values.max(1).values
    assert bool((smooth > values.mean(1)).all())
    assert bool((smooth < largest).all())
    # the largest gap of one value x and 8 values x - d is that of d = (1 + W(8/e)) / 20
    assert bool((largest - smooth <= float(lambertw(8 / math.e).real) / 20 + 1e-12).all())
    torch.testing.assert_close(smooth_maximum(torch.full((3, 7), 0.4), 1), torch.full((3,), 0.4))


def test_the_mask_is_the_smooth_maximum_of_kernels() -> None:
    size, sigma = (8, 12), 2.0  # cells of 2 x 2 pixels: the fine grid's points are the pixels
    grid = MaskGrid(torch.zeros(1, 3, *size), 2.0, sigma)
    assert (grid.shape, grid.reach) == ((4, 6), (2, 2))
    cells = torch.rand(1, 4, 6, generator=torch.Generator().manual_seed(0))
    mask = grid.mask(cells)[0]
    for y, x in [(0, 0), (3, 5), (4, 4), (7, 11)]:
        values = []
        for row in range(y // 2 - 2, y // 2 + 3):
            for column in range(x // 2 - 2, x // 2 + 3):
                inside = min(max(row, 0), 3), min(max(column, 0), 5)
                far = math.hypot(2 * row + 1 - (y + 0.5), 2 * column + 1 - (x + 0.5))
                kernel = math.exp(-2 * max(far / sigma - 0.5, 0) ** 2)
                values.append(kernel * float(cells[(0, *inside)]))
        weights = [math.exp(20 * value) for value in values]
        expected = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
        assert float(mask[y, x]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("size", "shape"), [((224, 224), (32, 32)), ((224, 300), (32, 43)), ((20, 9), (3, 1))])
def test_masks_of_any_size(size: tuple[int, int], shape: tuple[int, int]) -> None:
    grid = MaskGrid(torch.zeros(1, 3, *size), 7.0, 21.0)
    assert grid.shape == shape
    cells = torch.stack([torch.zeros(shape), torch.ones(shape)])
    masks = grid.mask(cells)
    assert masks.shape == (2, *size)
    assert not masks[0].any()
    assert 0.9 < float(masks[1].min()) <= float(masks[1].max()) <= 1
    torch.testing.assert_close(masks[1], masks[1].mean().expand(size), atol=5e-4, rtol=0)  # no place comes first


def test_one_cell_shows_a_round_spot() -> None:
    cells = torch.zeros(1, 32, 32)
    cells[0, 10, 20] = 1
    mask = MaskGrid(torch.zeros(1, 3, 224, 224), 7.0, 21.0).mask(cells)[0]
    assert float(mask[73, 143]) > 0.99  # the middle of the cell
    assert float(mask[73 + 40, 143]) < 0.05
    ys, xs = torch.meshgrid(torch.arange(224), torch.arange(224), indexing="ij")
    assert float((mask * (ys + 0.5)).sum() / mask.sum()) == pytest.approx(73.5, abs=0.1)
    assert float((mask * (xs + 0.5)).sum() / mask.sum()) == pytest.approx(143.5, abs=0.1)
    torch.testing.assert_close(mask[73 - 40 : 73 + 41, 143 - 40 : 143 + 41], mask[33:114, 103:184].T, atol=1e-5, rtol=0)


def test_the_pyramid_is_blurred_evenly_less() -> None:
    images = noise_images(2, size=(40, 50))
    pyramid = blur_pyramid(images, 6.0, 4)
    assert pyramid.shape == (4, 2, 3, 40, 50)
    assert torch.equal(pyramid[3], images)
    for level, sigma in enumerate([6.0, 4.0, 2.0]):
        expected = gaussian_filter(images.numpy(), (0, 0, sigma, sigma), mode="mirror", truncate=2.0)
        torch.testing.assert_close(pyramid[level], torch.from_numpy(expected), atol=1e-5, rtol=1e-4)


def test_pixels_lie_between_levels() -> None:
    pyramid = torch.randn(5, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for level in range(5):
        mask = torch.full((2, 4, 4), level / 4)
        torch.testing.assert_close(between_levels(pyramid, mask), pyramid[level])
    mask = torch.full((2, 4, 4), 0.3)  # a fifth of the way from level 1 to level 2
    mask[1, 2, 3] = 1.0
    mask.requires_grad_()
    mixed = between_levels(pyramid, mask)
    torch.testing.assert_close(mixed[0], 0.8 * pyramid[1, 0] + 0.2 * pyramid[2, 0])
    torch.testing.assert_close(mixed[1, :, 2, 3], pyramid[4, 1, :, 2, 3])
    (slope,) = torch.autograd.grad(mixed.sum(), mask)
    torch.testing.assert_close(slope[0], 4 * (pyramid[2, 0] - pyramid[1, 0]).sum(0))
    torch.testing.assert_close(slope[1, 2, 3], 4 * (pyramid[4, 1] - pyramid[3, 1])[:, 2, 3].sum())


@pytest.mark.parametrize("area", [0.1, 0.3])
def test_the_mask_covers_the_box_and_has_its_area(area: float) -> None:
    # mirrored, the box would be elsewhere; a blur of 20 (1.4 pixels here) would leave the box its brightness
    result = ExtremalPerturbation(Box().eval(), areas=area, blur=100.0, flip=False).explain(boxed(), 0)
    mask = result.map[0]
    inside = mask[TOP : TOP + SIDE, LEFT : LEFT + SIDE]
    assert 0 <= float(mask.min()) <= float(mask.max()) <= 1
    assert float(mask.mean()) == pytest.approx(area, abs=0.03)
    assert float(inside.mean()) > 0.9
    assert float((mask.sum() - inside.sum()) / (16 * 16 - SIDE * SIDE)) < area
    assert result.settings["areas"] == [area]


def test_several_areas_are_averaged() -> None:
    model, images = small_net(), noise_images(2)
    few = {"iterations": 12}
    both = ExtremalPerturbation(model, areas=(0.1, 0.4), **few).explain(images, 1).map
    single = [ExtremalPerturbation(model, areas=area, **few).explain(images, 1).map for area in (0.1, 0.4)]
    torch.testing.assert_close(both, torch.stack(single).mean(0))
    assert not torch.allclose(*single)


def test_the_mask_grows_with_the_image() -> None:
    small = MaskGrid(torch.zeros(1, 3, 112, 112), 3.5, 10.5)
    large = MaskGrid(torch.zeros(1, 3, 224, 224), 7.0, 21.0)
    torch.testing.assert_close(small.kernel, large.kernel)
    cells = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))
    means = [nn.functional.avg_pool2d(g.mask(cells), g.size[0] // 16) for g in (small, large)]
    torch.testing.assert_close(*means, atol=5e-3, rtol=0)


def test_mirrored_images_take_turns() -> None:
    seen: list[Tensor] = []

    class Watched(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images.detach().clone())
            return Box()(images)

    ExtremalPerturbation(Watched().eval(), iterations=2, blur=0.0).explain(boxed(), 0)
    torch.testing.assert_close(seen[-2], boxed())
    torch.testing.assert_close(seen[-1], boxed().flip(3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"areas": 1.0}, "areas must be shares between 0 and 1, got 1.0"),
        ({"areas": ()}, "areas must be shares"),
        ({"areas": [0.1, 0.0]}, "areas must be shares"),
        ({"iterations": 0}, "iterations must be positive, got 0"),
        ({"sigma": -1.0}, "sigma must be positive, got -1.0"),
        ({"levels": 1}, "blur must not be negative and levels at least 2, got 20.0 and 1"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        ExtremalPerturbation(small_net(), **settings)


def test_a_score_that_is_not_finite_is_told() -> None:
    clean = small_net()(noise_images(1))[:, 0].detach()

    def root(output: Tensor) -> Tensor:
        return torch.where((output[:, 0] - clean).abs() < 1e-5, output[:, 0], (output[:, 0] - 1e6).sqrt())

    with pytest.raises(FitError, match="score or its gradient is not finite"):
        ExtremalPerturbation(small_net(), iterations=2).explain(noise_images(1), root)
