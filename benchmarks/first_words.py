"""How long commands take that need no torch, and how long the others until their first word; printed beside what is allowed.

    python benchmarks/first_words.py                  # the rows of one small evaluation, in 58 files
    python benchmarks/first_words.py --rows DIR       # those of an evaluation of one's own

Seconds of the processor, with the interpreter's start, the median of runs after a first that fills the caches of Python. A
command with more to say than its first word is ended there.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

EVALUATION = Path(__file__).parents[1] / "tests" / "golden" / "0.1" / "evaluation"
FILES = 58
Case = tuple[str, Sequence[str], float, bool]
"""What is measured, its command, the seconds that are allowed, and whether it is ended at its first word."""


def cases(folder: Path, rows: Path) -> list[Case]:
    """List what is measured."""
    photo = folder / "photo.png"
    Image.new("RGB", (64, 64), (90, 120, 30)).save(photo)
    asked = ["explain", str(photo), "--model", "builtin/scenes", "--out", str(folder / "out")]
    return [
        ("methods", ["methods"], 0.5, False),
        ("metrics", ["metrics"], 0.5, False),
        ("table", ["table", str(rows)], 1.5, False),
        ("report", ["report", str(rows), "--out", str(folder / "report.html")], 1.5, False),
        ("explain, no such photo", ["explain", "nowhere.png", "--model", "builtin/scenes"], 0.5, False),
        ("explain, no such method", [*asked, "--method", "grad-camm"], 0.5, False),
        ("explain, no such option", [*asked, "--modl", "x"], 0.5, False),
        ("evaluate, no such metric", ["evaluate", "--metrics", "degradatio"], 0.5, False),
        ("first word of explain", asked, 0.3, True),
        ("first word of app", ["app"], 0.3, True),
    ]


def in_files(folder: Path) -> Path:
    """Copy the evaluation into a folder, its file of rows as often as one of some hours has files."""
    there = shutil.copytree(EVALUATION, folder / "evaluation")
    (file,) = (there / "rows").glob("*.parquet")
    for number in range(1, FILES):
        shutil.copy(file, file.with_name(f"{number}-{file.name}"))
    return there


def seconds(command: Sequence[str], *, first_word: bool) -> float:
    """Run a command to its end, or to its first word, and return the processor's seconds that it took."""
    child = subprocess.Popen(
        [sys.executable, "-m", "bitlens", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
    )
    assert child.stdout is not None
    child.stdout.read(1 if first_word else -1)
    if first_word:
        child.send_signal(signal.SIGKILL)
    _, _, used = os.wait4(child.pid, 0)
    child.stdout.close()
    child.returncode = 0  # it was waited for
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Read the arguments, measure, print; 1 if something took longer than is allowed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, help="Folder of an evaluation, for table and report.")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    late = 0
    print("| command | CPU seconds | allowed |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what, command, allowed, first_word in cases(folder, given.rows or in_files(folder)):
            taken = statistics.median([seconds(command, first_word=first_word) for _ in range(given.repeats + 1)][1:])
            late += taken > allowed
            print(f"| {what} | {taken:.2f} | {allowed} |", flush=True)
    return int(late > 0)


if __name__ == "__main__":
    sys.exit(main())
