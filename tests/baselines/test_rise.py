from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.baselines.rise import RISE, random_masks
from bitlens.errors import SettingError
from networks import noise_images, quadrant_images, quadrant_net, small_net

ALL = slice(0, 1000)


class Pixel(nn.Module):
    """The value of one pixel of the first channel."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :1, 6, 9].clone()


def pixel(output: Tensor) -> Tensor:
    return output[:, 0]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("size", "grid", "share"), [((16, 16), 7, 0.5), ((21, 30), 5, 0.3)])
def test_every_pixel_is_shown_equally_often(seed: int, size: tuple[int, int], grid: int, share: float) -> None:
    masks = random_masks(1000, grid, share, torch.zeros(1, 3, *size), seed)(ALL)
    assert masks.shape == (1000, *size)
    assert 0 <= float(masks.min()) <= float(masks.max()) <= 1
    often = masks.mean(0)
    bound = 5 * (share * (1 - share) / 1000) ** 0.5  # five standard errors of a pixel that is shown or hidden
    assert float((often - share).abs().max()) < bound


def test_masks_are_enlarged_and_shifted_cells() -> None:
    size, grid = (20, 27), 4
    masks = random_masks(40, grid, 0.5, torch.zeros(1, 3, *size), seed=3)(slice(0, 40))
    generator = torch.Generator().manual_seed(3)  # the order of draws: cells, rows, columns
    cells = (torch.rand(40, grid, grid, generator=generator) < 0.5).float()
    down = torch.randint(5, (40,), generator=generator)
    right = torch.randint(7, (40,), generator=generator)
    large = F.interpolate(cells[:, None], (25, 35), mode="bilinear", align_corners=False)[:, 0]
    for mask, whole, y, x in zip(masks, large, down.tolist(), right.tolist(), strict=True):
        torch.testing.assert_close(mask, whole[y : y + 20, x : x + 27], atol=1e-6, rtol=1e-5)


def test_a_mask_depends_on_its_number_alone() -> None:
    draw = random_masks(50, 7, 0.5, torch.zeros(1, 3, 16, 16), 0)
    whole = draw(slice(0, 50))
    torch.testing.assert_close(torch.cat([draw(slice(0, 3)), draw(slice(3, 50))]), whole)
    assert len(whole.flatten(1).unique(dim=0)) == 50


@pytest.mark.parametrize("seed", [0, 1])
def test_closed_form_for_one_pixel(seed: int) -> None:
    images = torch.stack([torch.ones(3, 16, 16), torch.full((3, 16, 16), 4.0)])
    ours = RISE(Pixel().eval(), seed=seed, samples=300).explain(images, pixel).map
    masks = random_masks(300, 7, 0.5, images, seed)(slice(0, 300))
    expected = (masks[:, 6:7, 9:10] * masks).sum(0) / masks.sum(0)
    torch.testing.assert_close(ours, torch.stack([expected, 4 * expected]), atol=1e-5, rtol=1e-4)
    assert divmod(int(ours[0].argmax()), 16) == (6, 9)


def test_a_network_that_does_not_look_gives_a_flat_map() -> None:
    class Constant(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.tensor([[0.0, 1.0]]).repeat(len(images), 1)

    result = RISE(Constant().eval(), samples=50, output="logits").explain(noise_images(1), 1)
    torch.testing.assert_close(result.map, torch.full((1, 16, 16), torch.tensor([0.0, 1.0]).softmax(0)[1].item()))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_quadrant_that_decides_is_found(seed: int) -> None:
    images, classes = quadrant_images(8, seed=3)
    maps = RISE(quadrant_net(), seed=seed, samples=500).explain(images, classes).map
    assert 0 <= float(maps.min()) <= float(maps.max()) <= 1  # mean probabilities
    assert torch.equal(F.avg_pool2d(maps, 8).flatten(1).argmax(1), classes)


def test_the_paper_hides_with_zero() -> None:
    model, images = small_net(), noise_images(1) + 1
    zero, number, mean = (
        RISE(model, samples=20, replacement=replacement).explain(images, 1).map
        for replacement in ("zero", 0.0, "mean-colour")
    )
    assert torch.equal(zero, number)
    assert not torch.allclose(zero, mean)
    assert torch.equal(RISE(model, samples=20).explain(images, 1).map, zero)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "samples must be at least 1, got 0"),
        ({"grid": 0}, "grid must be at least 1"),
        ({"share": 1.0}, "share must be between 0 and 1, got 1.0"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        RISE(small_net(), **settings)
