"""What the documentation quotes as said by the library is said by the library."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "when_it_goes_wrong.md").read_text("utf-8")
QUOTES = re.findall(r"^> (.+)$", PAGE, re.MULTILINE)


def sentences():
    """Texts of the source, with an ellipsis in the place of what is filled in."""
    for path in (ROOT / "src" / "bitlens").rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        filled = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
        within = {id(part) for node in filled for part in ast.walk(node) if part is not node}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in within:
                yield node.value


def test_every_message_that_is_quoted_is_one_of_the_library():
    known = "\n".join(sentences())
    assert len(QUOTES) > 25
    assert [quote for quote in QUOTES if quote.strip("… ") not in known] == []
