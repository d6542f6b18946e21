import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bitlens.core.layout import LAYOUTS, detect_layout
from bitlens.core.maps import bits_of, bits_of_extra, bits_per_cell, bits_per_pixel, unit_of
from bitlens.core.places import Places


def _cells(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def _bilinear(cells: Tensor, height: int, width: int) -> Tensor:
    """Half-pixel centres and clamped edges, written out for one map."""

    def corners(size: int, length: int) -> tuple[list[int], list[int], Tensor]:
        centres = ((torch.arange(length) + 0.5) * size / length - 0.5).clamp(0, size - 1)
        low = centres.floor().long()
        return low.tolist(), (low + 1).clamp_max(size - 1).tolist(), (centres - low).to(cells.dtype)

    top, bottom, down = corners(cells.shape[0], height)
    left, right, across = corners(cells.shape[1], width)
    upper = cells[top][:, left] * (1 - across) + cells[top][:, right] * across
    lower = cells[bottom][:, left] * (1 - across) + cells[bottom][:, right] * across
    return upper * (1 - down[:, None]) + lower * down[:, None]


def test_nats_to_bits() -> None:
    assert bits_of(torch.tensor(math.log(2))).item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("layout", "shape", "expected"),
    [
        ("CHW", (2, 3, 4, 5), (2, 4, 5)),
        ("HWC", (2, 4, 5, 3), (2, 4, 5)),
        ("TD", (2, 7, 3), (2, 7)),
        ("D", (2, 9), (2, 9)),
    ],
)
def test_bits_are_summed_over_channels(layout: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    nats = _cells(*shape)
    cells = bits_per_cell(nats, LAYOUTS[layout])
    assert cells.shape == expected
    torch.testing.assert_close(cells.flatten(1).sum(1), nats.flatten(1).sum(1) / math.log(2))


@pytest.mark.parametrize(
    ("grid", "image"), [((4, 4), (16, 16)), ((7, 7), (224, 224)), ((3, 5), (6, 20)), ((1, 1), (8, 8)), ((4, 6), (4, 6))]
)
def test_whole_factors_are_plain_bilinear(grid: tuple[int, int], image: tuple[int, int]) -> None:
    cells = _cells(2, *grid)
    pixels = bits_per_pixel(cells, image)
    share = grid[0] * grid[1] / (image[0] * image[1])
    expected = torch.stack([_bilinear(one * share, *image) for one in cells])
    torch.testing.assert_close(pixels, expected, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(pixels.sum((1, 2)), cells.sum((1, 2)))


@pytest.mark.parametrize(
    ("grid", "image"),
    [
        ((7, 7), (225, 223)), ((3, 4), (10, 11)), ((14, 14), (100, 37)), ((9, 9), (4, 4)), ((1, 5), (3, 7)),
        ((7,), (30,)), ((5,), (3,)), ((3, 4, 5), (7, 8, 21)), ((2, 2, 2), (5, 1, 2)),
    ],
)  # fmt: skip
def test_totals_survive_any_factor(grid: tuple[int, ...], image: tuple[int, ...]) -> None:
    cells = _cells(3, *grid)
    pixels = bits_per_pixel(cells, image)
    assert pixels.shape == (3, *image)
    assert bool((pixels >= 0).all())
    torch.testing.assert_close(pixels.flatten(1).sum(1), cells.flatten(1).sum(1))


def test_other_numbers_of_axes_are_images_of_one_row() -> None:
    cells = _cells(2, 5)
    series, image = bits_per_pixel(cells, (12,)), bits_per_pixel(cells[:, None], (1, 12))
    volume = bits_per_pixel(cells[:, None, :, None], (1, 12, 1))
    torch.testing.assert_close(series, image[:, 0])
    torch.testing.assert_close(series, volume[:, 0, :, 0])


def test_a_constant_stays_constant() -> None:
    pixels = bits_per_pixel(torch.full((1, 3, 5), 2.0), (10, 17))
    torch.testing.assert_close(pixels, torch.full((1, 10, 17), 2.0 * 15 / 170))


def test_no_information_anywhere_is_no_information() -> None:
    assert torch.equal(bits_per_pixel(torch.zeros(2, 3, 3), (10, 10)), torch.zeros(2, 10, 10))


def test_samples_are_scaled_each_by_itself() -> None:
    cells = _cells(2, 3, 3) * torch.tensor([1.0, 1000.0])[:, None, None]
    both = bits_per_pixel(cells, (10, 10))
    torch.testing.assert_close(both[:1], bits_per_pixel(cells[:1], (10, 10)))


@pytest.mark.parametrize(
    ("layout", "places", "unit"),
    [
        ("CHW", Places("CHW", (8, 8)), "bits/pixel"),
        ("HWC", Places("CHW", (8, 8)), "bits/pixel"),
        ("CHW", None, "bits/cell"),
        ("CHW", Places("T", (64,)), "bits/cell"),
        ("CDHW", Places("CDHW", (4, 8, 8)), "bits/voxel"),
        ("CDHW", Places("CHW", (8, 8)), "bits/cell"),
        ("TD", None, "bits/token"),
        ("TD", Places("CHW", (8, 8)), "bits/token"),
        ("TD", Places("CT", (8,)), "bits/token"),
        ("D", Places("CHW", (8, 8)), "bits/feature"),
    ],
)
def test_units(layout: str, places: Places | None, unit: str) -> None:
    assert unit_of(LAYOUTS[layout], places) == unit


@pytest.mark.parametrize(("axes", "unit"), [("CT", "bits/sample"), ("TC", "bits/sample"), ("D", "bits/token")])
def test_steps_that_lie_along_a_series_have_its_unit(axes: str, unit: str) -> None:
    layout = replace(LAYOUTS["CT"], patches=(8,))
    places = Places(axes, (32,))
    assert unit_of(layout, places) == ("bits/cell" if axes == "D" else unit)


def test_patches_lie_row_by_row_and_other_tokens_apart() -> None:
    nats = _cells(2, 2 + 6, 3)
    layout = detect_layout((8, 3), (8, 12))
    cells, extra = bits_per_cell(nats, layout), bits_of_extra(nats, layout)
    assert extra is not None
    assert (cells.shape, extra.shape) == ((2, 2, 3), (2, 2))
    torch.testing.assert_close(cells[:, 1, 0] * math.log(2), nats[:, 2 + 3].sum(1))
    torch.testing.assert_close(cells.sum((1, 2)) + extra.sum(1), bits_of(nats).sum((1, 2)))
    assert unit_of(layout, Places("CHW", (8, 12))) == "bits/pixel"
    assert bits_of_extra(nats, LAYOUTS["TD"]) is None


def test_only_the_outermost_half_cell_differs_from_the_released_resize():
    """There scikit-image mirrors at the cell's centre: at the edge 7/16 of a value is the next cell's (docs/method.md)."""
    from skimage.transform import resize

    cells = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    ours = bits_per_pixel(cells[None] * 64, (48, 40))[0]
    theirs = torch.from_numpy(resize(cells.numpy(), (48, 40), order=1, preserve_range=True))
    torch.testing.assert_close(ours[4:-4, 4:-4], theirs[4:-4, 4:-4], atol=1e-5, rtol=0)
    edge = ours[0, 4:-4] - theirs[0, 4:-4]
    inner = bits_per_pixel((cells[:1] - cells[1:2]).expand(6, -1)[None] * 64, (48, 40))[0, 0, 4:-4]
    torch.testing.assert_close(edge, 7 / 16 * inner, atol=1e-5, rtol=0)
