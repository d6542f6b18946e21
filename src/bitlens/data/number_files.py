"""Signals, volumes and rows of tables from files: each checked before it is believed, none able to run code.

Of a table, `FILE#3` is row 3, counted from 0. What is wrong with a file is told with its name, once for all formats.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bitlens.data.arrow_tables import columns_of, opened, table_of
from bitlens.data.kinds import Form
from bitlens.data.numbers import Floats, Numbers, as_floats
from bitlens.data.signal_files import read_signal
from bitlens.data.volume_files import read_volume
from bitlens.errors import DataError
from bitlens.system.reading import whole

SUFFIXES: dict[str, tuple[Form, ...]] = {
    ".npy": ("signal", "volume"),
    ".csv": ("signal", "table"),
    ".wav": ("signal",),
    ".flac": ("signal",),
    ".ogg": ("signal",),
    ".npz": ("volume",),
    ".nii": ("volume",),
    ".nii.gz": ("volume",),
    ".parquet": ("table",),
}
"""What files of these endings may hold."""
_WHAT: dict[Form, str] = {"signal": "a signal", "volume": "a volume", "table": "a table of numbers"}
_REMEDY = "save it anew, or name another file"


def is_numbers(path: Path) -> bool:
    """Say whether a file is one of numbers by its ending; `FILE#3` is by that of FILE."""
    return suffix_of(path) in SUFFIXES


def suffix_of(path: Path) -> str:
    """Return a file's ending: `.nii.gz` is one, and `#3` behind it is none."""
    name = split_row(path)[0].name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def split_row(path: Path) -> tuple[Path, int | None]:
    """Return the file of `FILE#3`, and which row of it is meant; None for a whole file."""
    name, mark, row = path.name.rpartition("#")
    named = mark and row.isdecimal() and len(row) < 10 and not path.exists()
    return (path.with_name(name), int(row)) if named and name else (path, None)


def rows_of(path: Path, names: Sequence[str] = ()) -> list[Path]:
    """List the rows of a table as `FILE#0`, `FILE#1`, …; one that names its row already is itself.

    Raises:
        DataError: if it is damaged, too large, no table of numbers, or has no such columns.
    """
    file, row = split_row(path)
    if row is not None:
        return [path]
    _checked_suffix(file, "table")
    with whole(file, _WHAT["table"], _REMEDY):
        count = len(table_of(file, tuple(names), _mark(file))[0])
    return [file.with_name(f"{file.name}#{number}") for number in range(count)]


def read_numbers(path: Path, form: Form, *, rate: float | None = None, names: Sequence[str] = ()) -> Numbers:
    """Read one signal, volume or row of a table.

    Args:
        path: the file; of a table `FILE#3`.
        form: what it should hold.
        rate: samples per second, of signals whose file does not say it.
        names: of the columns of a table that the network reads, in its order; all columns of numbers by default.

    Raises:
        DataError: if it is missing, damaged, too large, holds something else, or says another rate.
        DependencyError: if its format needs a package that is not installed.
    """
    file, row = split_row(path)
    if not file.is_file():
        raise DataError(f"there is no file {file}")
    suffix = _checked_suffix(file, form)
    with whole(file, _WHAT[form], _REMEDY):
        if form == "table":
            values, columns = table_of(file, tuple(names), _mark(file))
            if row is None or row >= len(values):
                raise DataError(f"{file} has rows 0 to {len(values) - 1}: name one of them as {file.name}#0")
            return Numbers(values[row], "table", columns)
        if form == "volume":
            return read_volume(file, suffix)
        return read_signal(file, suffix, rate)


def read_rows(file: Path, label: str | None) -> tuple[Floats, tuple[str, ...], list[Any]]:
    """Read all rows (N, D) of a table, the names of their features, and the column of labels, which is none of them.

    Raises:
        DataError: if it is missing, damaged, too large, or has no such column.
    """
    if not file.is_file():
        raise DataError(f"there is no file {file}")
    _checked_suffix(file, "table")
    with whole(file, _WHAT["table"], _REMEDY):
        table = opened(file)
        if label is not None and label not in table.column_names:
            raise ValueError(f"the column {label!r} is missing: found {', '.join(table.column_names)}")
        names, columns = columns_of(table, [name for name in table.column_names if name != label])
        labels = table.column(label).to_pylist() if label is not None else [None] * table.num_rows
        return as_floats(np.stack(columns, axis=1)), tuple(names), labels


def _checked_suffix(file: Path, form: Form) -> str:
    suffix = suffix_of(file)
    if form not in SUFFIXES.get(suffix, ()):
        taken = ", ".join(ending for ending, forms in SUFFIXES.items() if form in forms)
        raise DataError(f"{file} is no {form}: expected a file that ends in {taken}")
    return suffix


def _mark(file: Path) -> tuple[int, int]:
    """Tell a file from one that replaced it."""
    known = file.stat()
    return known.st_size, known.st_mtime_ns
