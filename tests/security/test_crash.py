"""Commands that are killed, and disks that lose power: what is left goes on, and ends as if nothing had happened."""

import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from bitlens.system import files
from crash import contents, differences
from crash_disk import Disk, cut_power

TOOL = Path(__file__).parents[2] / "tools" / "crash.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="processes are copied")
@pytest.mark.parametrize("how", [[], ["--power"]], ids=["kills", "power cuts"])
def test_killed_commands_end_as_undisturbed_ones(how):
    command = [sys.executable, str(TOOL), "--count", "6", "--seed", "1", "--only", "roar,readout-train", *how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 kills of 2 commands, 0 differences" in done.stdout


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A disk that `replacing` writes to within a test."""
    monkeypatch.setattr(files, "_settle", files._settle)
    monkeypatch.setattr(Path, "replace", Path.replace)
    (tmp_path / "home").mkdir()
    made = Disk(tmp_path / "home", tmp_path / "kept", seed=0)
    made.install()
    return made


def survivors(disk):
    cut_power(disk.home, disk.kept)
    return {
        path.relative_to(disk.home).as_posix(): path.read_bytes() for path in disk.home.rglob("*") if path.is_file()
    }


def test_what_was_written_whole_survives_a_power_cut(disk):
    for number in range(20):
        files.write_text(disk.home / "a" / f"{number}.txt", f"text {number}")
    files.write_text(disk.home / "a" / "0.txt", "again")
    (disk.home / "a" / "plain.txt").write_text("nobody asked the disk to keep it")
    assert survivors(disk) == {**{f"a/{n}.txt": f"text {n}".encode() for n in range(20)}, "a/0.txt": b"again"}


def test_a_cut_in_the_middle_leaves_the_old_or_the_new(disk, monkeypatch):
    place, chance, seen = disk.home / "a.txt", random.Random(0), set()
    files.write_text(place, "old")
    settle = files._settle

    def cut(path):
        if path.is_dir() and chance.random() < 0.9:
            raise KeyboardInterrupt
        settle(path)

    monkeypatch.setattr(files, "_settle", cut)
    for number in range(20):
        with suppress(KeyboardInterrupt):
            files.write_text(place, f"new {number}")
        (left,) = survivors(disk).values()
        seen.add(left != f"new {number}".encode())
        assert left in (b"old", *(f"new {n}".encode() for n in range(number + 1)))
    assert seen == {True, False}


def test_the_disk_shows_what_was_not_synced(disk, monkeypatch):
    """Without waiting for the bytes, files are found empty; without waiting for the name, some are not found."""
    settle = files._settle
    monkeypatch.setattr(files, "_settle", lambda path: settle(path) if path.is_dir() else None)
    files.write_text(disk.home / "bytes.txt", "text")
    assert survivors(disk) == {"bytes.txt": b""}
    monkeypatch.setattr(files, "_settle", lambda path: settle(path) if path.is_file() else None)
    for number in range(20):
        files.write_text(disk.home / f"{number}.txt", "text")
    assert 2 < len(survivors(disk)) < 20


def test_the_comparison_sees_what_is_missing_left_over_or_other(tmp_path):
    for name, text in (("a.json", '{"x": 1, "seconds": 2}'), ("b.npy", "b"), ("c.txt", "c")):
        (tmp_path / name).write_text(text)
    wanted = contents(tmp_path)
    (tmp_path / "a.json").write_text('{"seconds": 3, "x": 1}')
    assert differences(wanted, contents(tmp_path)) == []
    (tmp_path / "a.json").write_text('{"x": 2}')
    (tmp_path / "b.npy").unlink()
    (tmp_path / ".bitlens-left.npy").write_text("b")
    found = differences(wanted, contents(tmp_path))
    assert found == ["b.npy is missing", ".bitlens-left.npy is left over", "a.json differs"]
