"""What mkdocs does beside the theme.

Cells of tables are marked by what they hold, so that no number or name wraps. For coding agents, every page is also written as
the Markdown that it was made of (`…/index.html.md`), and `llms.txt` says what there is (https://llmstxt.org).
"""

import re
from pathlib import Path
from typing import Any

_CELL = re.compile(r"<td(?P<more>[^>]*)>(?P<inside>.*?)</td>", re.DOTALL)
_TAG = re.compile(r"<[^>]+>")
_NUMBER = re.compile(r"[-−+±≥≤<>~]?\s*\d[\d,.]*\s*[%×sx]?(\s*[±–/x×(,-]\s*\(?[-−+]?\d[\d,.]*\s*[%)]*)*")
_LONG = 32  # characters


def kind_of_cell(text: str) -> str:
    """Return "number", "name" of one short word, "words" of a sentence, or nothing."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return "number"
    if text and len(text) <= _LONG and " " not in text:
        return "name"
    return "words" if len(text) > _LONG and " " in text else ""


def _marked(cell: re.Match[str]) -> str:
    kind = kind_of_cell(_TAG.sub("", cell["inside"]))
    if not kind or "class=" in cell["more"]:
        return cell[0]
    return f'<td class="{kind}"{cell["more"]}>{cell["inside"]}</td>'


def on_page_content(html: str, **_: Any) -> str:
    """Return a page with its cells marked; mkdocs calls this for each."""
    return _CELL.sub(_marked, html)


_PAGES: dict[str, tuple[str, str, str]] = {}
"""Title, first sentence and Markdown of each page by its address, filled while a site is built."""
_ABOUT = """# bitlens

> {description}. A Python library on PyTorch: `attribution = bitlens.explain(model, images)`.

Begin with [For coding agents](agents/index.html.md): all that is needed to use the library, on one page. Pages are Markdown.
"""


def first_sentence(markdown: str) -> str:
    """Return the first sentence of a page's first paragraph, without its marks."""
    prose = re.sub(r"<!--.*?-->|^```.*?^```$", "", markdown, flags=re.MULTILINE | re.DOTALL)
    plain = re.sub(r"^ *(#|!|<|:::|\||options:).*$", "", prose, flags=re.MULTILINE)
    paragraph = " ".join(next((part for part in plain.split("\n\n") if part.strip()), "").split())
    paragraph = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", paragraph)
    return re.split(r"(?<=[.?])\s", paragraph)[0].rstrip(":")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> None:
    """Remember a page as it was written."""
    _PAGES[page.file.dest_uri] = (page.title, first_sentence(markdown), markdown)


def contents(sections: Any, depth: int = 2) -> str:
    """Return the pages of a menu as lists under headings."""
    lines = []
    for item in sections:
        if item.children:
            lines.append(f"\n{'#' * min(depth, 3)} {item.title}\n\n{contents(item.children, depth + 1)}")
        elif (found := _PAGES.get(item.file.dest_uri)) is not None:
            lines.append(f"- [{found[0]}]({item.file.dest_uri}.md): {found[1]}\n")
    return "".join(lines)


def on_nav(nav: Any, config: Any, **_: Any) -> None:
    """Keep the menu until the site is written."""
    config.extra["menu"] = nav.items


def on_post_build(config: Any, **_: Any) -> None:
    """Write `llms.txt` and the pages as Markdown beside the site."""
    site = Path(config.site_dir)
    for place, page in _PAGES.items():
        (site / f"{place}.md").write_text(page[2], "utf-8")
    about = _ABOUT.format(description=config.site_description)
    (site / "llms.txt").write_text(about + contents(config.extra["menu"]), "utf-8")
