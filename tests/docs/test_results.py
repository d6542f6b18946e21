"""Pages whose tables are made of stored rows say what the rows give."""

import re

import pytest

from bitlens.errors import DataError
from judges import Scores
from results import FIGURES, PAGES, RESULTS, ROOT, plot_of, written


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


def test_a_set_with_a_metric_that_was_not_measured_is_no_set():
    scores = Scores(ROOT / "benchmarks" / "results" / "judges" / "cifar20")
    with pytest.raises(DataError, match="bbox was not measured on cifar20"):
        scores.taus(scores.photos, ("degradation-8", "bbox"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_nothing_measured_is_typed(page):
    typed = re.sub("<!-- made: .*?<!-- until here -->|```.*?```|`[^`]*`", "", page.read_text("utf-8"), flags=re.DOTALL)
    assert not re.findall(r"± \d|\d\.\d{3}", typed), (
        "let the rows say it, between `<!-- made: ... -->` and `<!-- until here -->`"
    )


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_rows_to_be_drawn_of(name):
    assert plot_of(name).names
    assert any(name in page.read_text("utf-8") for page in RESULTS.glob("*.md"))
