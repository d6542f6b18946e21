"""Reading files that anybody may have written: as a stream, within limits, one sentence for whatever is wrong with them."""

import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bitlens.errors import BitlensError, DataError

MOST_JSON = 64 << 20
"""Bytes of a JSON file that are read; what bitlens writes has a few thousand."""

FREE, GROWTH = 64 << 20, 50
"""A packed file may always unpack to so many bytes, or to so many times its own size: honest texts grow less than tenfold."""


@contextmanager
def whole(path: str | Path, what: str, remedy: str) -> Iterator[None]:
    """Say of whatever goes wrong within the block that a file is not what it should be.

    Args:
        path: the file.
        what: it should hold: "complete statistics".
        remedy: what to do: "make new ones".

    Raises:
        DataError: "PATH is damaged or does not hold WHAT (why): REMEDY".
    """
    try:
        yield
    except DataError as error:
        if Path(path).name in str(error):
            raise
        raise DataError(f"{path} is damaged or does not hold {what} ({error}): {remedy}") from error
    except BitlensError:
        raise
    except KeyError as error:
        raise DataError(
            f"{path} is damaged or does not hold {what} ({error.args[0]!r} is missing): {remedy}"
        ) from error
    except RecursionError as error:
        raise DataError(f"{path} is damaged or does not hold {what} (it is nested too deeply): {remedy}") from error
    except (OSError, EOFError, ValueError, TypeError, AttributeError, IndexError, OverflowError, RuntimeError) as error:
        raise DataError(f"{path} is damaged or does not hold {what} ({_reason(error)}): {remedy}") from error


def reason_of(error: Exception) -> str:
    """Return what went wrong with a file, in a line."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return _reason(error)


def _reason(error: Exception) -> str:
    told = " ".join(str(error).split()) or type(error).__name__
    return told if len(told) <= 300 else f"{told[:297]}…"


def readable(name: str) -> str:
    r"""Return the name of a file as UTF-8 can hold it: bytes that are no text, as `\udcff`, are told as an escape."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def parsed(content: str) -> Any:
    """Parse JSON.

    Raises:
        ValueError: if it is none, or nested too deeply.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_json(path: str | Path, what: str, remedy: str) -> Any:
    """Read a JSON file; for arguments and errors see `whole`."""
    with whole(path, what, remedy):
        return parsed(read_bytes(path, MOST_JSON).decode("utf-8"))


def read_bytes(path: str | Path, most: int) -> bytes:
    """Read a file of at most so many bytes.

    Raises:
        ValueError: if it has more.
        OSError: if it cannot be read.
    """
    with Path(path).open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it is larger than {most >> 20} MB")
    return content


@contextmanager
def text_stream(path: Path, *, newline: str = "") -> Iterator[IO[str]]:
    """Open a file of UTF-8 text, packed by gzip if its name ends in .gz, to be read line by line.

    Raises:
        DataError: within the block, if it cannot be read, is damaged, no UTF-8, or unpacks to far more than its own size.
    """
    packed = path.suffix == ".gz"
    try:
        with path.open("rb") as file:
            most = unpacked_limit(path.stat().st_size)
            source: Any = io.BufferedReader(_Bounded(gzip.GzipFile(fileobj=file), most)) if packed else file
            yield io.TextIOWrapper(source, "utf-8-sig", newline=newline)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {reason_of(error)}") from error


def read_text(path: Path) -> str:
    """Read a file of UTF-8 text whole; for errors see `text_stream`."""
    with text_stream(path) as stream:
        return stream.read()


def unpacked_limit(packed: int) -> int:
    """Say how many bytes a packed file of this size may unpack to."""
    return max(FREE, GROWTH * packed)


class _Bounded(io.RawIOBase):
    """Reader of a stream, up to a number of bytes."""

    def __init__(self, source: IO[bytes] | gzip.GzipFile, most: int) -> None:
        self.source, self.left, self.most = source, most, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self.source.read(len(buffer))
        self.left -= len(content)
        if self.left < 0:
            raise OSError(
                f"it unpacks to more than {self.most >> 20} MB, far more than its own size: unpack it yourself if you trust it"
            )
        buffer[: len(content)] = content
        return len(content)


def check_archive(path: str | Path) -> None:
    """Refuse a zip archive (.npz, .pt) whose parts unpack to far more than its own size, or do not agree with their checksums.

    Raises:
        ValueError: if they do, or it is no archive.
    """
    most = unpacked_limit(Path(path).stat().st_size)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
            if size > most:
                raise ValueError(f"its parts unpack to {size >> 20} MB, far more than its own size")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(str(error) or "it is cut short") from error
    if damaged is not None:
        raise ValueError(f"its part {damaged} does not agree with its checksum: copy it again")
