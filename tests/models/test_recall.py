"""The bundled language model: it answers, and by the words that state the answer alone."""

import pytest
import torch

from bitlens.data.recall import IDLE, NAMES, THINGS, questions
from bitlens.errors import SettingError
from bitlens.explaining.answers import AnswerExplainer
from bitlens.models.generating import generated
from bitlens.models.load_language import load_language_model

ASKED = questions(90, seed=7)


@pytest.fixture(scope="module")
def loaded():
    return load_language_model("builtin/recall")


@pytest.fixture(scope="module")
def read(loaded):
    """The prompts, their last places, the answers' ids, and which tokens carry the answers."""
    batch = loaded.tokenizer([one.prompt for one in ASKED])
    answers = loaded.tokenizer([one.answer for one in ASKED]).inputs["input_ids"][:, 0]
    carrying = torch.zeros(batch.real.shape, dtype=torch.bool)
    for row, one in enumerate(ASKED):
        inside = [one.who, *(span for place in one.places for span in place)]
        for token, span in enumerate(batch.spans[row]):
            carrying[row, token] = span in inside
    return batch, batch.real.sum(1) - 1, answers, carrying


def probabilities(network, states, read):
    _, last, answers, _ = read
    rows = torch.arange(len(answers))
    with torch.no_grad():
        return network.after(states)[rows, last].softmax(1)[rows, answers]


def test_questions_are_what_they_say():
    assert questions(9, seed=3) == questions(9, seed=3)
    assert questions(9, seed=3) != questions(9, seed=4)
    for one in ASKED:
        told = [tuple(one.text[slice(*span)] for span in place) for place in one.places]
        who = one.prompt[slice(*one.who)]
        if one.kind == "two hops":
            assert [pair[0] for pair in told].count(who) == 1
            assert {pair[1] for pair in told} - {pair[0] for pair in told} == {one.answer}
        else:
            assert told == [(who, one.answer)] * (2 if one.kind == "twice" else 1)
    assert not {*NAMES, *THINGS} & {word.strip(".") for line in IDLE for word in line.split()}
    with pytest.raises(SettingError, match="facts 1 to 8"):
        questions(1, facts=9)


def test_it_answers_every_question(loaded, read):
    found = probabilities(loaded.model, loaded.model.embedding(read[0].inputs["input_ids"]), read)
    assert float(found.min()) > 0.99


def test_it_needs_the_words_that_carry_the_answer_and_no_others(loaded, read):
    batch, _, _, carrying = read
    table = loaded.model.embedding.weight
    words = loaded.model.embedding(batch.inputs["input_ids"])
    noise = table.mean(0) + table.std(0) * torch.randn(words.shape, generator=torch.Generator().manual_seed(0))
    others = probabilities(loaded.model, torch.where((batch.real & ~carrying)[..., None], noise, words), read)
    assert float((others > 0.98).float().mean()) > 0.97
    own = probabilities(loaded.model, torch.where(carrying[..., None], noise, words), read)
    assert float(own.mean()) < 0.1


def test_what_stands_behind_changes_nothing_before(loaded, read):
    ids = read[0].inputs["input_ids"][:4]
    with torch.no_grad():
        whole, cut = loaded.model(ids), loaded.model(ids[:, :30])
    assert torch.allclose(whole[:, :30], cut, atol=1e-4)


def test_it_says_the_answer_and_ends(loaded):
    for one in ASKED[:3]:
        assert generated(loaded, one.prompt, 5) == f" {one.answer}"


def test_bits_are_on_the_words_that_carry_the_answer(loaded, read):
    explainer = AnswerExplainer(loaded)
    for row in (0, 1, 2):
        one, carrying = ASKED[row], read[3][row]
        (part,) = explainer(one.prompt, f" {one.answer}").parts
        values = torch.tensor(part.values)
        assert bool(carrying[int(values.argmax())]), one.kind
        assert float(values[~carrying[: len(values)]].max()) < 0.25 * float(values.max())
        assert float(part.attribution.evidence.kept[0]) >= 0.9
