"""Shaded texts in the terminal and as HTML."""

import io
import re
import shutil
from html.parser import HTMLParser

import pytest
from rich.console import Console

from bitlens.errors import InputError
from bitlens.view.shaded import (
    Abreast,
    Piece,
    ShadedText,
    html_fragment,
    html_page,
    number,
    pieces_of,
    terminal,
    word_scale,
)

TEXT = "  Don't <b>panic</b>,\tit's\n\nonly a & \"test\"  …  𝔘nicode é \n"
SPANS = [match.span() for match in re.finditer(r"\w+", TEXT)]


def shaded(values, unit="bits", text=TEXT, spans=SPANS, **more):
    pieces = pieces_of(text, spans, values)
    return ShadedText(pieces, word_scale([pieces], unit), **more)


def plain(one, **options):
    console = Console(file=io.StringIO(), width=200, **options)
    console.print(terminal(one))
    return console.file.getvalue()


class Reader(HTMLParser):
    """What stands in the elements of a class."""

    def __init__(self, name):
        super().__init__()
        self.name, self.depth, self.found, self.attributes = name, 0, [], []

    def handle_starttag(self, tag, attributes):
        own = dict(attributes)
        self.attributes.append((tag, own))
        if self.depth or self.name in (own.get("class") or "").split():
            self.depth += 1
            if self.depth == 1:
                self.found.append("")

    def handle_endtag(self, _tag):
        self.depth -= self.depth > 0

    def handle_data(self, data):
        if self.depth:
            self.found[-1] += data


def read(html, name):
    reader = Reader(name)
    reader.feed(html)
    return reader


def test_pieces_together_are_the_text():
    pieces = pieces_of(TEXT, SPANS, range(len(SPANS)))
    assert "".join(piece.text for piece in pieces) == TEXT
    assert [piece.value for piece in pieces if piece.value is not None] == list(range(len(SPANS)))
    assert pieces_of("none", [], []) == (Piece("none"),)


def test_words_that_share_characters_lose_no_bits():
    pieces = pieces_of("abcd", [(0, 3), (1, 3), (3, 3), (2, 4)], [1.0, 2.0, 4.0, 8.0])
    assert pieces == (Piece("abc", 7.0), Piece("d", 8.0))


@pytest.mark.parametrize(
    ("spans", "values", "says"),
    [([(0, 2)], [], "one finite value"), ([(0, 2)], [float("nan")], "finite"), ([(0, 9)], [1], "does not lie")],
)
def test_what_does_not_fit_is_refused(spans, values, says):
    with pytest.raises(InputError, match=says):
        pieces_of("ab", spans, values)


def test_one_scale_for_several_texts():
    texts = [pieces_of("a b", [(0, 1), (2, 3)], values) for values in ((1, 2), (3, 0))]
    assert word_scale(texts, "bits").top == 3
    assert not word_scale(texts, "score").signed
    assert word_scale([pieces_of("a", [(0, 1)], [-2])], "score").signed
    with pytest.raises(InputError, match="no word"):
        word_scale([], "bits")
    with pytest.raises(InputError, match="never negative"):
        word_scale([pieces_of("a", [(0, 1)], [-2])], "bits")


def test_the_text_of_the_html_is_the_text():
    one = shaded(range(len(SPANS)), title="<i>", notes=["a & b"])
    for html in (html_fragment([one]), html_page([Abreast("", [one])], "Title <x>")):
        assert read(html, "words").found == [TEXT]
        assert read(html, "head").found == ["<i>"]
        assert read(html, "note").found == ["a & b"]


def test_html_says_every_value_in_words_and_numbers():
    html = html_page([Abreast("", [shaded(range(len(SPANS)))])], "t")
    reader = read(html, "word")
    titles = [own["title"] for _, own in reader.attributes if own.get("class") == "word"]
    shares = [own["style"] for _, own in reader.attributes if own.get("class") == "word"]
    assert titles[:3] == ["0 bits", "1 bits", "2 bits"]
    assert (shares[0], shares[-1]) == ("--share:0.0%", "--share:100.0%")
    assert "bits of each word" in html
    assert read(html, "bitlens-text").found[0].count("…") == 1
    assert re.search(r"<th scope=\"col\">bits</th>", html)


def test_scores_against_the_answer_have_their_own_colour():
    html = html_fragment([shaded([-4, *range(1, len(SPANS))], "score")])
    assert html.count('class="word against"') == 1
    assert "blue against it" in html


