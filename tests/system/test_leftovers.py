"""What killed processes leave behind is removed where somebody writes next; what somebody is writing never is."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bitlens.data.datasets import open_dataset
from bitlens.system import leftovers
from bitlens.system.files import replacing, write_text
from bitlens.system.leftovers import sweep, temporary_name

WRITING = """
import os, signal, sys
from bitlens.system.files import replacing
with replacing(sys.argv[1]) as temporary:
    temporary.write_text("half")
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    print("writing", flush=True)
    sys.stdin.read()
    temporary.write_text("whole")
"""
linux = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="there is no /proc to tell who lives")


def hidden(folder: Path) -> list[Path]:
    return sorted(folder.glob(".bitlens-*"))


def killed(place: Path) -> Path:
    """The file that a killed process leaves."""
    done = subprocess.run([sys.executable, "-c", WRITING, place, "die"], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = hidden(place.parent)
    return left


def planted(folder: Path, dead: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / dead).write_bytes(b"half")


@pytest.fixture(scope="module")
def dead(tmp_path_factory) -> str:
    """The name of a file that a process that is gone was writing."""
    return killed(tmp_path_factory.mktemp("dead") / "a.npy").name


@linux
def test_a_killed_process_s_file_is_removed_by_the_next_that_writes_there(tmp_path: Path) -> None:
    killed(tmp_path / "a.txt")
    write_text(tmp_path / "b.txt", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["b.txt"]


@linux
def test_a_living_process_s_file_stays_however_old_it_is(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITING, tmp_path / "a.txt", "live"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "writing\n"
    (temporary,) = hidden(tmp_path)
    os.utime(temporary, (0, 0))
    for _ in range(3):
        sweep(tmp_path)
    assert temporary.exists()
    process.communicate("", timeout=30)
    assert process.returncode == 0
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert not hidden(tmp_path)


def test_one_s_own_file_stays(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        os.utime(temporary, (0, 0))
        sweep(tmp_path)
        assert temporary.exists() == Path("/proc/self/stat").is_file()
        temporary.write_text("whole")
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_of_writers_that_cannot_be_seen_the_age_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [".bitlens-0123456789ab-17-99-feed.npy", ".bitlens-elsewhere-feed.npy", f".bitlens-{'0' * 32}.parquet"]
    monkeypatch.setattr(leftovers, "_place", lambda: "")  # a system without /proc
    names.append(temporary_name(".npy"))
    assert names[-1].startswith(".bitlens-elsewhere-")
    monkeypatch.undo()
    for age, left in ((3600.0, 4), (2 * 86_400.0, 0)):
        for name in names:
            (tmp_path / name).write_bytes(b"half")
            os.utime(tmp_path / name, (time.time() - age,) * 2)
        sweep(tmp_path)
        assert len(hidden(tmp_path)) == left


@linux
def test_the_number_of_a_dead_process_that_another_has_now(tmp_path: Path) -> None:
    place, process, began, rest = temporary_name(".npy").removeprefix(".bitlens-").split("-")
    assert process == str(os.getpid())
    planted(tmp_path, f".bitlens-{place}-{process}-{int(began) - 1}-{rest}")
    sweep(tmp_path)
    assert not hidden(tmp_path)


def test_folders_that_only_look_so_and_other_hidden_files_stay(tmp_path: Path) -> None:
    (tmp_path / ".bitlens-folder").mkdir()
    (tmp_path / ".other").write_text("x")
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    sweep(tmp_path)
    sweep(tmp_path / "none")
    assert len(list(tmp_path.iterdir())) == 2


@linux
def test_every_folder_that_commands_write(bitlens, tmp_path: Path, dead: str) -> None:
    open_dataset("builtin:scenes")[0].image.save(tmp_path / "scene.png")
    for folder in ("r", "e/rows", "e/maps/gradient", "e"):
        planted(tmp_path / folder, dead)
    model = ("--model", "builtin/scenes", "--device", "cpu")
    bitlens("explain", tmp_path / "scene.png", *model, "--method", "gradient", "--out", "r")
    bitlens("evaluate", *model, "--data", "builtin:scenes", "--methods", "gradient", "--metrics", "bbox", "--limit", 1,
            "--keep-maps", "--out", "e")  # fmt: skip
    assert not list(tmp_path.rglob(".bitlens-*"))
