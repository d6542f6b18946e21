"""Split conformal prediction: the quantile's closed form, and coverage of exchangeable draws."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bitlens.core.conformal import BUDGETS, fewest_from_above, least_count, quantile, rank
from bitlens.core.guarantee import Guarantee, Promise
from bitlens.core.statistics import Provenance
from bitlens.errors import DataError, InputError, SettingError


def guarantee(needed: list[int], **other: object) -> Guarantee:
    budgets = torch.tensor([8.0, 16.0, 32.0, 64.0], dtype=torch.float64)
    known = Provenance("net", "0123456789abcdef", "layer2")
    return Guarantee("iba", {"beta": 1.0}, budgets, torch.tensor(needed), 4, "predicted", provenance=known, **other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "level", "place"),
    [
        (9, 0.9, 9),
        (8, 0.9, 9),
        (19, 0.95, 19),
        (99, 0.99, 99),
        (100, 0.9, 91),
        (199, 0.9, 180),
        (10, 0.5, 6),
        (0, 0.9, 1),
    ],
)
def test_the_rank_is_that_of_the_closed_form(count: int, level: float, place: int) -> None:
    assert rank(count, level) == place


@pytest.mark.parametrize(("level", "count"), [(0.9, 9), (0.95, 19), (0.99, 99), (0.5, 1), (0.999, 999), (0.1, 1)])
def test_as_many_inputs_are_needed_as_make_a_rank(level: float, count: int) -> None:
    assert least_count(level) == count
    assert rank(count, level) <= count
    assert count == 1 or rank(count - 1, level) > count - 1


def test_the_quantile_is_that_number_in_their_order() -> None:
    numbers = torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0, 9.0, 8.0, 7.0, 6.0], dtype=torch.float64)
    assert quantile(numbers, 0.9) == 9.0
    assert quantile(numbers, 0.5) == 5.0
    assert quantile(numbers[:8], 0.9) == math.inf
    assert quantile(numbers[:0], 0.5) == math.inf


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_so_many_of_the_next_inputs_are_covered(level: float) -> None:
    """Draws from any distribution, here with infinite ones: between level and level + 1/(n+1), with the draws' own error."""
    draw, count, turns = np.random.default_rng(3), 120, 4000
    drawn = torch.from_numpy(np.exp(draw.normal(size=(turns, count + 1)) * 2))
    drawn[torch.from_numpy(draw.random((turns, count + 1)) < 0.005)] = math.inf
    covered = np.mean([float(one[-1]) <= quantile(one[:-1], level) for one in drawn])
    error = (level * (1 - level) / turns) ** 0.5
    assert level - 3 * error <= covered <= level + 1 / (count + 1) + 3 * error + 0.005  # infinite ones are ties


def test_all_larger_budgets_must_keep() -> None:
    """The second input is kept by 2 and lost by 3 again, the third by none, the last by all."""
    kept = {1.0: [0, 0, 0, 1], 2.0: [1, 1, 0, 1], 3.0: [1, 0, 0, 1], 4.0: [1, 1, 0, 1]}
    asked: list[tuple[float, list[int]]] = []

    def keeps(budget: float, left: Tensor) -> Tensor:
        asked.append((budget, left.tolist()))
        return torch.tensor(kept[budget])[left] > 0

    assert fewest_from_above(keeps, 4, tuple(kept)).tolist() == [2.0, 4.0, math.inf, 1.0]
    assert asked == [(4.0, [0, 1, 2, 3]), (3.0, [0, 1, 3]), (2.0, [0, 3]), (1.0, [0, 3])]


def test_budgets_rise_evenly() -> None:
    steps = torch.tensor(BUDGETS, dtype=torch.float64).log2().diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 1 / 8))


def test_a_guarantee_says_what_it_can() -> None:
    found = guarantee([0, 1, 1, 2, 3, 3, 3, 3, 3, 4], levels=(0.5, 0.8, 0.9, 0.99))
    assert found.bits.tolist() == [8, 16, 16, 32, 64, 64, 64, 64, 64, math.inf]
    assert [row["bits"] for row in found.rows()] == [64, 64, None, None]
    assert found.promise == Promise(0.5, 10, 4, 64.0)
    assert str(found.at(0.8).promise) == (
        "at least 80 % of inputs like these keep their class with this much (64 bits; measured on 10 others, by the mean answer "
        "under 4 noises)"
    )
    with pytest.raises(SettingError, match="1 of 10 do not keep their class with any budget up to 64 bits"):
        _ = found.at(0.9).promise
    with pytest.raises(SettingError, match=r"99 % of inputs from 10: 99 are needed; calibrate with more"):
        _ = found.at(0.99).promise
    with pytest.raises(SettingError, match="above 0 and below 1, got 1"):
        found.at(1)


def test_more_inputs_can_follow_and_all_survive_a_file(tmp_path: object) -> None:
    found = guarantee([0, 1], inputs=("a", "b")).with_more(torch.tensor([3]), ["c"])
    assert (found.inputs, found.needed.tolist()) == (("a", "b", "c"), [0, 1, 3])
    with pytest.raises(InputError, match="3 fingerprints for 4 inputs"):
        found.with_more(torch.tensor([2]))
    place = f"{tmp_path}/g.safetensors"
    found.save(place)
    again = Guarantee.load(place)
    assert vars(again) | {"budgets": 0, "needed": 0} == vars(found) | {"budgets": 0, "needed": 0}
    assert torch.equal(again.needed, found.needed)
    guarantee([0, 5]).save(place)  # a place beyond the budgets
    with pytest.raises(DataError, match="needed lies between 0 and 5, expected 0 to 4"):
        Guarantee.load(place)
    guarantee([0, 1], inputs=("a", "a")).save(place)
    with pytest.raises(DataError, match="or one of them twice"):
        Guarantee.load(place)


def test_what_differs_is_named() -> None:
    found = guarantee([0])
    assert not found.differences("iba", "layer2", "0123456789abcdef", {"beta": 1.0})
    assert found.differences("iba", "layer3", "0123456789abcdef", {"beta": 2.0, "seed": 1}) == [
        "layer was 'layer2', is 'layer3'",
        "beta was 1.0, is 2.0",
        "seed was None, is 1",
    ]
