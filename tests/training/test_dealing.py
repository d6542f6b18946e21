"""Who gets which sample."""

import pytest
import torch

from bitlens.errors import SettingError
from bitlens.training.dealing import deal, generator_of, seed_of, shares
from bitlens.training.settings import TrainingSettings


def test_every_sample_is_trained_on_or_held_out_once():
    groups, held = deal(100, TrainingSettings(batch=10), 1)
    assert sorted([row for group in groups for row in group] + held) == list(range(100))
    assert [len(group) for group in groups] == [10] * 9
    assert deal(100, TrainingSettings(batch=10, seed=1), 1) != (groups, held)


def test_batches_do_not_depend_on_processes_or_parts():
    assert deal(50, TrainingSettings(batch=8), 1) == deal(50, TrainingSettings(batch=8, accumulation=2), 2)


def test_shares_of_all_processes_make_the_batch():
    group = list(range(16))
    for world, parts in ((1, 1), (2, 1), (2, 4), (4, 2)):
        dealt = [row for rank in range(world) for part in shares(group, world, rank, parts) for row in part]
        assert sorted(dealt) == group
    first = [next(shares(group, 2, rank, 2)) for rank in (0, 1)]
    assert first == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_rest_is_left_out_and_too_little_is_refused():
    groups, held = deal(25, TrainingSettings(batch=8, held_out=0), 1)
    assert (len(groups), held) == (3, [])
    with pytest.raises(
        SettingError, match=r"there are 7 samples to train on .1 are held out., fewer than one batch of 16"
    ):
        deal(8, TrainingSettings(), 1)
    with pytest.raises(SettingError, match="batch=16 cannot be cut into equal parts for 3 processes"):
        deal(80, TrainingSettings(), 3)


def test_seeds_are_fixed_and_apart():
    assert seed_of(0, 1, 2) == seed_of(0, 1, 2)
    assert len({seed_of(a, b, c) for a in range(5) for b in range(5) for c in range(5)}) == 125
    draws = [torch.randn(1000, generator=generator_of(0, i)) for i in range(2)]
    assert abs(float(torch.corrcoef(torch.stack(draws))[0, 1])) < 0.15


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"held_out": 1.0}, "share of the samples"),
        ({"precision": "fp8"}, "precision must be one of"),
        ({"memory": -1.0}, "memory must not be negative"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(SettingError, match=words):
        TrainingSettings(**settings)
