"""Tiles and their order: closed cases, ties, sizes that tiles do not fill."""

import pytest
import torch

from bitlens.errors import SettingError
from bitlens.metrics.ranking import Tiles, by_rank, ranks, tie_order


def test_the_papers_tiles():
    assert Tiles((224, 224), 8).count == 784
    assert Tiles((224, 224), 14).count == 256
    assert Tiles((224, 160), 1).grid == (224, 160)


@pytest.mark.parametrize(("size", "side"), [((12, 8), 4), ((13, 10), 4), ((5, 9), 5), ((7, 6), 1)])
def test_means_sums_and_spread_against_loops(size, side):
    tiles = Tiles(size, side)
    maps = torch.randn(2, *size)
    cut = [
        maps[:, y : y + side, x : x + side].flatten(1).double()
        for y in range(0, size[0], side)
        for x in range(0, size[1], side)
    ]
    assert tiles.count == len(cut)
    torch.testing.assert_close(tiles.means(maps), torch.stack([c.mean(1) for c in cut], 1))
    torch.testing.assert_close(tiles.sums(maps), torch.stack([c.sum(1) for c in cut], 1))
    numbers = torch.arange(tiles.count).expand(2, -1)
    torch.testing.assert_close(tiles.means(tiles.spread(numbers)), numbers.double())


@pytest.mark.parametrize("side", [0, 9, 2.0])
def test_a_tile_that_does_not_fit_is_refused(side):
    with pytest.raises(SettingError, match="from 1 to 8"):
        Tiles((12, 8), side)


def test_ranks_are_places_in_the_order():
    scores = torch.tensor([[0.3, -1.0, 2.0, 0.5], [4.0, 3.0, 2.0, 1.0]])
    assert ranks(scores, descending=True, seed=0).tolist() == [[2, 3, 0, 1], [0, 1, 2, 3]]
    assert ranks(scores, descending=False, seed=0).tolist() == [[1, 0, 3, 2], [3, 2, 1, 0]]


def test_ties_go_in_one_random_order_in_both_directions():
    flat = torch.zeros(3, 50)
    down, up = (ranks(flat, descending=d, seed=1) for d in (True, False))
    assert torch.equal(down, up)
    assert (down == down[0]).all()
    assert not torch.equal(down, ranks(flat, descending=True, seed=2))
    assert down[0].tolist() != list(range(50))


def test_the_order_of_ties_does_not_depend_on_what_follows():
    short, long = tie_order(5, 3).tolist(), tie_order(200, 3).tolist()
    assert [unit for unit in long if unit < 5] == short


def test_by_rank_takes_one_count_for_all_or_one_for_each():
    places = torch.tensor([[0, 1, 2], [2, 1, 0]])
    assert by_rank(places, [0, 1, 3])(slice(1, 3)).int().tolist() == [[[1, 0, 0], [0, 0, 1]], [[1, 1, 1], [1, 1, 1]]]
    assert by_rank(places, torch.tensor([[1, 2]]))(slice(0, 1)).int().tolist() == [[[1, 0, 0], [0, 1, 1]]]
