"""Signals, volumes and rows of tables from files: each checked before it is believed, none able to run code.

Signals: .npy (T,) or (C, T), .csv with a column for each channel, .wav, and .flac and other sounds by soundfile. Volumes: .npy or
.npz (D, H, W) or (C, D, H, W), and NIfTI by nibabel. Tables: .csv and .parquet, of which `FILE#3` is row 3, counted from 0.
"""

import wave
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bitlens.data.kinds import Form
from bitlens.data.numbers import Numbers
from bitlens.errors import BitlensError, DataError
from bitlens.system.arrays import read_any_array, read_archive_array
from bitlens.system.optional import need
from bitlens.system.reading import whole

MOST = 1 << 28
"""So many numbers are read of one input at most: a gigabyte as float32."""
MOST_TEXT = 512 << 20
"""Bytes of a table as text that are read."""
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
_TIMES = ("time", "t", "seconds", "time [s]", "time (s)")
_WHAT: dict[Form, str] = {"signal": "a signal", "volume": "a volume", "table": "a table of numbers"}
Array: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.float32]


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
    """List the rows of a table as `FILE#0`, `FILE#1`, …; one that names its row already is itself."""
    file, row = split_row(path)
    if row is not None:
        return [path]
    _checked_suffix(file, "table")
    count = len(_table(file, tuple(names), _mark(file))[0])
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
    with whole(file, _WHAT[form], "save it anew, or name another file"):
        if form == "table":
            values, columns = _table(file, tuple(names), _mark(file))
            if row is None or row >= len(values):
                raise DataError(f"{file} has rows 0 to {len(values) - 1}: name one of them as {file.name}#0")
            return Numbers(values[row], "table", columns)
        if form == "volume":
            return _volume(file, suffix)
        return _with_rate(_SIGNALS.get(suffix, _sound)(file), rate, file)


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


# Signals


def _with_rate(found: Numbers, rate: float | None, file: Path) -> Numbers:
    if rate is None or found.rate is None or abs(rate - found.rate) <= 1e-3 * rate:
        return Numbers(found.values, "signal", found.names, found.rate if rate is None else rate)
    raise DataError(
        f"{file} has {found.rate:g} samples per second, not {rate:g}: leave the rate out, or resample the file"
    )


def _channels_first(values: Array) -> Array:
    values = values[None] if values.ndim == 1 else values
    if values.ndim != 2:
        raise ValueError(f"it has shape {values.shape}, expected (T,) or (C, T)")
    if values.shape[0] > values.shape[1]:
        raise ValueError(
            f"it has {values.shape[0]} channels of {values.shape[1]} samples: save it transposed, channels first"
        )
    return values


def _npy_signal(file: Path) -> Numbers:
    return Numbers(_floats(_channels_first(read_any_array(file, MOST))), "signal")


def _csv_signal(file: Path) -> Numbers:
    names, columns = _columns(_opened(file))
    time = next((number for number, name in enumerate(names) if name.strip().lower() in _TIMES), None)
    kept = [number for number in range(len(names)) if number != time]
    if not kept:
        raise ValueError("it has a column of times alone")
    values = np.stack([columns[number] for number in kept])
    return Numbers(
        _floats(values), "signal", tuple(names[n] for n in kept), _rate_of(columns[time]) if time is not None else None
    )


def _rate_of(times: Array) -> float:
    steps = np.diff(times.astype(np.float64))
    if not len(steps) or not np.isfinite(steps).all() or steps.min() <= 0 or np.ptp(steps) > 0.02 * steps.mean():
        raise ValueError("its times are not evenly spaced: resample it, or leave out the column of times")
    return float(1 / steps.mean())


def _wav(file: Path) -> Numbers:
    try:
        with wave.open(str(file), "rb") as sound:
            channels, width, rate, count = (
                sound.getnchannels(),
                sound.getsampwidth(),
                sound.getframerate(),
                sound.getnframes(),
            )
            if count * channels > MOST:
                raise ValueError(f"it says that it has {count} samples, more than are read")
            content = sound.readframes(count)
    except wave.Error as error:
        if "unknown format" not in str(error):
            raise ValueError(str(error)) from error
        return _sound(file)  # floats and compressed sound, which Python itself does not read
    if rate < 1 or not content or len(content) % (width * channels):
        raise ValueError("it is empty or cut short")
    return Numbers(_pcm(content, width).reshape(-1, channels).T.copy(), "signal", rate=float(rate))


def _pcm(content: bytes, width: int) -> Floats:
    """Return whole numbers of so many bytes as parts of the largest."""
    if width == 1:
        return (np.frombuffer(content, np.uint8).astype(np.float32) - 128) / np.float32(128)
    bytes_each = np.frombuffer(content, np.uint8).reshape(-1, width)
    wide = np.zeros((len(bytes_each), 4), np.uint8)  # the highest bytes of 32 bits, little-endian
    wide[:, 4 - width :] = bytes_each
    parts: Floats = wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
    return parts


def _sound(file: Path) -> Numbers:
    soundfile = need("soundfile", "signals")
    try:
        about = soundfile.info(str(file))
        if about.frames * about.channels > MOST:
            raise ValueError(f"it says that it has {about.frames} samples, more than are read")
        values, rate = soundfile.read(str(file), dtype="float32", always_2d=True)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    return Numbers(np.ascontiguousarray(values.T), "signal", rate=float(rate))


_SIGNALS: dict[str, Callable[[Path], Numbers]] = {".npy": _npy_signal, ".csv": _csv_signal, ".wav": _wav}


# Volumes


