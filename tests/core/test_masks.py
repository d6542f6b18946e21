from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.core.layout import LAYOUTS, detect_layout, named_layout
from bitlens.core.masks import complement, smoothing_matrices, smoothing_matrix

CHW, HWC, TD, D = (LAYOUTS[name] for name in ("CHW", "HWC", "TD", "D"))


def _convolution_blur(maps: Tensor, sigma: float) -> Tensor:
    """The blur as the papers describe it: one 2-D kernel, reflect padding, each channel by itself."""
    radius = round(2 * sigma)
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=maps.dtype) / sigma) ** 2)
    kernel = torch.outer(line, line)
    kernel = kernel / kernel.sum()
    channels = maps.shape[1]
    padded = F.pad(maps, (radius,) * 4, mode="reflect")
    return F.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)


def test_taps_of_the_specification() -> None:
    taps = smoothing_matrix(11, 1.0)[5]
    expected = torch.tensor([0, 0, 0, 0.05449, 0.24420, 0.40262, 0.24420, 0.05449, 0, 0, 0])
    torch.testing.assert_close(taps, expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize(("sigma", "taps"), [(0.5, 3), (1.0, 5), (2.0, 9)])
def test_number_of_taps(sigma: float, taps: int) -> None:
    assert int((smoothing_matrix(21, sigma)[10] > 0).sum()) == taps


@pytest.mark.parametrize("size", [(5, 5), (6, 9), (14, 14), (28, 7), (56, 56)])
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_same_blur_as_a_convolution_with_reflect_padding(size: tuple[int, int], sigma: float) -> None:
    logits = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    matrices = smoothing_matrices(CHW, (3, *size), sigma)
    expected = _convolution_blur(torch.sigmoid(-logits.double()), sigma).float()
    torch.testing.assert_close(complement(logits, CHW, matrices), expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 2), (3, 3), (2, 9)])
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0, 5.0])
def test_maps_smaller_than_the_kernel(size: tuple[int, int], sigma: float) -> None:
    for matrix, places in zip(smoothing_matrices(CHW, (3, *size), sigma), size, strict=True):
        assert matrix.shape == (places, places)
        assert bool((matrix >= 0).all())
        torch.testing.assert_close(matrix.sum(1), torch.ones(places))
        torch.testing.assert_close(matrix, matrix.flip(0, 1))  # mirrored input gives mirrored output


def test_one_place_stays_as_it_is() -> None:
    assert smoothing_matrix(1, 3.0).tolist() == [[1.0]]


def test_two_places_share_the_outer_taps() -> None:
    line = torch.exp(torch.tensor([-0.5, 0.0, -0.5]))
    side = (line[0] / line.sum()).item()
    expected = torch.tensor([[1 - 2 * side, 2 * side], [2 * side, 1 - 2 * side]])
    torch.testing.assert_close(smoothing_matrix(2, 1.0), expected)


def test_complement_is_one_minus_the_blurred_mask_and_keeps_small_values() -> None:
    logits = 20 * torch.randn(2, 4, 9, 11, generator=torch.Generator().manual_seed(1), dtype=torch.float32)
    matrices = smoothing_matrices(CHW, (4, 9, 11), 1.0)
    u = complement(logits, CHW, matrices)
    mask = complement(-logits, CHW, matrices)
    torch.testing.assert_close(u, 1 - mask, rtol=0, atol=5e-7)
    high = complement(torch.full((1, 1, 5, 5), 30.0), CHW, smoothing_matrices(CHW, (1, 5, 5), 1.0))
    torch.testing.assert_close(high, torch.full_like(high, 9.357622968840175e-14), rtol=1e-5, atol=0)


def test_channels_last_is_blurred_along_its_places() -> None:
    logits = torch.randn(2, 4, 6, 8)
    expected = complement(logits, CHW, smoothing_matrices(CHW, (4, 6, 8), 1.0))
    last = complement(logits.permute(0, 2, 3, 1), HWC, smoothing_matrices(HWC, (6, 8, 4), 1.0))
    torch.testing.assert_close(last.permute(0, 3, 1, 2), expected)


