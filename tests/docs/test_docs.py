"""Every block of code in the documentation runs as it stands, in a folder of its own; a comment marks those that cannot."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r"(?P<mark><!-- not run[^>]*-->\s*\n)?^```(?P<kind>python|bash)\n(?P<code>.*?)^```$", re.M | re.S)


def blocks(page):
    """(kind, code) of the blocks of a page that run."""
    return [(m["kind"], m["code"]) for m in BLOCK.finditer(page.read_text("utf-8")) if not m["mark"]]


RUN = [page for page in PAGES if blocks(page)]


def test_there_are_blocks():
    assert len(RUN) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page, bitlens):
    shared = {"__name__": "__docs__"}
    for kind, code in blocks(page):
        if kind == "python":
            exec(compile(code, str(page), "exec"), shared)
        else:
            for line in code.replace("\\\n", " ").splitlines():
                first, *words = shlex.split(line, comments=True) or [""]
                assert first in ("", "bitlens"), f"only bitlens itself is run in the documentation, not {first!r}"
                if first:
                    bitlens(*words)


@pytest.mark.slow
def test_the_site_builds_without_a_broken_link(site):
    outside = re.compile(r"<(?:script|link|img)[^>]+(?:src|href)=\"https?://")
    pages = list(site.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        found = [m.group(0) for m in outside.finditer(page.read_text("utf-8")) if 'rel="canonical"' not in m.group(0)]
        assert not found, f"{page.name} fetches {found[:3]}"


def test_every_page_is_in_the_menu():
    menu = (ROOT / "mkdocs.yml").read_text("utf-8")
    missing = [
        str(page.relative_to(ROOT / "docs")) for page in PAGES if str(page.relative_to(ROOT / "docs")) not in menu
    ]
    assert not missing
