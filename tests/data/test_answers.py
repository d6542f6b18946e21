"""A prompt and its answer in tokens: a row ends behind each part, and only the prompt's words may explain it."""

import pytest

from bitlens.data.answers import read_answer
from bitlens.data.words import WordTokenizer
from bitlens.errors import InputError

WORDS = WordTokenizer(["<pad>", "<unk>", *"abcdefgh", "."], max_length=12)
"""The ids of a, b, c ... are 2, 3, 4 ..., that of the full stop 10."""


def test_each_row_ends_with_its_part_and_what_was_said_before_is_given():
    read = read_answer(WORDS, "a b c", " d e . f .", [(1, 6), (7, 10)])
    assert read.tokens.tolist() == [[5, 6, 10], [7, 10, -1]]
    assert read.batch.inputs["input_ids"].tolist() == [[2, 3, 4, 5, 6, 10, 0, 0], [2, 3, 4, 5, 6, 10, 7, 10]]
    assert read.batch.inputs["attention_mask"].sum(1).tolist() == [6, 8]
    assert read.batch.real.long().tolist() == [[1, 1, 1, 0, 0, 0, 0, 0]] * 2
    assert read.batch.special.sum(1).tolist() == [3, 5]
    assert read.batch.spans[0] == ((0, 1), (2, 3), (4, 5), None, None, None)
    assert [word.span for word in read.batch.words_of(1)] == [(0, 1), (2, 3), (4, 5)]


def test_what_stands_between_the_sources_stays_as_it_is():
    read = read_answer(WORDS, "a b c", " d", [(0, 2)], context=[(0, 1), (4, 5)])
    assert read.batch.real.long().tolist() == [[1, 0, 1, 0]]


@pytest.mark.parametrize(
    ("prompt", "answer", "parts", "said"),
    [
        ("a", "b", [(0, 1)], "stands half in the prompt"),
        ("a", " b", [(0, 1)], "no token in"),
        ("a a a a a a a a a a", " b c d", [(0, 6)], "longer than the 12 tokens"),
    ],
)
def test_what_cannot_be_read_is_refused(prompt, answer, parts, said, recwarn):  # noqa: ARG001
    with pytest.raises(InputError, match=said):
        read_answer(WORDS, prompt, answer, parts)
