"""Nobody ever sees half a file."""

import errno
import os
import resource
from pathlib import Path
from typing import Any

import pytest
import torch

from bitlens.errors import DataError
from bitlens.system.arrays import read_arrays, write_arrays
from bitlens.system.files import replacing, write_text

ARRAYS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_and_arrays_come_back(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "folder" / "a.txt", "λ\n")
    assert (tmp_path / "new" / "folder" / "a.txt").read_text(encoding="utf-8") == "λ\n"
    write_arrays(tmp_path / "a.safetensors", {**ARRAYS, "t": ARRAYS["a"].T}, {"format": "x"})
    arrays, metadata = read_arrays(tmp_path / "a.safetensors", "things", lambda m: m["format"] == "x")
    assert metadata == {"format": "x"}
    assert all(torch.equal(arrays[name], ARRAYS[name]) for name in ARRAYS)
    assert torch.equal(arrays["t"], ARRAYS["a"].T)


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail_half_way() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail_half_way()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_that_cannot_be_made_or_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "a.txt", tmp_path / "file" / "deeper" / "a.txt", Path("/proc/nowhere/a.txt")):
        with pytest.raises(DataError, match=r"cannot write .*a\.txt"):
            write_text(path, "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="cannot write"):
        write_text(tmp_path / "a.txt", "x")


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt" / "inside").mkdir(parents=True)
    with pytest.raises(DataError, match="cannot write"):
        write_text(tmp_path / "a.txt", "x")
    assert names(tmp_path) == ["a.txt"]


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.txt", "old")

    def full(*_args: Any, **_kwargs: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DataError, match="No space left on device"):
        write_text(tmp_path / "a.txt", "new")
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"old"


def test_arrays_that_do_not_fit(tmp_path: Path) -> None:
    """The system itself refuses to let the file grow, in the middle of the writing."""
    path = tmp_path / "a.safetensors"
    write_arrays(path, ARRAYS, {})
    old = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DataError, match="cannot write"):
            write_arrays(path, {"a": torch.zeros(1_000_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == old
    assert names(tmp_path) == ["a.safetensors"]


@pytest.mark.parametrize("size", [0, 4, 20, -1])
def test_damaged_files(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.safetensors"
    write_arrays(path, ARRAYS, {})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError, match="not a readable safetensors file"):
        read_arrays(path, "things", lambda _: True)


def test_missing_and_other_files(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(DataError, match="there is no file"):
            read_arrays(path, "things", lambda _: True)
    write_arrays(tmp_path / "a.safetensors", ARRAYS, {})
    with pytest.raises(DataError, match="does not hold things"):
        read_arrays(tmp_path / "a.safetensors", "things", lambda m: "format" in m)
