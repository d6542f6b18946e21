"""Drop of an answer without the highest units, and the correlation of scores with random ablations, against closed forms."""

import pytest
import torch

from bitlens.errors import SettingError
from bitlens.metrics import Texts, linear_datamodelling_score, top_drop

WORTH = torch.tensor([[5.0, 3.0, -2.0, 1.0, 0.0], [1.0, 2.0, 3.0, 0.0, 0.0]])
PRESENT = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()


def texts(units=None):
    ids = torch.arange(5).expand(2, 5)
    return Texts(ids, Texts.each_token(PRESENT) if units is None else units, PRESENT, -1)


def summed(ids, present):
    """What is left is worth the sum of its tokens."""
    worth = WORTH.repeat(len(ids) // 2, 1)
    return torch.where(present & (ids >= 0), worth.gather(1, ids.clamp_min(0)), 0).sum(1)


@pytest.mark.parametrize("mode", ["delete", "replace"])
@pytest.mark.parametrize("rows", [2, 7])
def test_an_answer_loses_what_the_highest_are_worth(mode, rows):
    found = top_drop(summed, texts(), WORTH, tops=(1, 2, 9), mode=mode, rows=rows)
    assert found.tolist() == [[5, 8, 7], [3, 5, 6]]


def test_units_go_as_a_whole():
    units = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, -1, -1]])
    found = top_drop(summed, texts(units), WORTH, tops=(1,))
    assert found.tolist() == [[8], [5]]


def test_true_worths_foretell_every_ablation_and_their_opposite_none():
    found = linear_datamodelling_score(summed, texts(), WORTH, share=0.4)
    assert found.tolist() == pytest.approx([1, 1])
    assert linear_datamodelling_score(summed, texts(), -WORTH, share=0.4).tolist() == pytest.approx([-1, -1])


def test_what_says_nothing_has_no_correlation():
    assert bool(linear_datamodelling_score(summed, texts(), torch.zeros_like(WORTH)).isnan().all())
    flat = linear_datamodelling_score(lambda ids, _: torch.ones(len(ids)), texts(), WORTH)
    assert bool(flat.isnan().all())


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(SettingError, match="from 1 on"):
        top_drop(summed, texts(), WORTH, tops=(0,))
    with pytest.raises(SettingError, match="between 0 and 1"):
        linear_datamodelling_score(summed, texts(), WORTH, share=1.0)
