"""Metrics of place: closed cases, ties, independent computations, and what constant and random maps score."""

import numpy as np
import pytest
import torch
from scipy import integrate, ndimage, stats

from bitlens.errors import InputError, SettingError
from bitlens.metrics import bounding_box_ratio, effective_heat_ratio, mass_inside, pointing_game, rank_auc

ALL = (bounding_box_ratio, effective_heat_ratio, mass_inside, pointing_game, rank_auc)


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


@pytest.mark.parametrize("metric", ALL)
def test_every_metric_keeps_the_same_rules(metric):
    inside, maps = masks(3), torch.rand(3, 20, 20)
    together = metric(maps, inside)
    assert (together.shape, together.dtype) == ((3,), torch.float64)
    assert torch.equal(torch.cat([metric(maps[i : i + 1], inside[:1]) for i in range(3)]), together)
    assert torch.equal(metric(maps, inside > 0), together)
    assert metric(torch.full((1, 20, 20), 0.7), masks()).item() == pytest.approx(
        0.5 if metric is rank_auc else 0.25, abs=0.06
    )
    assert metric(masks(), masks()).item() == pytest.approx(1.0)
    assert metric(maps[:1], torch.zeros(1, 20, 20)).isnan().all()
    for bad in (torch.nan, torch.inf):
        broken = maps.clone()
        broken[1, 3, 3] = bad
        with pytest.raises(InputError, match="image 1"):
            metric(broken, inside)
    with pytest.raises(InputError, match="one shape"):
        metric(maps, masks())


@pytest.mark.parametrize(
    ("within", "around", "settings", "expected"),
    [
        (1.0, 0.0, {}, 1.0),  # the test vectors of algorithms G3
        (1.0, 0.25, {}, 0.4375),
        (0.25, 0.0, {"scale": "none"}, 0.25),
        (0.25, 0.0, {}, 1.0),
        (4.0, 1.0, {}, 0.4375),
        (1.0, 0.25, {"weighted": False}, 0.4375),
        (0.5, 0.25, {"scale": "none"}, 0.21875),
        (0.5, 0.25, {"scale": "none", "weighted": False}, 0.4375),
        (1.0, 0.05, {}, 1.0),  # below the base threshold
        (1.0, 0.05, {"base_threshold": 0}, 0.4375),
        (-1.0, 1.0, {}, 0.0),
        (0.0, 0.0, {}, 0.0),
        (-1.0, -2.0, {}, 0.0),
        (0.09, 0.05, {"scale": "none"}, 0.0),
    ],
)
def test_effective_heat_of_two_values(within, around, settings, expected):
    inside = masks()
    maps = torch.where(inside > 0, within, around)
    assert effective_heat_ratio(maps, inside, **settings).item() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("cap", "shares"), [(0.99, 11), (1.0, 10)])
def test_the_last_threshold_leaves_more_than_the_single_highest_pixel(cap, shares):
    """100 pixels inside nearly reach the maximum, which lies outside: without a cap the last quantile is that pixel alone."""
    inside = masks()
    maps = 0.995 * inside
    maps[0, 0, 0] = 1.0
    ratio = 0.995 * 100 / 101
    expected = ratio * (1.0 if shares == 11 else 0.95)  # the trapezoid's last corner counts half
    assert effective_heat_ratio(maps, inside, cap=cap).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_effective_heat_against_a_plain_loop(weighted, seed):
    generator = np.random.default_rng(seed)
    maps, inside = generator.normal(size=(3, 13, 11)), generator.random((3, 13, 11)) > 0.7
    maps = np.where(generator.random(maps.shape) > 0.5, maps.round(1), maps)  # many ties
    got = effective_heat_ratio(torch.tensor(maps), torch.tensor(inside), weighted=weighted)
    for heat, place, score in zip(maps.clip(0), inside, got, strict=True):
        scaled = heat / heat.max()
        scaled[scaled < 0.1] = 0
        ratios = []
        for q in np.arange(11) / 10:
            threshold = min(np.quantile(scaled[scaled >= 0.1], q), 0.99 * scaled.max())
            chosen = scaled >= threshold - 1e-12
            ratios.append((scaled if weighted else np.ones_like(scaled))[chosen & place].sum() / chosen.sum())
        assert score.item() == pytest.approx(integrate.trapezoid(ratios, dx=0.1), abs=1e-9)


