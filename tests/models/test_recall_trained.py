"""The language model that was trained: it answers, stands by its answers where the rest is noise, and so it can be trained."""

import random

import pytest
import torch

from bitlens.data.recall import questions
from bitlens.data.words import PAD
from bitlens.models.builtin.recall import vocabulary
from bitlens.models.builtin.recall_trained import TrainedRecall
from bitlens.models.generating import generated
from bitlens.models.load_language import load_language_model
from train_recall import accuracy, draw, noised, train

ASKED = questions(90, seed=7)
WORDS = {word: number for number, word in enumerate(vocabulary())}


@pytest.fixture(scope="module")
def loaded():
    return load_language_model("builtin/recall-trained")


def test_it_answers_nearly_every_question_of_each_kind(loaded):
    assert min(accuracy(loaded.model, loaded.tokenizer, 300, 7)) > 0.97


def test_it_says_the_answer_and_ends(loaded):
    right = sum(generated(loaded, one.prompt, 5) == f" {one.answer}" for one in ASKED[:12])
    assert right >= 11


def test_it_stands_by_its_answers_where_words_that_carry_nothing_are_noise(loaded):
    torch.manual_seed(0)
    batch = draw(random.Random(7), WORDS, 6, 4, alone=True)
    own, table = loaded.model.embedding(batch.ids), loaded.model.embedding.weight
    noise = table.mean(0) + table.std(0) * torch.randn(own.shape)
    answers = batch.behind > PAD
    with torch.no_grad():
        said = loaded.model.after(torch.where(batch.carries[..., None], own, noise))[answers].softmax(1)
        lost = loaded.model.after(torch.where(batch.carries[..., None], noise, own))[answers].softmax(1)
    right = batch.behind[answers]
    assert float(said.gather(1, right[:, None]).mean()) > 0.9
    assert float(lost.gather(1, right[:, None]).mean()) < 0.2


def test_what_stands_behind_changes_nothing_before(loaded):
    ids = loaded.tokenizer([one.prompt for one in ASKED[:4]]).inputs["input_ids"]
    with torch.no_grad():
        assert torch.allclose(loaded.model(ids)[:, :30], loaded.model(ids[:, :30]), atol=1e-4)


def test_texts_for_training_know_what_carries_each_answer():
    batch = draw(random.Random(0), WORDS, 6, 4, alone=True)
    answers = batch.behind > PAD
    assert answers.sum(1).tolist() == [1] * len(answers)
    rows, places = answers.nonzero().T
    assert torch.equal(batch.ids[rows, places + 1], batch.behind[rows, places])
    assert bool((batch.behind[rows, places + 1] == PAD).all())
    for row, place in zip(rows.tolist(), places.tolist(), strict=True):
        carrying = batch.ids[row, :place][batch.carries[row, :place]]
        assert int(batch.behind[row, place]) in carrying.tolist()
    everybody = draw(random.Random(0), WORDS, 6, 4, alone=False)
    assert (everybody.behind > PAD).sum(1).tolist() == [6] * len(answers)


def test_it_can_be_trained():
    torch.manual_seed(0)
    network = TrainedRecall(len(WORDS))
    batch = draw(random.Random(1), WORDS, 2, 0, alone=False)
    before = network(batch.ids)[batch.behind >= 0].softmax(1).gather(1, batch.behind[batch.behind >= 0][:, None]).mean()
    train(network, WORDS, 24, 2, 0)
    after = network(batch.ids)[batch.behind >= 0].softmax(1).gather(1, batch.behind[batch.behind >= 0][:, None]).mean()
    assert float(after.detach()) > 1.5 * float(before.detach())
    mixed = noised(network, batch)
    assert mixed.shape == (*batch.ids.shape, network.embedding.weight.shape[1])
    assert bool((mixed == network.embedding(batch.ids)).all(2).any())
