"""Data sets of texts by name: `jsonl:FILE`, `tsv:FILE`, `csv:FILE`, `builtin:reviews`."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bitlens.data.cells import check_text, told
from bitlens.data.labels import Labels
from bitlens.data.named import TEXT_FORMS, unknown_data
from bitlens.data.tables import TableRow, column, rows_of_csv, rows_of_tsv, split_columns
from bitlens.errors import DataError
from bitlens.system.reading import parsed, read_text

_REVIEWS = Path(__file__).with_name("reviews.tsv")  # of films that nobody made, written for this project
_COLUMNS = {
    "text": ("text", "sentence", "review", "content", "sentence1", "premise", "question"),
    "label": ("label", "labels", "class", "target", "sentiment"),
    "pair": ("pair", "text_pair", "sentence2", "hypothesis"),
}
"""What columns are called that hold the text, its label, and a second text, the first that is there."""


@dataclass(frozen=True)
class TextSample:
    """One text and what is known about it.

    Attributes:
        name: unique within its data set.
        text: as it was written.
        label: index of its class, None where unknown.
        pair: the second text, for networks that compare two.
    """

    name: str
    text: str
    label: int | None = None
    pair: str | None = None

    @property
    def fingerprint(self) -> str:
        """Changes when a character of the text or its pair does."""
        return hashlib.sha256(json.dumps([self.text, self.pair]).encode()).hexdigest()[:24]


def open_texts(spec: str, labels: Labels | None = None) -> Sequence[TextSample]:
    """Read a data set of texts by name (see `TEXT_FORMS`).

    Columns of tables and entries of JSON are found by their names (text, sentence, review, content; label, class, target,
    sentiment), or chosen: `csv:FILE?text=NAME&label=NAME&pair=NAME`. A table without a line of names holds text, label and
    pair in this order. Quotes of a tab-separated table quote, line breaks included, where the whole table reads so without
    fault; else (GLUE) they are characters of the text.

    Args:
        spec: the name.
        labels: how labels are read; without, they are numbers, true or false, or missing.

    Raises:
        DataError: the name is of no known form, or the file is missing, empty or malformed, or a label is no class; the
            message names the line.
    """
    if spec == "builtin:reviews":
        return [replace(one, name=f"review {number}") for number, one in enumerate(open_texts(f"tsv:{_REVIEWS}"))]
    kind, _, place = spec.partition(":")
    if kind not in _READERS or not place:
        raise unknown_data(spec, TEXT_FORMS)
    place, chosen = split_columns(place, tuple(_COLUMNS))
    path = Path(place).expanduser()
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    entries = _READERS[kind](path, read_text(path), chosen)
    samples = [_sample(path, entry, labels or Labels()) for entry in entries]
    if not samples:
        raise DataError(f"there is no text in {path}")
    return samples


@dataclass(frozen=True)
class _TextLine:
    """Words of one line of a file, as they stand there."""

    line: int
    name: str
    text: Any
    label: Any
    pair: Any


def _jsonl(path: Path, content: str, chosen: Mapping[str, str]) -> Iterator[_TextLine]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry: Any = parsed(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON ({error})") from error
        own = {part: chosen.get(part) or _first(names, entry) for part, names in _COLUMNS.items()}
        if not isinstance(entry, dict) or own["text"] not in entry:
            raise DataError(
                f"{path}, line {number}: expected an object with {chosen.get('text', 'text')!r}, got {line[:60]!r}"
            )
        text, label, pair = (entry.get(own[part]) for part in ("text", "label", "pair"))
        yield _TextLine(number, told(entry.get("id", f"line {number}")), text, label, pair)


def _first(names: Sequence[str], entry: Any) -> str | None:
    return next((name for name in names if isinstance(entry, dict) and name in entry), None)


def _tsv(path: Path, content: str, chosen: Mapping[str, str]) -> Iterator[_TextLine]:
    head = content.lstrip("\r\n").partition("\n")[0].rstrip("\r").split("\t")
    label = column(head, [chosen["label"]] if "label" in chosen else _COLUMNS["label"])
    return _of_rows(path, rows_of_tsv(content, 1 if label is None else label), chosen, "tsv")


def _csv(path: Path, content: str, chosen: Mapping[str, str]) -> Iterator[_TextLine]:
    try:
        rows = rows_of_csv(content)
    except DataError as error:
        raise DataError(f"cannot read the texts {path}: {error}") from error
    return _of_rows(path, rows, chosen, "csv")


def _of_rows(path: Path, rows: Sequence[TableRow], chosen: Mapping[str, str], form: str) -> Iterator[_TextLine]:
    places = _places(path, rows[0].cells, chosen, form) if rows else None
    for row in rows[places is not None :]:
        if places is None and len(row.cells) > 3:
            raise DataError(
                f"{path}, line {row.line}: expected text, label and at most one more text, got {len(row.cells)} cells; where the "
                f"first line names columns, choose: {form}:FILE?text=NAME&label=NAME"
            )
        where = places or {"text": 0, "label": 1, "pair": 2}
        cells = [row.cells[place] if 0 <= place < len(row.cells) else None for place in where.values()]
        text, label, pair = cells
        yield _TextLine(row.line, f"line {row.line}", text, label, pair)


def _places(path: Path, names: Sequence[str], chosen: Mapping[str, str], form: str) -> dict[str, int] | None:
    """Say where text, label and pair stand in every row (-1: nowhere), by the first; None if that is a row itself."""
    wanted = {part: [chosen[part]] if part in chosen else known for part, known in _COLUMNS.items()}
    found = {part: column(names, own) for part, own in wanted.items()}
    missing = [chosen[part] for part in chosen if found[part] is None]
    if missing:
        raise DataError(f"{path}: there is no column {missing[0]!r} among {list(names)}")
    text, label = found["text"], found["label"]
    if text is None and label is None:
        return None
    others = [place for place in range(len(names)) if place not in found.values()]
    if text is None and len(others) == 1:
        text = others[0]
    if text is None:
        raise DataError(
            f"{path}: no column is called text: choose one of {list(names)}, as in {form}:FILE?text={names[0]}"
        )
    places = {**found, "text": text}
    if places["pair"] is None and len(names) == 2:
        places["pair"] = 2  # which has no name, and is there in some rows
    return {part: -1 if place is None else place for part, place in places.items()}


def _sample(path: Path, entry: _TextLine, labels: Labels) -> TextSample:
    where, text, pair = f"{path}, line {entry.line}", entry.text, entry.pair
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: the text is empty or no text: {told(text)}")
    if pair is not None and not isinstance(pair, str):
        raise DataError(f"{where}: the second text is no text: {told(pair)}")
    try:
        for one in (entry.name, text, pair or ""):
            check_text(one)
        return TextSample(entry.name, text, labels.read(entry.label), pair)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


_READERS = {"jsonl": _jsonl, "tsv": _tsv, "csv": _csv}
