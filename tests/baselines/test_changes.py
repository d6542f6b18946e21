"""What the network is given when tokens are removed."""

import pytest
import torch

from bitlens.baselines.changes import arranged, selected, without
from bitlens.errors import SettingError
from small_texts import CLS, MASK, PAD, SEP, TEXTS, BlankTokenizer

TOKENIZER = BlankTokenizer()


@pytest.fixture
def batch():
    batch = TOKENIZER(TEXTS)
    batch.inputs["token_type_ids"] = (torch.arange(batch.real.shape[1]) > 2).long() * batch.present
    return batch


def changed(batch, removed, mode):
    rows = torch.arange(len(batch))
    return arranged(batch, rows, *without(removed, batch.present, mode), MASK, PAD)


def test_deleting_is_what_the_tokenizer_does(batch):
    removed = (torch.rand(batch.real.shape, generator=torch.Generator().manual_seed(1)) < 0.5) & batch.real
    expected = TOKENIZER.without(batch, removed)
    found = changed(batch, removed, "delete")
    length = expected.real.shape[1]
    assert torch.equal(found["input_ids"][:, :length], expected.inputs["input_ids"])
    assert torch.equal(found["attention_mask"][:, :length], expected.inputs["attention_mask"])
    there = expected.present
    assert torch.equal(found["token_type_ids"][:, :length][there], expected.inputs["token_type_ids"][there])
    assert not found["attention_mask"][:, length:].any()


def test_replacing_changes_ids_and_nothing_else(batch):
    removed = torch.zeros_like(batch.real)
    removed[0, 2] = removed[2, 5] = True
    found = changed(batch, removed, "replace")
    assert torch.equal(found["input_ids"], torch.where(removed, MASK, batch.inputs["input_ids"]))
    for name in ("attention_mask", "token_type_ids"):
        assert torch.equal(found[name], batch.inputs[name])


def test_removing_nothing_changes_nothing(batch):
    for mode in ("delete", "replace"):
        found = changed(batch, torch.zeros_like(batch.real), mode)
        assert torch.equal(found["attention_mask"], batch.inputs["attention_mask"])
        assert torch.equal(found["input_ids"], batch.inputs["input_ids"])


def test_a_text_without_tokens_keeps_its_special_ones(batch):
    found = changed(batch, batch.real, "delete")
    assert found["input_ids"][0].tolist() == [CLS, SEP, *[PAD] * (batch.real.shape[1] - 2)]


def test_other_inputs_follow_their_text(batch):
    batch.inputs["language"] = torch.tensor([3, 1, 4, 1])
    rows = torch.tensor([2, 0, 2])
    found = arranged(batch, rows, *without(batch.real[rows], batch.present[rows], "replace"), MASK, PAD)
    assert found["language"].tolist() == [4, 3, 4]


def test_part_of_a_batch_ends_where_its_longest_text_does(batch):
    part = selected(batch, slice(0, 2))
    assert part.real.shape == part.inputs["input_ids"].shape == (2, 6)
    assert part.texts == tuple(TEXTS[:2])
    assert torch.equal(part.real, batch.real[:2, :6])


def test_another_way_of_removing_is_refused(batch):
    with pytest.raises(SettingError, match="mode"):
        without(batch.real, batch.present, "hide")
