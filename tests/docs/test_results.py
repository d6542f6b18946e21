"""Pages whose tables are made of stored rows say what the rows give."""

import pytest

from results import PAGES, written


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
