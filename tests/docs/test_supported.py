"""The page that says what is supported is what its command prints."""

from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "supported.md"


@pytest.mark.slow
def test_the_page_is_what_the_command_prints():
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from supported import page

    assert page() == PAGE.read_text("utf-8")


def test_the_page_has_a_row_for_each_planted_network():
    from planted_marks import MARKED
    from planted_networks import PLANTED

    text = PAGE.read_text("utf-8")
    assert all(f"| {planted.kind} | works |" in text for planted in PLANTED)
    assert all(f"| {marked.kind} | works | works |" in text for marked in MARKED)
