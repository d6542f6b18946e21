"""Data sets of texts by name: `jsonl:FILE`, `tsv:FILE`, `builtin:reviews`."""

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bitlens.data.cells import check_text, read_label
from bitlens.data.reviews import REVIEWS
from bitlens.errors import DataError
from bitlens.system.reading import parsed, text_stream

TEXT_FORMS = {
    "jsonl:FILE": "one JSON object a line with text, and optionally label, pair and id; FILE.gz too",
    "tsv:FILE": "text, label and optionally a second text, separated by tabs; FILE.gz too",
    "builtin:reviews": "short reviews of films, half of them positive; nothing to download",
}


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


def open_texts(spec: str) -> Sequence[TextSample]:
    """Read a data set of texts by name (see `TEXT_FORMS`).

    Raises:
        DataError: the name is of no known form, or the file is missing, empty or malformed; the message names the line.
    """
    if spec == "builtin:reviews":
        return [TextSample(f"review {number}", text, label) for number, (text, label) in enumerate(REVIEWS)]
    kind, _, place = spec.partition(":")
    if kind not in _READERS or not place:
        raise DataError(f"unknown texts {spec!r}: expected {', '.join(TEXT_FORMS)}")
    path = Path(place).expanduser()
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    with text_stream(path, newline="\n") as stream:
        samples = list(_READERS[kind](path, stream))
    if not samples:
        raise DataError(f"there is no text in {path}")
    return samples


def _jsonl(path: Path, stream: IO[str]) -> Iterator[TextSample]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            entry: Any = parsed(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(entry, dict) or "text" not in entry:
            raise DataError(f"{path}, line {number}: expected an object with 'text', got {line.strip()[:60]!r}")
        name = entry.get("id", f"line {number}")
        if not isinstance(name, str | int | float):
            raise DataError(f"{path}, line {number}: the id is no text")
        yield _sample(path, number, str(name), entry["text"], entry.get("label"), entry.get("pair"))


def _tsv(path: Path, stream: IO[str]) -> Iterator[TextSample]:
    rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
    number = 0
    try:
        for number, cells in enumerate(rows, 1):
            if not cells or (number == 1 and cells[1:2] == ["label"]):
                continue
            if len(cells) > 3:
                raise DataError(
                    f"{path}, line {number}: expected text, label and at most one more text, got {len(cells)} cells"
                )
            label, pair = (cells[1].strip() if len(cells) > 1 else ""), (cells[2] if len(cells) > 2 else None)
            yield _sample(path, number, f"line {number}", cells[0], label or None, pair)
    except csv.Error as error:
        raise DataError(f"{path}, line {number + 1}: no table ({error})") from error


def _sample(path: Path, number: int, name: str, text: Any, label: Any, pair: Any) -> TextSample:
    where = f"{path}, line {number}"
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: the text is empty or no text: {_short(text)}")
    if pair is not None and not isinstance(pair, str):
        raise DataError(f"{where}: the second text is no text: {_short(pair)}")
    try:
        for one in (name, text, pair or ""):
            check_text(one)
        return TextSample(name, text, read_label(label), pair)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _short(value: Any) -> str:
    return repr(value)[:60] if isinstance(value, str | int | float | bool | None) else f"a {type(value).__name__}"


_READERS: dict[str, Callable[[Path, IO[str]], Iterator[TextSample]]] = {"jsonl": _jsonl, "tsv": _tsv}
