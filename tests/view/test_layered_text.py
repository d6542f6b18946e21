"""Texts layer by layer as a page."""

import re

import pytest

from bitlens.view.layered_text import LayeredText, LayerRow, LayerTable, layers_html
from bitlens.view.shaded import ShadedText, pieces_of, word_scale

TEXT = "a <b> & c"
SPANS = [(0, 1), (2, 5), (8, 9)]


def row(name, values, total, rest=0.0):
    pieces = pieces_of(TEXT, SPANS, values)
    return LayerRow(name, ShadedText(pieces, word_scale([pieces], "bits", vmax=max(total, 10.0))), total, rest, 0.876)


@pytest.fixture
def page():
    rows = [row("layer 1", [60.0, 20.0, 0.0], 100.0, 20.0), row("layer 2", [0.02, 0.0, 0.0], 0.02)]
    tables = [LayerTable("net · β = 1", rows), LayerTable("net · β = 10", rows, shown=False)]
    return layers_html([LayeredText("line 1: <good>, probability 0.95", tables)], "Layer by layer: net", "probability")


def test_each_layer_has_its_words_shaded_by_their_share_of_its_bits(page):
    shares = [float(share) for share in re.findall(r"--share:([\d.]+)%\" title", page)]
    assert shares[:3] == [60, 20, 0]
    assert max(shares[3:6]) < 1  # next to none pass: next to no shade
    assert page.count('title="60 bits"') == 2
    assert "20 on special tokens" in page
    assert '<span class="bits">100</span>' in page
    assert '<span class="bits">0</span>' in page
    assert "0.88" in page


def test_names_and_texts_are_escaped(page):
    assert "line 1: &lt;good&gt;" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


def test_the_page_asks_no_server_and_opens_one_table(page):
    assert page.count("<details open>") == 1
    assert page.count("<details>") == 1
    assert "default-src 'none'" in page
    assert not re.search(r"<(script|img|link|iframe|a)\b", page)
    assert "http" not in page.replace("http-equiv", "")
