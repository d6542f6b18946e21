from itertools import pairwise

import pytest

from bitlens.errors import InputError
from bitlens.view.canvas import new_page, shorten, width_of, wrap

WORDS = "the quick brown fox jumps over the lazy dog " * 8


@pytest.mark.parametrize("width", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("bold", [False, True])
def test_lines_are_as_full_as_the_width_allows(width: float, bold: bool) -> None:
    lines = wrap(WORDS, width, 9, bold=bold)
    assert " ".join(lines).split() == WORDS.split()
    assert max(width_of(line, 9, bold) for line in lines) <= width
    for line, following in pairwise(lines):
        assert width_of(f"{line} {following.split()[0]}", 9, bold) > width


def test_width_is_measured_in_inches() -> None:
    assert width_of("n" * 100, 72) == pytest.approx(100 * 0.634, rel=0.01)  # the advance of n in DejaVu Sans
    assert width_of("word", 18) == pytest.approx(2 * width_of("word", 9), rel=1e-3)
    assert width_of("word", 9, bold=True) > width_of("word", 9)


def test_parts_stay_together_if_they_fit() -> None:
    text = "one two three · four five six · seven eight"
    assert wrap(text, width_of("one two three · four five", 9), 9) == ["one two three", "four five six", "seven eight"]
    assert wrap(text, width_of(text, 9) + 0.01, 9) == [text]


def test_equations_are_not_broken() -> None:
    lines = wrap("noise at layer2 with β = 10", width_of("noise at layer2 with β =", 9), 9)
    assert [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines] == ["noise at layer2 with", "β = 10"]


def test_words_wider_than_a_line_are_cut_after_a_hyphen_or_anywhere() -> None:
    assert wrap("occlusion-14-pixels", width_of("occlusion-14-", 9) + 0.01, 9) == ["occlusion-14-", "pixels"]
    lines = wrap("a" * 100, 1.0, 9)
    assert "".join(lines) == "a" * 100
    assert len({len(line) for line in lines[:-1]}) == 1


def test_what_does_not_fit_is_elided() -> None:
    lines = wrap(WORDS, 1.5, 9, max_lines=2)
    assert len(lines) == 2
    assert lines[1].endswith("…")
    assert width_of(lines[1], 9) <= 1.5
    assert wrap("short", 1.5, 9, max_lines=2) == ["short"]


def test_line_breaks_stay_and_nothing_is_nothing() -> None:
    assert wrap("one\ntwo", 3, 9) == ["one", "two"]
    assert wrap("", 3, 9) == []


def test_control_characters_are_left_out() -> None:
    assert wrap("a\x00b\x1b[0m\tc", 3, 9) == ["a b [0m c"]


def test_a_page_longer_than_a_picture_can_be_is_refused() -> None:
    with pytest.raises(InputError, match="65535 is the most"):
        new_page(7, 400)


def test_names_lose_their_middle_so_that_both_ends_tell_them_apart() -> None:
    names = [f"integrated-gradients[baseline={word}]" for word in ("mask", "zero")]
    width = 0.7 * width_of(names[0], 8)
    short = [shorten(name, width, 8) for name in names]
    assert all(0.9 * width < width_of(name, 8) <= width for name in short)
    assert short[0] != short[1]
    assert short[0].startswith("integrated-")
    assert short[0].endswith("mask]")
    assert shorten(names[0], 10, 8) == names[0]
    assert shorten(names[0], 0.01, 8) == "…"
