"""Writing files so that nobody ever sees half of one, not even after a power cut."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from bitlens.errors import DataError
from bitlens.system.leftovers import sweep_once, temporary_name

T = TypeVar("T")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, moved into place when the block ends well and removed when it does not.

    Its bytes are on the disk before it gets its name, and the name is before the block is left: whoever relies on the file
    (a run that goes on where it was) finds it whole.

    Raises:
        DataError: if the folder cannot be made or written, or the disk is full.
    """
    path = Path(path)
    # Not tempfile: its files are readable by their owner alone, and the rights would stay with the finished file.
    temporary = path.parent / temporary_name(path.suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_once(path.parent)
        try:
            yield temporary
            _settle(temporary)
            temporary.replace(path)
            _settle(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        hint = ": make room and run it again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise DataError(f"cannot write {path}: {error.strerror or error}{hint}") from error


def cache_folder() -> Path:
    """Return BITLENS_CACHE, or `bitlens` in the user's cache folder (XDG_CACHE_HOME, ~/.cache)."""
    own = os.environ.get("BITLENS_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bitlens"


def kept(place: Path | None, load: Callable[[Path], T]) -> T | None:
    """Return what an earlier run left in a file; None where there is none, or one that is damaged and is made again."""
    if place is None or not place.is_file():
        return None
    try:
        return load(place)
    except DataError:
        return None


def _settle(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk; what a network disk refuses late is raised here."""
    if os.name != "posix":  # a folder cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write bytes, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all.

    What is no text (half of a character, a byte of a file's name) is told as an escape; in JSON it then is what it was.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
