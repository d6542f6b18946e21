"""Data sets of texts by name: `jsonl:FILE`, `tsv:FILE`, `builtin:reviews`."""

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bitlens.errors import DataError

_REVIEWS = Path(__file__).with_name("reviews.tsv")  # of films that nobody made, written for this project
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
        return [replace(one, name=f"review {number}") for number, one in enumerate(open_texts(f"tsv:{_REVIEWS}"))]
    kind, _, place = spec.partition(":")
    if kind not in _READERS or not place:
        raise DataError(f"unknown texts {spec!r}: expected {', '.join(TEXT_FORMS)}")
    path = Path(place).expanduser()
    samples = list(_READERS[kind](path, _content(path)))
    if not samples:
        raise DataError(f"there is no text in {path}")
    return samples


def _content(path: Path) -> str:
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"cannot read the texts {path}: {error}") from error


def _jsonl(path: Path, content: str) -> Iterator[TextSample]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry: Any = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(entry, dict) or "text" not in entry:
            raise DataError(f"{path}, line {number}: expected an object with 'text', got {line[:60]!r}")
        name = str(entry.get("id", f"line {number}"))
        yield _sample(path, number, name, entry["text"], entry.get("label"), entry.get("pair"))


def _tsv(path: Path, content: str) -> Iterator[TextSample]:
    rows = csv.reader(io.StringIO(content), delimiter="\t", quoting=csv.QUOTE_NONE)
    for number, cells in enumerate(rows, 1):
        if not cells or (number == 1 and cells[1:2] == ["label"]):
            continue
        if len(cells) > 3:
            raise DataError(
                f"{path}, line {number}: expected text, label and at most one more text, got {len(cells)} cells"
            )
        label = cells[1].strip() if len(cells) > 1 else ""
        yield _sample(path, number, f"line {number}", cells[0], label or None, cells[2] if len(cells) > 2 else None)


def _sample(path: Path, number: int, name: str, text: Any, label: Any, pair: Any) -> TextSample:
    where = f"{path}, line {number}"
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: the text is empty or no text: {text!r}")
    if pair is not None and not isinstance(pair, str):
        raise DataError(f"{where}: the second text is no text: {pair!r}")
    if label is not None and not (str(label).isascii() and str(label).isdigit()):
        raise DataError(f"{where}: the label is {label!r}, expected the index of a class (0, 1, 2, …) or nothing")
    return TextSample(name, text, None if label is None else int(label), pair)


_READERS: dict[str, Callable[[Path, str], Iterator[TextSample]]] = {"jsonl": _jsonl, "tsv": _tsv}