def test_a_page_asks_no_server_and_runs_nothing():
    html = html_page([Abreast("", [shaded(range(len(SPANS)))])], "t")
    tags = {tag for tag, _ in read(html, "x").attributes}
    assert not tags & {"script", "img", "link", "iframe", "a"}
    assert "default-src 'none'" in html
    assert "prefers-color-scheme: dark" in html
    assert "http" not in html.replace("http-equiv", "")


def test_the_terminal_shows_text_legend_and_numbers():
    values = [0.0] * len(SPANS)
    values[2] = 10.0
    one = shaded(values, title="sure", notes=["a note"])
    said = plain(one)
    assert said.startswith("sure\n  Don't <b>panic</b>,")
    assert "0.3  1.2  3  6  bits of each word" in said
    assert "most: b 10\n" in said
    assert said.rstrip().endswith("a note")


def test_the_terminal_works_without_colours_and_tells_signs_apart_with_them():
    one = shaded([1.0, -1.0], "score", "good bad", [(0, 4), (5, 8)])
    coloured = plain(one, force_terminal=True, color_system="truecolor")
    good, bad = re.findall(r"\x1b\[([\d;]*)m(?:good|bad)", coloured)
    assert good != bad
    assert good.startswith("1;7;")  # bold and reverse remain where there are no colours
    assert "against" in plain(one)


def test_punctuation_is_no_word_of_the_list_and_numbers_are_rounded():
    text = "Well, no: (sad) 7!"
    spans = [(0, 4), (4, 5), (6, 8), (8, 9), (10, 11), (11, 14), (14, 15), (16, 17), (17, 18)]
    one = shaded([303.4, 150.0, 36.26, 9.0, 8.0, 7.564, 1.0, 0.1, 50.0], text=text, spans=spans)
    assert one.strongest() == [("Well", "303"), ("no", "36"), ("sad", "7.6")]  # 0.1 of 303 bits is nothing to name
    assert "most: Well 303, no 36, sad 7.6\n" in plain(one)
    assert "from 9.1  36  91  182" in plain(one)
    assert shaded([2.0, 1.0], text="?!", spans=[(0, 1), (1, 2)]).strongest() == [("?", "2"), ("!", "1")]
    assert shaded([0.0], text="a", spans=[(0, 1)]).strongest() == [("a", "0")]
    assert [number(value) for value in (0.00123, 0.5, 9.94, 9.96, 10.4, 1234.5, -0.25)] == [
        "0.0012", "0.5", "9.9", "10", "10", "1,234", "-0.25",
    ]  # fmt: skip


def test_a_text_that_has_next_to_nothing_of_the_scale_says_so():
    texts = [pieces_of("a b", [(0, 1), (2, 3)], values) for values in ((100.0, 2.0), (4.0, 1.0), (6.0, 1.0))]
    strong, faint, some = (ShadedText(pieces, word_scale(texts, "bits")) for pieces in texts)
    assert (strong.faint, faint.faint, some.faint) == ("", "next to nothing: 4 bits at most", "")
    assert "next to nothing: 4 bits at most" in plain(faint)
    assert read(html_page([Abreast("", [strong, faint])], "t"), "note").found == ["next to nothing: 4 bits at most"]
    assert not shaded([0.1] * len(SPANS), "score").faint


def test_texts_side_by_side_stand_in_one_row_under_one_title():
    one, other = (shaded(range(len(SPANS)), title=title) for title in ("this", "that"))
    html = html_page([Abreast("both", [one, other]), Abreast("", [one])], "t")
    assert read(html, "abreast").found[0].count("bits of each word") == 2
    assert len(read(html, "abreast").found) == 1
    assert read(html, "head").found == ["this", "that", "this"]
    assert 'class="bitlens-page wide"' in html
    assert 'class="bitlens-page wide"' not in html_page([Abreast("", [one])], "t")


@pytest.mark.slow
def test_what_a_browser_copies_is_the_text(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no chromium here")
    (tmp_path / "page.html").write_text(html_page([Abreast("", [shaded(range(len(SPANS)))])], "t"), "utf-8")
    with playwright.sync_playwright() as tools:
        opened = tools.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = opened.new_page()
        page.goto((tmp_path / "page.html").as_uri())
        select = "getSelection().selectAllChildren(document.querySelector('.words'))"
        copied = page.evaluate(f"({select}, getSelection().toString())")
        assert copied == TEXT.removesuffix("\n")  # a browser never copies the last line break
        opened.close()
