"""Pages whose tables are made of stored rows say what the rows give."""

import re

import pytest

from results import FIGURES, PAGES, RESULTS, plot_of, written

PARTLY = {"guarantee", "images", "judges", "keep", "readout", "regions", "vision_transformers"}
"""Pages on which numbers are typed as well."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_what_its_rows_give(page):
    text = page.read_text("utf-8")
    assert "<!-- made: " in text
    assert written(text) == text, "make the tables anew: python tools/results.py"


def test_a_typed_number_is_noticed():
    text = next(page for page in PAGES if page.stem == "judges").read_text("utf-8")
    changed = text.replace(" ± 0.0", " ± 0.9", 1)
    assert changed != text
    assert written(changed) == text


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem not in PARTLY], ids=lambda page: page.stem)
def test_nothing_measured_is_typed(page):
    typed = re.sub("<!-- made: .*?<!-- until here -->|```.*?```|`[^`]*`", "", page.read_text("utf-8"), flags=re.DOTALL)
    assert not re.findall(r"± \d|\d\.\d{3}", typed), (
        "let the rows say it, between `<!-- made: ... -->` and `<!-- until here -->`"
    )


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_rows_to_be_drawn_of(name):
    assert plot_of(name).names
    assert any(name in page.read_text("utf-8") for page in RESULTS.glob("*.md"))
