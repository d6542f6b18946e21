"""The tokenizer of whole words."""

import json

import pytest
import torch

from bitlens.data.words import PAD, UNKNOWN, WordTokenizer, build_vocabulary, split_words
from bitlens.errors import BitlensWarning, DataError, InputError

TEXT = "It's GOOD,  isn't it?<br />Don’t miss «Amélie» (2001)…"


@pytest.fixture
def tokenizer() -> WordTokenizer:
    return WordTokenizer(["<pad>", "<unk>", "good", "film", "a", "."], 8)


def test_words_are_lower_cased_and_punctuation_is_split_off():
    words = [word for word, _, _ in split_words(TEXT)]
    assert words == [
        "it's",
        "good",
        ",",
        "isn't",
        "it",
        "?",
        "don't",
        "miss",
        "«",
        "amélie",
        "»",
        "(",
        "2001",
        ")",
        "…",
    ]
    assert all(TEXT[start:end].lower().replace("’", "'") == word for word, start, end in split_words(TEXT))


def test_a_vocabulary_holds_the_most_frequent_words_in_a_fixed_order():
    vocabulary = build_vocabulary(["b a", "A c", "c a d"], 5)
    assert vocabulary == ["<pad>", "<unk>", "a", "c", "b"]


def test_batches_are_padded_on_the_right(tokenizer):
    batch = tokenizer(["A good film.", "bad"])
    assert batch.inputs["input_ids"].tolist() == [[4, 2, 3, 5], [UNKNOWN, PAD, PAD, PAD]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]
    assert batch.real.tolist() == [[True] * 4, [True, False, False, False]]
    assert not batch.special.any()
    assert batch.tokens == (("a", "good", "film", "."), ("<unk>",))
    assert [batch.texts[0][slice(*span)] for span in batch.spans[0]] == ["A", "good", "film", "."]
    assert batch.word_units.tolist() == [[0, 1, 2, 3], [0, -1, -1, -1]]
    assert (tokenizer.pad_id, tokenizer.mask_id) == (PAD, UNKNOWN)


def test_long_texts_are_cut_with_a_warning(tokenizer):
    with pytest.warns(BitlensWarning, match="text 1 is longer than the 8 tokens"):
        batch = tokenizer(["good", "a " * 9])
    assert batch.real.sum(1).tolist() == [1, 8]


def test_removed_words_leave_no_gap(tokenizer):
    batch = tokenizer(["A good film.", "good film"])
    removed = torch.tensor([[False, True, True, False], [False, True, True, True]])
    left = tokenizer.without(batch, removed)
    alone = tokenizer(["A.", "good"])
    assert {name: value.tolist() for name, value in left.inputs.items()} == {
        name: value.tolist() for name, value in alone.inputs.items()
    }
    assert left.tokens == alone.tokens
    assert left.words == ((0, 3), (0,))
    assert left.word_units.tolist() == alone.word_units.tolist()


def test_a_text_of_which_everything_is_removed_is_padding(tokenizer):
    batch = tokenizer(["good"])
    left = tokenizer.without(batch, torch.ones(1, 1, dtype=torch.bool))
    assert left.inputs["input_ids"].tolist() == [[PAD]]
    assert not left.present.any()


@pytest.mark.parametrize(
    ("texts", "pairs", "says"),
    [
        ("good", None, "list of texts"),
        ([], None, "list of texts"),
        (["a", " "], None, "text 1 is empty"),
        (["a"], ["b"], "pairs"),
    ],
)
def test_what_is_no_text_is_refused(tokenizer, texts, pairs, says):
    with pytest.raises(InputError, match=says):
        tokenizer(texts, pairs)


def test_the_vocabulary_comes_from_a_json_list(tmp_path, tokenizer):
    (tmp_path / "v.json").write_text(json.dumps(list(tokenizer.vocabulary)), "utf-8")
    assert WordTokenizer.load(tmp_path / "v.json", 8).vocabulary == tokenizer.vocabulary
    for content, says in [("{}", "no list"), ("[", "does not hold a vocabulary"), ('["a", "b"]', "must begin")]:
        (tmp_path / "v.json").write_text(content, "utf-8")
        with pytest.raises(DataError, match=says):
            WordTokenizer.load(tmp_path / "v.json", 8)
