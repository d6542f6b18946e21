"""What CONTRIBUTING tells a contributor is true: its paths are there, its journeys go through the rooms that they name."""

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
