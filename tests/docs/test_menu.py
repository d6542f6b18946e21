"""The menu of the documentation, the page of each public name, and how cells of tables are marked."""

import re
from pathlib import Path

import pytest

import bitlens
from docs_hooks import first_sentence, kind_of_cell, on_page_content

ROOT = Path(__file__).parents[2]
MENU = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
NAMES = sorted(set(bitlens.__all__) - {"__version__"})


def test_no_two_entries_of_the_menu_have_one_name():
    entries = [name for name, page in re.findall(r"- ([^:\n]+): (\S+\.md)", MENU) if not page.startswith("api/")]
    assert len(entries) > 30
    assert len(set(entries)) == len(entries)


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_a_page_of_its_own(name):
    page = (ROOT / "docs" / "api" / f"{name}.md").read_text("utf-8")
    assert f"# bitlens.{name}\n" in page
    assert f"::: bitlens.{name}" in page
    assert f"api/{name}.md" in MENU
    assert f"[`bitlens.{name}`]({name}.md)" in (ROOT / "docs" / "api" / "index.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("0.597", "number"),
        ("−0.004 ± 0.006", "number"),
        ("+0.004 ± 0.004", "number"),
        ("1,385", "number"),
        ("85 %", "number"),
        ("10, 10, 1", "number"),
        ("integrated-gradients", "name"),
        ("a few words", ""),
        ("one value per feature, smoothed over all places", "words"),
    ],
)
def test_cells_are_known_by_what_they_hold(text, kind):
    assert kind_of_cell(text) == kind


def test_only_cells_are_marked():
    page = "<p>3</p><table><tr><td>3</td><td style='x'><code>name</code></td><td>two words</td></tr></table>"
    assert on_page_content(page) == (
        '<p>3</p><table><tr><td class="number">3</td><td class="name" style=\'x\'><code>name</code></td>'
        "<td>two words</td></tr></table>"
    )


def test_mathjax_comes_with_its_licence_and_only_what_it_needs():
    home = ROOT / "docs" / "assets" / "mathjax"
    assert "Apache License" in (home / "LICENSE").read_text("utf-8")
    assert sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) < 1_000_000


def test_the_first_sentence_of_a_page_is_found_behind_pictures_and_headings():
    page = "<div markdown>\n\n# Title\n\n![alt](a.png)\n\n```python\nx = 1.\n\ny = 2\n```\n\nOne [link](a.md):\nand more. Two.\n"
    assert first_sentence(page) == "One link: and more."
    assert first_sentence("# only a title\n") == ""


@pytest.mark.slow
def test_agents_find_every_page_as_markdown(site):
    listed = re.findall(r"^- \[[^]]+\]\(([^)]+)\): (.*)$", (site / "llms.txt").read_text("utf-8"), re.MULTILINE)
    assert len(listed) > 50
    for place, sentence in listed:
        assert (site / place).read_text("utf-8").strip()
        assert sentence, place
