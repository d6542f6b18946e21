"""Every pair of colours that text of the documentation is set in has the contrast that WCAG asks for (AA: 4.5)."""

import re
from itertools import product
from pathlib import Path

import pytest

CSS = (Path(__file__).parents[2] / "docs" / "assets" / "theme.css").read_text("utf-8")
PAGE, CODE, HEADER, FOOTER = "default-bg-color", "code-bg-color", "primary-fg-color", "footer-bg-color--dark"
MARKED = ("comment", "string", "number", "keyword", "function", "constant", "special", "operator", "punctuation")
TEXTS = {
    PAGE: ("default-fg-color", "default-fg-color--light", "typeset-color", "typeset-a-color", "accent-fg-color"),
    CODE: ("code-fg-color", "typeset-a-color", *(f"code-hl-{kind}-color" for kind in MARKED)),
    HEADER: ("primary-bg-color", "primary-bg-color--light"),
    FOOTER: ("footer-fg-color", "footer-fg-color--light", "footer-fg-color--lighter"),
}


def colours(scheme):
    """The variables that a scheme of the theme sets, as triples in [0, 1]."""
    block = re.search(rf'\[data-md-color-scheme="{scheme}"\] \{{(.*?)\}}', CSS, re.DOTALL)[1]
    return {
        name: [int(code[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        for name, code in re.findall(r"--md-([\w-]+): #([0-9a-f]{6});", block)
    }


def contrast(one, other):
    """The ratio of WCAG 2.1: relative luminances, lighter over darker."""
    linear = [[c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour] for colour in (one, other)]
    dark, light = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in linear)
    return (light + 0.05) / (dark + 0.05)


def test_the_ratio_is_that_of_the_guideline():
    assert contrast([0, 0, 0], [1, 1, 1]) == pytest.approx(21)
    assert contrast([0x77 / 255] * 3, [1, 1, 1]) == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize(("scheme", "ground"), [*product(("default", "slate"), TEXTS)])
def test_text_is_read_by_those_who_see_less(scheme, ground):
    known = colours(scheme)
    found = {text: contrast(known[text], known[ground]) for text in TEXTS[ground]}
    assert {text: ratio for text, ratio in found.items() if ratio < 4.5} == {}