def test_samples_and_channels_do_not_mix() -> None:
    logits = torch.full((2, 2, 9, 9), -30.0)
    logits[0, 1, 4, 4] = 30.0
    passed = 1 - complement(logits, CHW, smoothing_matrices(CHW, (2, 9, 9), 1.0))
    assert passed[0, 1].sum().item() == pytest.approx(1, abs=1e-5)
    assert passed.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("layout", "features"), [(TD, (7, 5)), (D, (9,))])
def test_tokens_and_vectors_are_not_blurred(layout: object, features: tuple[int, ...]) -> None:
    assert smoothing_matrices(layout, features, 1.0) == []  # type: ignore[arg-type]
    logits = torch.randn(2, *features)
    assert torch.equal(complement(logits, layout), torch.sigmoid(-logits))  # type: ignore[arg-type]


@pytest.mark.parametrize("sigma", [0.0, None])
def test_no_smoothing(sigma: float | None) -> None:
    assert smoothing_matrices(CHW, (3, 8, 8), sigma) == []


def test_patches_are_blurred_as_a_grid_and_other_tokens_not_at_all() -> None:
    logits = torch.randn(2, 2 + 24, 5, generator=torch.Generator().manual_seed(0))
    layout = detect_layout((26, 5), (16, 24))
    matrices = smoothing_matrices(layout, (26, 5), 1.0)
    got = complement(logits, layout, matrices)
    expected = complement(logits[:, 2:].unflatten(1, (4, 6)), HWC, smoothing_matrices(HWC, (4, 6, 5), 1.0))
    torch.testing.assert_close(got[:, 2:].unflatten(1, (4, 6)), expected)
    torch.testing.assert_close(got[:, :2], torch.sigmoid(-logits[:, :2]))
    assert smoothing_matrices(layout, (26, 5), 0.0) == []


def test_a_series_is_an_image_of_one_row_and_a_volume_is_blurred_along_each_axis() -> None:
    logits = torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(0))
    along = replace(LAYOUTS["CT"], patches=(9,))
    series = complement(logits, along, smoothing_matrices(along, (3, 9), 1.0))
    image = complement(logits[:, :, None], CHW, smoothing_matrices(CHW, (3, 1, 9), 1.0))
    torch.testing.assert_close(series, image[:, :, 0])
    tokens = replace(LAYOUTS["TD"], patches=(9,))
    torch.testing.assert_close(complement(logits.mT, tokens, smoothing_matrices(tokens, (9, 3), 1.0)), series.mT)
    extra = replace(named_layout("PD", 1), patches=(9,))
    beside = torch.cat([torch.zeros(2, 1, 3), logits.mT], 1)
    found = complement(beside, extra, smoothing_matrices(extra, (10, 3), 1.0))
    torch.testing.assert_close(found, torch.cat([torch.full((2, 1, 3), 0.5), series.mT], 1))
    volume = torch.zeros(1, 1, 7, 9, 5)
    volume[0, 0, 3, 4, 2] = -20
    layout = LAYOUTS["CDHW"]
    matrices = smoothing_matrices(layout, (1, 7, 9, 5), 1.0)
    spread = complement(volume, layout, matrices)[0, 0] - 0.5
    taps = [matrix[:, middle] for matrix, middle in zip(matrices, (3, 4, 2), strict=True)]
    torch.testing.assert_close(spread, 0.5 * torch.einsum("d,h,w->dhw", *taps), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("size", [(2, 5, 9, 7), (1, 3, 4, 4)])
def test_the_blur_does_not_depend_on_the_order_in_memory(size: tuple[int, ...]) -> None:
    logits = torch.randn(size, generator=torch.Generator().manual_seed(2))
    turned = logits.contiguous(memory_format=torch.channels_last)
    matrices = smoothing_matrices(LAYOUTS["CHW"], size[1:], 1.0)
    slopes = []
    for values in (logits, turned):
        values.requires_grad_()
        u = complement(values, LAYOUTS["CHW"], matrices)
        slopes.append((u, torch.autograd.grad((u * logits.detach()).sum(), values)[0]))
    assert slopes[1][0].is_contiguous(memory_format=torch.channels_last)
    for expected, got in zip(*slopes, strict=True):
        torch.testing.assert_close(got, expected)
