"""Half-written files that killed processes left behind: told apart from those that somebody is writing now.

The name of a temporary file says who writes it: the machine since it was started (and the process's own view of its
processes, as containers have them), the process, and when that began. A file is swept if its writer is seen to be gone, and
never while the writer lives, however long it takes. Of a writer that cannot be seen (another machine, another container, a
system without /proc, a file of bitlens 0.1) the age of the file decides, and a day is longer than any file takes.
"""

import hashlib
import os
import shutil
import time
import uuid
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

_PREFIX = ".bitlens-"
_PROC = Path("/proc")
_DAY = 86_400.0
_swept: set[Path] = set()


def temporary_name(suffix: str) -> str:
    """Return a name that no file has yet, and that says who writes it."""
    return f"{_PREFIX}{owner()}-{uuid.uuid4().hex}{suffix}"


def sweep_once(folder: Path) -> None:
    """Remove what killed processes left in a folder, the first time that this process writes there."""
    place = folder.absolute()
    if place not in _swept:
        _swept.add(place)
        sweep(folder)


def sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder, if there is one."""
    for path in folder.glob(f"{_PREFIX}*") if folder.is_dir() else ():
        with suppress(OSError):  # another sweeps too, or it is another user's to remove
            if path.is_file() and _abandoned(path):
                path.unlink(missing_ok=True)


def sweep_folders(place: Path, prefix: str) -> None:
    """Remove folders PREFIX… that killed processes left in a place, with all they hold."""
    for folder in place.glob(f"{prefix}*"):
        with suppress(OSError):  # another sweeps too, or it is another user's to remove
            if folder.is_dir() and not folder.is_symlink() and _abandoned(folder, prefix):
                shutil.rmtree(folder)


def _abandoned(path: Path, prefix: str = _PREFIX) -> bool:
    place, process, began, *_ = [*path.name.removeprefix(prefix).split("-"), "", ""]
    if place and place == _place() and process.isdecimal() and began.isdecimal() and _visible(int(process)):
        return _began(int(process)) != began
    return time.time() - path.stat().st_mtime > _DAY


def _visible(process: int) -> bool:
    """Say whether the system tells us of a process, or that there is none; it may hide those of other users."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return (_PROC / str(process) / "stat").is_file()


def owner() -> str:
    """Return who writes: PLACE-PROCESS-BEGAN, or `elsewhere` where nobody could tell later whether it still runs."""
    process = os.getpid()
    began = _began(process)
    return f"{_place()}-{process}-{began}" if _place() and began else "elsewhere"


@lru_cache(1)
def _place() -> str:
    """Name this machine since it was started, and the view of its processes; empty where the system does not tell."""
    try:
        started = (_PROC / "sys/kernel/random/boot_id").read_text("ascii")
        view = (_PROC / "self/ns/pid").stat().st_ino
    except OSError:
        return ""
    return hashlib.sha256(f"{started} {view}".encode()).hexdigest()[:12]


def _began(process: int) -> str:
    """Return when a process began, in the clock of the system; empty if there is none (a number is given to others later)."""
    try:
        told = (_PROC / str(process) / "stat").read_bytes()
    except OSError:
        return ""
    fields = told.rpartition(b")")[2].split()  # the name before it may hold anything
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode("ascii")  # dead, but its parent has not asked yet
