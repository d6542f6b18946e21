"""An answer of the web page: everything that comes from outside is text, and what is drawn says what it is."""

import re

import numpy as np

from bitlens.view.answer import Answer
from bitlens.view.card import Card, draw_figure, draw_photo_uri
from bitlens.view.colours import Scale
from bitlens.view.page_answer import PageAnswer
from bitlens.view.shaded import Piece, ShadedText, word_scale

NASTY = "<img src=x onerror=alert(1)> & “heart”"


def card(values: np.ndarray) -> Card:
    photo = np.full((3, 8, 8), 0.5, dtype=np.float32)
    figure = draw_figure(photo, values, Scale.over([values], "bits/pixel"), method=NASTY, details=NASTY)
    return Card("a", NASTY, Answer(NASTY, 0.9), draw_photo_uri(photo), (8, 8), (figure,), (NASTY,))


def test_what_comes_from_outside_stays_text():
    drawn = card(np.eye(8, dtype=np.float32))
    text = ShadedText([Piece(NASTY, 1.0)], word_scale([[Piece(NASTY, 1.0)]], "bits"), NASTY, (NASTY,))
    for content in ({"card": drawn}, {"texts": [text]}):
        said = {"said": [(NASTY, 0.9)], "numbers": [(NASTY, NASTY)], "meanings": [NASTY], "warnings": [NASTY]}
        page = PageAnswer(Answer(NASTY, 0.9, NASTY * 2, 0.1, NASTY), **said, **content).html()
        assert "onerror=alert" in page
        assert "<img src=x" not in page
        assert not re.findall(r"<script|javascript:", page)


def test_classes_have_bars_as_long_as_they_are_likely():
    page = PageAnswer(Answer("heart"), said=[("heart", 0.75), ("ring", 0.2504)]).html()
    assert re.findall(r"width:([\d.]+)%", page) == ["75.0", "25.0"]
    assert re.findall(r'class="share">([\d.]+)<', page) == ["0.750", "0.250"]
    assert page.count('class="asked"') == 1


def test_a_map_lies_over_its_photo_and_says_its_unit_and_where_its_colours_end():
    page = PageAnswer(Answer("heart"), card(np.eye(8, dtype=np.float32) * 1.6)).html()
    assert 'type="range"' in page
    assert page.count(draw_photo_uri(np.full((3, 8, 8), 0.5, dtype=np.float32))) == 2  # by itself, and under its map
    assert "Colours from 0 to 1.6 bits/pixel" in page


def test_a_map_of_nothing_says_so():
    assert "0 everywhere" in PageAnswer(Answer("heart"), card(np.zeros((8, 8), dtype=np.float32))).html()
