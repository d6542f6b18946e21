"""The names of a network's outputs: read from a file, and found by what a person calls them."""

import csv
import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bitlens.errors import DataError, TargetError
from bitlens.system.reading import MOST_JSON, read_bytes, text_stream

if TYPE_CHECKING:
    from bitlens.core.outputs import Numbers

_SHOWN = 6
OUTPUT_WORDS: "dict[str, Numbers]" = {
    "regression": "regression",
    "binary": "binary",
    "binary-probability": "binary-probability",
    "multi-label": "multi-label",
}
"""What may be said of an output in place of a class, or before it."""

PLACE_WORDS = ("region", "keypoint", "box")
"""What a class, a keypoint or a number may be the name of: `region:person`, `keypoint:nose`, `box:0`."""

_AT_PLACES = re.compile(r"(\d+)( (?:where|in) .+)")


def read_classes(path: str | Path) -> tuple[str, ...]:
    """Read the names of a network's outputs, in their order.

    Args:
        path: a text file with one name on each line, or a table (`.csv`) with a column `name` or `names`, and
            optionally a column `index` that counts from 0.

    Raises:
        DataError: the file cannot be read, is empty, lacks the column, or its indices leave gaps.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".csv":
            names = _classes_of_table(path)
        else:
            names = [line.strip() for line in read_bytes(path, MOST_JSON).decode("utf-8-sig").splitlines()]
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"cannot read the class names {path}: {error}") from error
    if not names or not all(names):
        raise DataError(f"the class names {path} have an empty line: expected one name for each class")
    return tuple(names)


def _classes_of_table(path: Path) -> list[str]:
    with text_stream(path) as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or ()
        column = next((name for name in ("name", "names") if name in columns), None)
        if column is None:
            raise DataError(f"the class names {path} have no column 'name' or 'names': found {list(columns)}")
        rows = [(row.get("index", str(number)), row[column]) for number, row in enumerate(reader)]
    named = {index: (name or "").strip() for index, name in rows}
    indices = [str(index) for index in range(len(rows))]
    if set(named) != set(indices):
        raise DataError(f"the column 'index' of {path} must hold each of 0 … {len(rows) - 1} once")
    return [named[index] for index in indices]


def class_index(wanted: str, classes: Sequence[str] | None) -> int | None:
    """Find the class that a person means: "auto" (None: the predicted one), an index, or a name.

    Raises:
        TargetError: if no class is called so, or several are.
    """
    if wanted == "auto":
        return None
    if wanted.isascii() and wanted.isdigit() and len(wanted) <= 9:
        return int(wanted)
    if classes is None:
        raise TargetError(
            f"target {wanted!r}: the class names of this model are not known; give an index, or --classes FILE"
        )
    names = [[part.strip().lower() for part in name.split(",")] for name in classes]
    found = [i for i, parts in enumerate(names) if wanted.lower() in parts or wanted.lower() == ", ".join(parts)]
    if len(found) == 1:
        return found[0]
    if found:
        raise TargetError(f"target {wanted!r} names several classes: {_listed(found, classes)}; give an index")
    raise TargetError(f"target {wanted!r} names no class: {_meant(wanted, classes)}")


def _meant(wanted: str, classes: Sequence[str]) -> str:
    """Say which classes are called almost so, or have the words in their names, or else what there is."""
    parts = {
        part.strip().lower(): i for i, name in reversed([*enumerate(classes)]) for part in (name, *name.split(","))
    }
    close = list(dict.fromkeys(parts[name] for name in difflib.get_close_matches(wanted.lower(), parts, n=3)))
    holding = [i for i, name in enumerate(classes) if wanted.lower() in name.lower()]
    if close:
        return f"did you mean {' or '.join(repr(classes[i]) for i in close)}?"
    if holding:
        return f"{_listed(holding, classes)}; give one of these, or its index"
    return f"there are {_listed(list(range(len(classes))), classes)}; give one of these, or its index"


def _listed(indices: Sequence[int], classes: Sequence[str]) -> str:
    return "; ".join(f"{i} {classes[i]}" for i in indices[:_SHOWN]) + ("; …" if len(indices) > _SHOWN else "")


def class_name(target: str, classes: Sequence[str] | None) -> str:
    """Name a target as pictures do: the class's name, or "class 7", with the places where it is asked about."""
    if (found := _AT_PLACES.fullmatch(target)) is not None:
        return class_name(found[1], classes) + found[2]
    if not target.isdigit():
        return target
    index = int(target)
    return classes[index] if classes is not None and index < len(classes) else f"class {index}"


def likeliest(said: Iterable[float], classes: Sequence[str] | None, count: int = 5) -> tuple[tuple[str, float], ...]:
    """Name the classes with the largest probabilities, the largest first, each with its own."""
    shares = [(class_name(str(index), classes), float(share)) for index, share in enumerate(said)]
    return tuple(sorted(shares, key=lambda one: -one[1])[:count])


def check_target(wanted: str, classes: Sequence[str] | None) -> None:
    """Refuse the name of a class that is none, where the names are known; see `class_index`."""
    if classes is not None and wanted.partition(":")[0] not in (*OUTPUT_WORDS, *PLACE_WORDS):
        class_index(wanted, classes)
