"""What CONTRIBUTING tells a contributor is true: its paths are there, its journeys go through the rooms that they name."""

import ast
import json
import re

import pytest

import bitlens
from bitlens.cli import main
from bitlens.methods import METHODS
from journeys import JOURNEYS, files_of
from test_architecture import ROWS, SOURCE

ROOT = SOURCE.parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
ROOMS = [room for row in ROWS for room in row]
TOLD = dict(zip(JOURNEYS, re.findall(r"^- (.*(?:\n  .*)*)", PAGE, re.MULTILINE), strict=True))
"""The sentence about each journey."""


def named_rooms(text):
    return re.findall(r"`(\w+)/`", text)


def test_every_path_is_there():
    paths = [word for word in re.findall(r"[\w./-]*\w/[\w./-]+\w", PAGE) if word.split("/")[0] not in ("imagenet",)]
    assert len(paths) > 10
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_every_room_it_speaks_of_is_drawn():
    assert len(named_rooms(PAGE)) > 10
    assert set(named_rooms(PAGE)) <= set(ROOMS)


def test_its_commands_are_there(monkeypatch, capsys):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(re.findall(r"make (\S+)  ", PAGE)) <= set(targets)
    assert callable(bitlens.IBA.explain)
    for words in re.findall(r"`bitlens ([a-z ]+)`", PAGE):
        monkeypatch.setattr("sys.argv", ["bitlens", *words.split(), "--help"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code in (0, None), words
        assert words in " ".join(capsys.readouterr().out.split()), words


def test_the_lists_it_names_are_the_lists():
    rows = json.loads((SOURCE / "methods" / "methods.json").read_text("utf-8"))
    assert [row["name"] for row in rows] == [*METHODS["image"], *METHODS["text"]]


@pytest.mark.slow
@pytest.mark.parametrize("journey", JOURNEYS)
def test_a_journey_goes_through_the_rooms_that_are_told(journey):
    told = set(named_rooms(TOLD[journey]))
    assert len(told) > 2
    assert told <= {file.partition("/")[0] for file in files_of(journey)}


ASKING = re.compile(
    "how|what|whether|which|who|whom|whose|when|where|why|of|in|for|as|with|within|from|by|at|on|to|not|nobody|something|anything|"
    "everything|this|that|these|those|its?|if|under|over|behind|before|after|between|and|or|there|here|than|until|without|besides?"
)
"""Words with which a docstring only finishes the name of what it is about."""
COUNTING = re.compile("the|an?|one|two|three|all|every|each|some|any|several|other|another|both|no|half")
"""Words with which what a function returns is named, and not what it does."""


def docstrings(source):
    """Yield (place, kind, first word) of everything that has a docstring."""
    for path in sorted(source.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(node):
                named = isinstance(node, ast.ClassDef) or any("property" in ast.unparse(d) for d in node.decorator_list)
                place = f"{path.relative_to(source)}:{node.lineno} {node.name}"
                yield place, "named" if named else "done", ast.get_docstring(node).split()[0]


def is_plain(kind, word):
    """Return whether a docstring may begin so: a function's with a verb, that of a class or property with a verb or noun."""
    plain = word.rstrip(",.:;").lower()
    if kind == "named" or ASKING.fullmatch(plain):
        return not ASKING.fullmatch(plain)
    return not COUNTING.fullmatch(plain) and word[0].isascii() and word[0].isupper()


def test_docstrings_are_sentences_of_their_own():
    found = list(docstrings(SOURCE))
    assert len(found) > 1500
    assert not [f"{place}: {word} ..." for place, kind, word in found if not is_plain(kind, word)]


@pytest.mark.parametrize(
    ("kind", "word", "plain"),
    [
        ("done", "Return", True), ("done", "Find,", True), ("done", "Whether", False), ("done", "The", False),
        ("done", "(N,)", False), ("done", "`beta`", False), ("named", "The", True), ("named", "What", False),
    ],
)  # fmt: skip
def test_what_a_plain_docstring_is(kind, word, plain):
    assert is_plain(kind, word) is plain
