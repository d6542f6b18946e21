"""Words, sentences, paragraphs and sources: nothing is lost, nothing is counted twice."""

import pytest

from bitlens.data.passages import Prompt, paragraphs, piece_of, sentences, words
from bitlens.errors import InputError

TEXT = 'It rained. "Who?" she asked!  Yes\nv1.5 is out.\n\nA new one… 你好。再见！ ok'


def test_sentences_end_where_people_end_them():
    found = [TEXT[start:end] for start, end in sentences(TEXT)]
    assert found == [
        "It rained.",
        '"Who?"',
        "she asked!",
        "Yes",
        "v1.5 is out.",
        "A new one…",
        "你好。",
        "再见！",
        "ok",
    ]


def test_paragraphs_are_parted_by_empty_lines():
    assert [TEXT[start:end][:9] for start, end in paragraphs(TEXT)] == ["It rained", "A new one"]


@pytest.mark.parametrize("find", [words, sentences, paragraphs])
@pytest.mark.parametrize("text", [TEXT, "one", "  spaced .  out ", "no end\n\n\nat all\n", "...", "a.b.c d.", ""])
def test_every_character_that_is_no_space_belongs_to_one_piece(find, text):
    covered = [place for start, end in find(text) for place in range(start, end)]
    assert len(covered) == len(set(covered))
    assert {place for place, character in enumerate(text) if not character.isspace()} <= set(covered)


def test_sources_stand_before_the_prompt_and_know_their_characters():
    prompt = Prompt.of("Who?", {"a.txt": "Ann. Bob.", "b.txt": "Cy."})
    assert prompt.text == "Ann. Bob.\n\nCy.\n\nWho?"
    assert [prompt.text[slice(*span)] for span in prompt.sources.values()] == ["Ann. Bob.", "Cy.", "Who?"]
    assert [(piece.text, piece.source) for piece in prompt.pieces("sentence")] == [
        ("Ann.", "a.txt"), ("Bob.", "a.txt"), ("Cy.", "b.txt"), ("Who?", "prompt"),
    ]  # fmt: skip
    assert [piece.text for piece in prompt.pieces("source")] == ["a.txt", "b.txt", "prompt"]
    assert piece_of((5, 8), [piece.span for piece in prompt.pieces("sentence")]) == 1
    assert piece_of((9, 11), [piece.span for piece in prompt.pieces("sentence")]) == -1


def test_an_empty_prompt_and_a_source_called_prompt_are_refused():
    with pytest.raises(InputError, match="empty"):
        Prompt.of("  ")
    with pytest.raises(InputError, match="another name"):
        Prompt.of("Who?", {"prompt": "Ann."})
