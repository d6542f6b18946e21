"""Answers of language models, part by part: bits of pieces add up, and every part is what it is alone."""

import json
from html import unescape

import pytest
import torch
from torch import nn

from bitlens.data.words import WordTokenizer
from bitlens.errors import InputError, ModelError, SettingError
from bitlens.explaining.answers import AnswerExplainer, answers_page

WORDS = ["<pad>", "<unk>", *"abcdefgh", ".", "?"]
PROMPT = "c d. e?"


SOURCES = {"one.txt": "a b.", "two.txt": "f. g."}
"""The prompt's tokens are a b . f . g . c d . e ? and the answer's first one stands at place 12."""


class Copies(nn.Module):
    """Foresees the first word of one.txt at places up to 13, and that of two.txt behind."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(len(WORDS), 16)
        self.head = nn.Linear(16, len(WORDS), bias=False)
        with torch.no_grad():
            self.head.weight.copy_(self.embedding.weight * 2)

    def forward(self, input_ids, attention_mask=None):  # noqa: ARG002
        states = self.embedding(input_ids)
        places = [0 if place < 14 else 3 for place in range(input_ids.shape[1])]
        return self.head(states[:, places])


@pytest.fixture(scope="module")
def explainer():
    return AnswerExplainer(Copies().eval(), WordTokenizer(WORDS, 40))


@pytest.fixture(scope="module")
def found(explainer):
    return explainer(PROMPT, " a a a f f", sources=SOURCES, each="word")


def test_each_word_used_the_source_that_it_copies(found):
    assert [part.text for part in found.parts] == ["a", "a", "a", "f", "f"]
    for part, source, word in zip(found.parts, ["one.txt"] * 3 + ["two.txt"] * 2, ["a"] * 3 + ["f."] * 2, strict=True):
        values = {piece.text: value for piece, value in found.grouped(part, "source")}
        total = sum(values.values())
        assert values[source] > 0.95 * total > 2
        assert max(found.grouped(part), key=lambda one: one[1])[0].text == word


@pytest.mark.parametrize("group", ["word", "sentence", "paragraph", "source"])
def test_bits_of_pieces_add_up(found, group):
    for part in found.parts:
        total = float(part.attribution.total_bits[0])
        assert sum(value for _, value in found.grouped(part, group)) == pytest.approx(total, rel=1e-5)


def test_a_part_has_the_bits_that_it_has_alone(explainer, found):
    alone = explainer(PROMPT, " a", sources=SOURCES)
    assert alone.parts[0].values == pytest.approx(found.parts[0].values, rel=1e-3, abs=1e-3)
    assert alone.parts[0].nats == pytest.approx(found.parts[0].nats)


def test_the_probability_is_that_of_the_tokens_where_they_stand(explainer, found):
    whole = explainer(PROMPT, " a a a", sources=SOURCES).parts[0]
    read = explainer.loaded.tokenizer([found.prompt.text + found.answer])
    with torch.no_grad():
        log_p = explainer.loaded.model(read.inputs["input_ids"]).double().log_softmax(2)[0]
    ids = read.inputs["input_ids"][0]
    each = [float(log_p[t - 1, ids[t]]) for t in (12, 13, 14)]
    assert whole.nats == pytest.approx(sum(each), rel=1e-4)
    assert whole.tokens == 3
    assert [part.nats for part in found.parts[:3]] == pytest.approx(each, rel=1e-4)


def test_the_model_says_its_own_answer(explainer):
    found = explainer(PROMPT, sources=SOURCES, max_new_tokens=2)
    assert found.answer == " a a"


@pytest.mark.parametrize("method", ["leave-one-out", "gradient-x-input", "random"])
def test_other_methods_give_scores(method):
    explainer = AnswerExplainer(Copies().eval(), WordTokenizer(WORDS, 40), method=method)
    found = explainer(PROMPT, " a a", sources=SOURCES)
    assert found.unit == "score"
    if method != "random":
        assert max(found.grouped(found.parts[0]), key=lambda one: one[1])[0].text == "a"


def test_values_for_machines_are_json(found):
    told = json.loads(json.dumps(found.as_dict()))
    assert [len(part["tokens"]) for part in told["parts"]] == [12] * 5
    assert [[piece["text"] for piece in part["sources"]] for part in found.as_dict("source")["parts"]] == [
        ["one.txt", "two.txt", "prompt"]
    ] * 5


def test_the_page_holds_every_part_and_asks_no_server(found):
    page = answers_page([found], "<title>")
    assert page.count('type="radio"') == 5
    assert "&lt;title&gt;" in page
    assert "default-src 'none'" in unescape(page)
    for word in ("http://", "https://", "src="):
        assert word not in page


@pytest.mark.parametrize(
    ("prompt", "answer", "error", "said"),
    [(" ", "a", InputError, "the prompt is empty"), ("a", "  ", InputError, "the answer is empty")],
)
def test_nothing_is_refused(explainer, prompt, answer, error, said):
    with pytest.raises(error, match=said):
        explainer(prompt, answer)


def test_a_model_needs_its_own_tokenizer():
    with pytest.raises(ModelError, match="without a tokenizer"):
        AnswerExplainer(Copies())
    with pytest.raises(SettingError, match="must be a module"):
        AnswerExplainer(3)
