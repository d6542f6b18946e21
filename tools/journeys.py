"""Count the files of bitlens that four journeys run through, and the size of the house.

`python tools/journeys.py` explains, evaluates and reads a text with bundled networks in temporary folders, each journey in a
process of its own, and prints a line for each: files of which a function ran (imports alone do not count), and rooms.
`python tools/journeys.py house` prints rooms, arrows between rooms, files and lines of code.
"""

import argparse
import ast
import io
import os
import subprocess
import sys
import tempfile
import threading
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

SOURCE = Path(__file__).resolve().parents[1] / "src" / "bitlens"
_FUNCTION = 0x1 | 0x2  # flags of code that is a function's, not a module's or a class's


def iba() -> None:
    """`IBA.explain`."""
    import torch

    import bitlens

    loaded = bitlens.load_model("builtin/scenes")
    made = bitlens.IBA(loaded.model, "layer2", steps=2, noise_samples=1)
    made.fit_statistics([torch.rand(64, 3, 96, 96)], granularity="channel")
    with counted():
        made.explain(torch.rand(1, 3, 96, 96))


def _command(*words: str) -> None:
    from bitlens.cli import main

    sys.argv = ["bitlens", *words]
    with counted():
        main()


def explain() -> None:
    """`bitlens explain`."""
    from bitlens.data.datasets import open_dataset

    open_dataset("builtin:scenes")[0].image.save("scene.png")
    _command("explain", "scene.png", "--model", "builtin/scenes", "--method", "iba:steps=2:noise_samples=1")


def evaluate() -> None:
    """`bitlens evaluate`."""
    _command(
        "evaluate", "--model", "builtin/scenes", "--data", "builtin:scenes", "--limit", "1", "--statistics-count", "64",
        "--methods", "iba:steps=2:noise_samples=1", "--metrics", "degradation-14:points=3,bbox",
    )  # fmt: skip


def text() -> None:
    """`bitlens text explain`."""
    _command("text", "explain", "A warm, funny film.", "--method", "token-iba:steps=2:noise_samples=2")


JOURNEYS: dict[str, Callable[[], None]] = {"iba": iba, "explain": explain, "evaluate": evaluate, "text": text}


class counted:  # noqa: N801  (used as a function)
    """Within the block, the files whose functions run are written down; at its end they are printed."""

    def __enter__(self) -> None:
        """Begin."""
        self._seen: set[str] = set()
        threading.setprofile(self._see)
        sys.setprofile(self._see)

    def __exit__(self, *_: object) -> None:
        """End, and print."""
        sys.setprofile(None)
        threading.setprofile(None)
        files = sorted(
            Path(name).relative_to(SOURCE).as_posix() for name in self._seen if name.startswith(f"{SOURCE}/")
        )
        print("\n".join(files), file=sys.__stdout__)

    def _see(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_flags & _FUNCTION == _FUNCTION and code.co_name not in ("<module>", "<lambda>"):
            self._seen.add(code.co_filename)


def files_of(name: str) -> list[str]:
    """Return the files that a journey runs through, below src/bitlens."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "BITLENS_CACHE": f"{folder}/cache"}
        command = [sys.executable, str(Path(__file__).resolve()), "--one", name]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if line.endswith(".py") and (SOURCE / line).is_file()]


def code_lines(path: Path) -> int:
    """Count the lines of a file that are code: no blanks, comments or docstrings."""
    source = path.read_text("utf-8")
    texts: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        for one in getattr(node, "body", []) if isinstance(getattr(node, "body", None), list) else []:
            if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str):
                texts |= set(range(one.lineno, (one.end_lineno or one.lineno) + 1))
    empty = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in empty:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - texts)


def room_of(path: Path) -> str:
    """Name the room of a file: its folder at the top, or itself."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def arrows() -> set[tuple[str, str]]:
    """Return the pairs of rooms of which one imports the other."""

    def imported(path: Path) -> Iterator[str]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bitlens."):
                yield (node.module or "").split(".")[1]

    return {(room_of(p), room) for p in SOURCE.rglob("*.py") for room in imported(p) if room != room_of(p)}


def house() -> dict[str, int]:
    """Return the size of the house."""
    files = sorted(SOURCE.rglob("*.py"))
    lines = {path: code_lines(path) for path in files}
    return {
        "files": len(files),
        "rooms": len({room_of(path) for path in files}),
        "arrows": len(arrows()),
        "code lines": sum(lines.values()),
        "largest file": max(lines.values()),
    }


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=("journeys", "house"), default="journeys")
    parser.add_argument("--one", choices=JOURNEYS, help="Run one journey here and print its files.")
    arguments = parser.parse_args()
    if arguments.one:
        JOURNEYS[arguments.one]()
        return
    if arguments.what == "house":
        for name, count in house().items():
            print(f"{name:12s} {count:,}")
        return
    for name in JOURNEYS:
        files = files_of(name)
        rooms = sorted({file.partition("/")[0] for file in files})
        print(f"{name:8s} {len(files):3d} files, {len(rooms):2d} rooms: {', '.join(rooms)}", flush=True)


if __name__ == "__main__":
    main()
