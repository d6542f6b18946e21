"""The names of a network's outputs, from a file."""

import csv
from pathlib import Path

from bitlens.errors import DataError
from bitlens.system.reading import MOST_JSON, read_bytes, text_stream


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
