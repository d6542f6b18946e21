"""What mkdocs does to each page beside the theme: cells are marked by what they hold, so that no number or name wraps."""

import re
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