def _volume(file: Path, suffix: str) -> Numbers:
    spacing: Array | None = None
    if suffix == ".npy":
        values = read_any_array(file, MOST)
    elif suffix == ".npz":
        held, spacing = read_archive_array(file, MOST, "spacing")
        values = np.asarray(held)
    else:
        values, spacing = _nifti(file)
    values = values[None] if values.ndim == 3 else values
    if values.ndim != 4:
        raise ValueError(f"it has shape {values.shape}, expected (D, H, W) or (C, D, H, W)")
    return Numbers(_floats(values), "volume", spacing=_spacing(spacing))


def _spacing(given: Array | None) -> tuple[float, float, float] | None:
    if given is None:
        return None
    found = given.astype(np.float64).ravel()
    if found.shape != (3,) or not np.isfinite(found).all() or found.min() <= 0:
        raise ValueError("its spacing is not three lengths above 0, of voxels along D, H and W")
    return float(found[0]), float(found[1]), float(found[2])


def _nifti(file: Path) -> tuple[Array, Array]:
    """Read a NIfTI file as it lies there: its first three axes are D, H and W, a fourth one channels."""
    nibabel = need("nibabel", "volumes")
    try:
        image = nibabel.load(str(file))
        shape = tuple(int(side) for side in image.shape)
        if len(shape) not in (3, 4) or not 0 < np.prod([float(side) for side in shape]) <= MOST:
            raise ValueError(
                f"it says that it has shape {shape}, expected (D, H, W) or (D, H, W, C) with at most {MOST} voxels"
            )
        values = np.asanyarray(image.dataobj, dtype=np.float32)
        spacing = np.asarray(image.header.get_zooms()[:3])
    except BitlensError:
        raise
    except Exception as error:  # a damaged file raises whatever its parts raise
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return (np.moveaxis(values, 3, 0) if values.ndim == 4 else values), spacing


# Tables


@lru_cache(maxsize=4)
def _table(file: Path, names: tuple[str, ...], mark: tuple[int, int]) -> tuple[Floats, tuple[str, ...]]:  # noqa: ARG001
    """Read all rows (N, D) of a table and the names of their columns; the mark tells a file from one that replaced it."""
    found, columns = _columns(_opened(file), names)
    return _floats(np.stack(columns, axis=1)), tuple(found)


def read_rows(file: Path, label: str | None) -> tuple[Floats, tuple[str, ...], list[Any]]:
    """Read all rows (N, D) of a table, the names of their features, and the column of labels, which is none of them.

    Raises:
        DataError: if it is missing, damaged, too large, or has no such column.
    """
    if not file.is_file():
        raise DataError(f"there is no file {file}")
    _checked_suffix(file, "table")
    with whole(file, _WHAT["table"], "save it anew, or name another file"):
        table = _opened(file)
        if label is not None and label not in table.column_names:
            raise ValueError(f"the column {label!r} is missing: found {', '.join(table.column_names)}")
        names, columns = _columns(table, [name for name in table.column_names if name != label])
        labels = table.column(label).to_pylist() if label is not None else [None] * table.num_rows
        return _floats(np.stack(columns, axis=1)), tuple(names), labels


def _opened(file: Path) -> Any:
    return _parquet(file) if suffix_of(file) == ".parquet" else _csv(file)


def _columns(table: Any, names: Sequence[str] = ()) -> tuple[list[str], list[Array]]:
    """Return the named columns of an Arrow table, all of them by default, as numbers.

    Raises:
        ValueError: if one is missing or holds text.
    """
    import pyarrow as pa

    from bitlens.system.columns import numbers

    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise ValueError(f"the column {missing[0]!r} is missing: found {', '.join(table.column_names)}")
    chosen = list(names) or table.column_names
    if not chosen or not table.num_rows:
        raise ValueError("it has no rows or no columns")
    if len(set(table.column_names)) != len(table.column_names):
        raise ValueError("two of its columns have the same name")
    if table.num_rows * len(chosen) > MOST:
        raise ValueError(f"it has {table.num_rows} rows of {len(chosen)} columns, more than are read")
    columns = []
    for name in chosen:
        column = table.column(name)
        kind = column.type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            raise ValueError(f"the column {name!r} holds {kind}, no numbers: leave it out, or write it as numbers")
        if column.null_count:
            raise ValueError(
                f"the column {name!r} has {column.null_count} empty cells: fill them in, or leave the rows out"
            )
        columns.append(numbers(column.cast(pa.float64())))
    return chosen, columns


def _csv(file: Path) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    if file.stat().st_size > MOST_TEXT:
        raise ValueError(f"it is larger than {MOST_TEXT >> 20} MB: write it as Parquet, or as .npy")
    with file.open("rb") as opened:
        head = opened.readline(1 << 16).decode("utf-8", "replace").strip().split(",")
    bare = all(_is_number(cell) for cell in head)
    options = csv.ReadOptions(use_threads=False, autogenerate_column_names=bare)
    try:
        return csv.read_csv(file, read_options=options)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error


def _parquet(file: Path) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        opened = parquet.ParquetFile(file, page_checksum_verification=True)
        about = opened.metadata
        size = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
        if about.num_rows * about.num_columns > MOST or size > 8 * MOST:
            raise ValueError(
                f"it says that it has {about.num_rows} rows of {about.num_columns} columns, more than are read"
            )
        return opened.read(use_threads=False)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _floats(values: Array) -> Floats:
    if values.dtype.kind not in "fiub":
        raise ValueError(f"it holds {values.dtype}, expected real numbers")
    found = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(found).all():
        raise ValueError(
            f"it holds {int((~np.isfinite(found)).sum())} values that are NaN or infinite, or too large for float32"
        )
    return found
