"""The box ratio: closed cases, ties, and what a random map scores."""

import pytest
import torch

from bitlens.errors import InputError
from bitlens.metrics import bounding_box_ratio


def masks(count=1):
    mask = torch.zeros(count, 20, 20)
    mask[:, 4:14, 5:15] = 1  # a quarter
    return mask


def test_perfect_inverted_and_half():
    inside = masks()
    half = inside.clone()
    half[:, 4:9] = 0
    half[:, 15:20, 0:10] = 1
    assert bounding_box_ratio(inside, inside).item() == 1.0
    assert bounding_box_ratio(1 - inside, inside).item() == 0.0
    assert bounding_box_ratio(half, inside).item() == 0.5


def test_the_scale_of_a_map_and_a_soft_mask_do_not_matter():
    maps = torch.rand(3, 20, 20)
    expected = bounding_box_ratio(maps, masks(3))
    assert torch.equal(bounding_box_ratio(maps * 1e-6 - 5e-7, masks(3) * 0.9), expected)
    assert torch.equal(bounding_box_ratio(maps, masks(3) > 0), expected)


def test_against_a_plain_loop():
    maps, inside = torch.randn(5, 12, 17), torch.rand(5, 12, 17) > 0.8
    for i, got in enumerate(bounding_box_ratio(maps, inside)):
        n = int(inside[i].sum())
        top = set(maps[i].flatten().topk(n).indices.tolist())
        assert got.item() == pytest.approx(len(top & set(inside[i].flatten().nonzero().flatten().tolist())) / n)


def test_random_and_constant_maps_score_the_area_of_the_box():
    generator = torch.Generator().manual_seed(0)
    scores = bounding_box_ratio(torch.rand(400, 20, 20, generator=generator), masks(400))
    assert abs(scores.mean() - 0.25) < 4 * scores.std() / 400**0.5
    constant = torch.stack([bounding_box_ratio(torch.zeros(1, 20, 20), masks(), seed=s)[0] for s in range(100)])
    assert abs(constant.mean() - 0.25) < 4 * constant.std() / 10


def test_nothing_inside_is_nan_and_other_shapes_are_refused():
    assert bounding_box_ratio(torch.rand(1, 20, 20), torch.zeros(1, 20, 20)).isnan().all()
    with pytest.raises(InputError, match="one shape"):
        bounding_box_ratio(torch.rand(1, 20, 21), masks())
