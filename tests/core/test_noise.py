"""Noise comes from a seed alone, and no two streams of it have anything to do with each other."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from bitlens.core.noise import NoisyCopies

CPU = torch.device("cpu")


def _copies(*shape: int, seed: int = 0, block: int | None = None, antithetic: bool = False) -> NoisyCopies:
    return NoisyCopies(torch.Size(shape), seed, CPU, block=block, antithetic=antithetic)


def _assert_independent(streams: list[Tensor]) -> None:
    """No number of one stream is in another at the same place, and none follows from another but by chance.

    Correlations of n pairs of independent normal numbers have the standard deviation 1 / √n.
    """
    rows = torch.stack([stream.flatten() for stream in streams]).double()
    between = torch.corrcoef(rows)[torch.triu(torch.ones(len(rows), len(rows)), 1) > 0]
    assert float(between.abs().max()) < 5.5 / math.sqrt(rows.shape[1])
    for one, other in itertools.combinations(rows, 2):
        assert not bool((one == other).any())
        assert len(set(one.tolist()) & set(other.tolist())) < 0.01 * len(one)  # nor at other places: no delayed copy


def test_blocks_of_a_text_are_independent() -> None:
    noise = _copies(16, 250, block=4).draw(3)
    _assert_independent(list(noise.split(4, 2)))


def test_copies_and_places_of_a_block_are_independent() -> None:
    noise = _copies(4, 900, block=4).draw(3)[:, 0]
    _assert_independent(list(noise.flatten(0, 1)))


@pytest.mark.parametrize("block", [None, 4])
def test_steps_are_independent(block: int | None) -> None:
    source = _copies(8, 125, block=block)
    _assert_independent([source.draw(3) for _ in range(5)])


@pytest.mark.parametrize("block", [None, 2])
def test_neighbouring_seeds_are_independent(block: int | None) -> None:
    """Also the blocks of one from all blocks of another, as where a block began at the next seed."""
    streams = [_copies(8, 500, seed=seed, block=block).draw(2) for seed in range(5)]
    _assert_independent([part for stream in streams for part in stream.split(2, 2)])


@pytest.mark.parametrize("seed", [0, 7, 2**31 - 1])
def test_seeds_repeat_their_noise(seed: int) -> None:
    assert torch.equal(_copies(5, 3, seed=seed, block=2).draw(4), _copies(5, 3, seed=seed, block=2).draw(4))


@pytest.mark.parametrize(("block", "antithetic"), [(None, False), (3, False), (3, True)])
def test_noise_is_standard_normal(block: int | None, antithetic: bool) -> None:
    """By its first four moments, and by the share beyond two."""
    count = 20
    drawn = _copies(9, 400, block=block, antithetic=antithetic).draw(count).flatten().double()
    numbers = len(drawn) / (2 if antithetic else 1)  # of independent ones, for even moments
    assert drawn.mean().abs() < 5 / math.sqrt(numbers)
    assert (drawn.square().mean() - 1).abs() < 5 * math.sqrt(2 / numbers)
    assert (drawn**3).mean().abs() < 5 * math.sqrt(15 / numbers)
    assert ((drawn**4).mean() - 3).abs() < 5 * math.sqrt(96 / numbers)
    beyond = math.erfc(2 / math.sqrt(2))
    assert ((drawn.abs() > 2).double().mean() - beyond).abs() < 5 * math.sqrt(beyond / numbers)


@pytest.mark.parametrize("tokens", [1, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("antithetic", [False, True])
def test_the_noise_of_a_text_does_not_depend_on_its_padding(tokens: int, antithetic: bool) -> None:
    short, long = (_copies(t, 6, seed=3, block=4, antithetic=antithetic) for t in (tokens, 19))
    for count in (1, 5, 2):
        drawn = short.draw(count)
        assert drawn.shape == (count, 1, tokens, 6)
        assert torch.equal(drawn, long.draw(count)[:, :, :tokens])


@pytest.mark.parametrize("block", [None, 2])
def test_one_draw_of_several_copies_is_several_draws_of_one_in_each_stream(block: int | None) -> None:
    """So that how many copies share a pass changes nothing."""
    at_once, one_by_one = (_copies(2, 16, seed=5, block=block) for _ in range(2))
    assert torch.equal(at_once.draw(4), torch.cat([one_by_one.draw(1) for _ in range(4)]))


@pytest.mark.parametrize("count", [1, 4, 5])
def test_without_antithetic_noise_nothing_is_mirrored(count: int) -> None:
    noise = _copies(300).draw(count)
    assert noise.shape == (count, 1, 300)
    for one, other in itertools.combinations(noise, 2):
        assert not bool((one == -other).any())
