"""Writing files so that nobody ever sees half of one, not even after a power cut."""

import errno
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bitlens.errors import DataError


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
    temporary = path.parent / f".bitlens-{uuid.uuid4().hex}{path.suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
    """Write UTF-8 text, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_arrays(path: str | Path, arrays: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Write tensors and text as safetensors, whole or not at all."""
    from safetensors.torch import save

    # Not save_file: what it writes is readable by its owner alone.
    write_bytes(path, save({name: tensor.contiguous() for name, tensor in arrays.items()}, dict(metadata)))


def read_arrays(
    path: str | Path, kind: str, required: Callable[[Mapping[str, str]], bool]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Read what `write_arrays` wrote.

    Args:
        path: the file.
        kind: what the file should hold, for the error.
        required: whether the metadata are those of such a file.

    Raises:
        DataError: if the file is missing, damaged, or holds something else.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise DataError(f"there is no file {path}")
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is not a readable safetensors file: {error}") from error
    if not required(metadata):
        raise DataError(f"{path} does not hold {kind} written by bitlens")
    return arrays, metadata