def test_effective_heat_refuses_what_it_cannot_read():
    with pytest.raises(SettingError, match="cap"):
        effective_heat_ratio(masks(), masks(), cap=1.5)
    with pytest.raises(SettingError, match="scale"):
        effective_heat_ratio(masks(), masks(), scale="minmax")
    with pytest.raises(InputError, match="up to 2"):
        effective_heat_ratio(2 * masks(), masks(), scale="none")


def test_mass_is_the_share_of_positive_values():
    inside = masks()
    maps = torch.where(inside > 0, 3.0, 1.0)
    assert mass_inside(maps, inside).item() == pytest.approx(0.5)
    assert mass_inside(maps - 1, inside).item() == 1.0
    assert mass_inside(maps - 2, inside).item() == 1.0
    assert mass_inside(1e-30 * maps, inside).item() == pytest.approx(0.5)
    assert mass_inside(-maps, inside).item() == 0.25  # nothing positive is as good as constant


def test_pointing_at_the_object_beside_it_and_at_several_places():
    inside = masks(4)
    maps = torch.zeros(4, 20, 20)
    maps[0, 5, 6] = maps[1, 5, 2] = maps[3, 2, 2] = 1
    maps[2, 5, 6] = maps[2, 5, 2] = maps[2, 5, 1] = 1
    assert pointing_game(maps, inside).tolist() == [1.0, 0.0, pytest.approx(1 / 3), 0.0]
    assert pointing_game(maps, inside, tolerance=3).tolist() == [1.0, 1.0, pytest.approx(2 / 3), 0.0]
    assert pointing_game(maps, inside, tolerance=4).tolist() == [1.0, 1.0, 1.0, 1.0]  # 3 left and 2 above: 3.6 away
    with pytest.raises(SettingError, match="tolerance"):
        pointing_game(maps, inside, tolerance=-1)


@pytest.mark.parametrize("tolerance", [1, 2, 5])
def test_tolerance_is_a_distance(tolerance):
    inside = torch.rand(2, 24, 30) > 0.98
    reached = np.stack([ndimage.distance_transform_edt(~one.numpy()) <= tolerance for one in inside])
    for y, x in torch.randint(0, 24, (30, 2)).tolist():
        maps = torch.zeros(2, 24, 30)
        maps[:, y, x] = 1
        assert pointing_game(maps, inside, tolerance=tolerance).tolist() == reached[:, y, x].astype(float).tolist()


def test_rank_auc_against_mann_whitney():
    inside = torch.rand(6, 9, 10) > 0.7
    maps = torch.cat([torch.randn(3, 9, 10), torch.randn(3, 9, 10).round()])
    for one, place, got in zip(maps, inside, rank_auc(maps, inside), strict=True):
        expected = stats.mannwhitneyu(one[place], one[~place]).statistic / int(place.sum() * (~place).sum())
        assert got.item() == pytest.approx(float(expected), abs=1e-12)
    assert rank_auc(-masks(), masks()).item() == 0.0
    assert rank_auc(torch.rand(1, 20, 20), torch.ones(1, 20, 20)).isnan().all()


@pytest.mark.parametrize("metric", ALL)
def test_random_maps_score_chance(metric):
    generator = torch.Generator().manual_seed(3)
    maps = torch.rand(400, 20, 20, generator=generator)
    scores = metric(maps, masks(400), **({"weighted": False} if metric is effective_heat_ratio else {}))
    assert abs(scores.mean() - (0.5 if metric is rank_auc else 0.25)) < 4 * scores.std() / 400**0.5
