"""One scale for bits, each its own for scores; what needs nothing is dark whatever its scale."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import small_results
from bitlens.core.evidence import Evidence
from bitlens.view.colours import dim, overlay
from bitlens.view.scales import Ends, dark_end, little


def ends(maps, same):
    found = Ends(same)
    for one in maps:
        found.count(one.method, one)
    return found


def idle(number):
    """A map of an input of which nothing is needed: the network says the same of nothing but noise."""
    half = torch.tensor([0.9])
    proof = Evidence(half, half, half * 0, floor=half, floor_std=half * 0, floor_error=half * 0)
    return replace(small_results.in_bits(number), evidence=proof)


@pytest.mark.parametrize(
    ("same", "bits", "scores"), [(None, [2, 2], False), (True, [2, 2], True), (False, [1, 2], False)]
)
def test_bits_share_a_scale_and_scores_do_if_asked(same, bits, scores):
    maps = [small_results.in_bits(0), small_results.in_bits(1)]
    others = [small_results.in_scores(0), replace(small_results.in_scores(1), map=3 * small_results.in_scores(1).map)]
    found = ends([*maps, *others], same)
    scales = [found.scale(one.method, one) for one in maps]
    assert [round(scale.top) for scale in scales] == bits
    assert [scale.note for scale in scales] == ["a scale of its own" if same is False else ""] * 2
    tops = [found.scale(one.method, one).top for one in others]
    assert (tops[0] == tops[1]) == scores


@pytest.mark.parametrize("others", [(), (0,), (0, 1)])
def test_a_map_of_nothing_is_never_bright(others):
    one = idle(2)
    found = ends([*map(small_results.in_bits, others), one], None)
    scale = found.scale(one.method, one)
    grey = dim(np.full((3, 40, 60), 0.5, np.float32))
    assert abs(overlay(grey, one.map[0].numpy(), scale) - grey[..., None]).max() < 0.1
    assert little(one.map[0].numpy(), scale) == "next to nothing: 3 bits/pixel at most"
    if others:  # and it does not darken the others
        real = small_results.in_bits(others[-1])
        assert found.scale(real.method, real).top == pytest.approx(float(real.map.max()))
        assert not little(real.map[0].numpy(), found.scale(real.method, real))


def test_the_same_is_true_of_maps_without_a_folder():
    maps = [np.full((4, 4), 0.5, np.float32), np.full((4, 4), 2, np.float32)]
    assert dark_end(maps, [True, True]) == pytest.approx(40)
    assert dark_end(maps, [True, False]) is None
    assert dark_end([np.zeros((4, 4), np.float32)], [True]) is None
