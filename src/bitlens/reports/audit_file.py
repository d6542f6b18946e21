"""One file that holds an audit: a zip of stored members, a manifest of what they are, and a seal over every byte of it."""

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bitlens.errors import DataError
from bitlens.system.checks import mapping, text, whole_number
from bitlens.system.files import replacing
from bitlens.system.reading import parsed, whole
from bitlens.version import __version__

_FORMAT = "bitlens.audit/1"
_MANIFEST = "manifest.json"
_WRITTEN = (1980, 1, 1, 0, 0, 0)  # the same content makes the same file
_SEAL = 64  # hexadecimal digits at the end of the file, in the zip's comment: the sha256 of all before them
_MOST_MEMBERS, _MOST_BYTES, _MOST_MANIFEST = 200_000, 8 << 30, 64 << 20
_SUFFIXES = (".json", ".safetensors", ".npy", ".parquet", ".html")
_PIECE = 1 << 20
_WHAT, _REMEDY = "a whole audit", "ask for the file again, or make it anew with `bitlens audit`"


def write_audit(path: Path, members: Mapping[str, Path | str]) -> str:
    """Write an audit, whole or not at all.

    Args:
        path: the file.
        members: by name, files or texts.

    Returns:
        Its seal, 64 hexadecimal digits.
    """
    listed: dict[str, Any] = {}
    with replacing(path) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name, content in sorted(members.items()):
                listed[name] = _add(archive, name, content)
            manifest = {"format": _FORMAT, "version": __version__, "members": listed}
            _add(archive, _MANIFEST, json.dumps(manifest, indent=1, sort_keys=True))
            archive.comment = b"0" * _SEAL
        seal, place = _seal(temporary), temporary.stat().st_size - _SEAL
        with temporary.open("r+b") as file:
            file.seek(place)
            file.write(seal.encode("ascii"))
    return seal


def _add(archive: zipfile.ZipFile, name: str, content: Path | str) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    member = zipfile.ZipInfo(name, _WRITTEN)
    member.external_attr = 0o644 << 16
    if isinstance(content, Path):
        member.file_size = content.stat().st_size
    with archive.open(member, "w") as into:
        for piece in _pieces(content) if isinstance(content, Path) else [content.encode("utf-8")]:
            into.write(piece)
            digest.update(piece)
            size += len(piece)
    return {"sha256": digest.hexdigest(), "bytes": size}


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _seal(path: Path) -> str:
    """Return the sha256 of a file but for its last digits."""
    digest, left = hashlib.sha256(), path.stat().st_size - _SEAL
    with path.open("rb") as file:
        while left > 0 and (piece := file.read(min(_PIECE, left))):
            digest.update(piece)
            left -= len(piece)
    return digest.hexdigest()


@contextmanager
def opened_audit(path: Path) -> Iterator[Path]:
    """Check every byte of an audit, and unpack it into a folder that is gone after the block.

    Raises:
        DataError: if it is missing, damaged, changed, too large, or something else.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    with TemporaryDirectory(prefix="bitlens-audit-") as place:
        with whole(path, _WHAT, _REMEDY):
            try:
                _unpack(path, Path(place))
            except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError) as error:
                raise ValueError(str(error)) from error
        yield Path(place)


def _unpack(path: Path, into: Path) -> None:
    _check_seal(path)
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        if len(infos) > _MOST_MEMBERS or sum(info.file_size for info in infos) > min(_MOST_BYTES, path.stat().st_size):
            raise ValueError("it holds more than an audit may")
        if any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in infos):
            raise ValueError("its members are packed; those of an audit are stored as they are")
        by_name = {info.filename: info for info in infos}
        if len(by_name) != len(infos) or by_name[_MANIFEST].file_size > _MOST_MANIFEST:
            raise ValueError("two members have one name, or the manifest is too long")
        listed = _manifest(archive.read(_MANIFEST))
        if set(listed) | {_MANIFEST} != set(by_name):
            raise ValueError("its members are not those of its manifest")
        for name, (digest, size) in listed.items():
            if by_name[name].file_size != size or _copy(archive, name, into / safe_member(name)) != digest:
                raise ValueError(f"{name} is not what the manifest says")


def _check_seal(path: Path) -> None:
    if path.stat().st_size < 2 * _SEAL:
        raise ValueError("it is cut short")
    with path.open("rb") as file:
        file.seek(-_SEAL, 2)
        if file.read().decode("ascii", "replace") != _seal(path):
            raise ValueError("its seal is not that of its bytes")


def _manifest(content: bytes) -> dict[str, tuple[str, int]]:
    found = mapping(parsed(content.decode("utf-8")), "the manifest")
    text(found["format"], "format", (_FORMAT,))
    members = mapping(found["members"], "members")
    return {name: (text(one["sha256"], "sha256"), whole_number(one["bytes"], "bytes")) for name, one in members.items()}


def safe_member(name: str) -> str:
    """Take the name of a member if it stays within its folder and is no program.

    Raises:
        ValueError: if it does not.
    """
    parts = name.split("/")
    if not all(re.fullmatch(r"[^/\\\x00-\x1f]{1,200}", part) and part not in (".", "..") for part in parts):
        raise ValueError(f"a member is called {name[:60]!r}")
    if not name.endswith(_SUFFIXES) or ":" in parts[0]:
        raise ValueError(f"an audit holds no {name[:60]!r}")
    return name


def _copy(archive: zipfile.ZipFile, name: str, into: Path) -> str:
    digest = hashlib.sha256()
    into.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(name) as source, into.open("wb") as target:
        while piece := source.read(_PIECE):
            digest.update(piece)
            target.write(piece)
    return digest.hexdigest()
