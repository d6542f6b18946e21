"""Break files of every kind that bitlens reads, at random from a seed, and see what their readers do.

    python tools/fuzz.py --seed 0 --count 2000 [--only rows,map]

A reader may refuse a file in one sentence (a `BitlensError`), or take it. Anything else is a traceback, which is printed. A
file is wrongly accepted if what was broken makes no sense (NaN, another type or shape, numbers out of range), or if its
checksum had to show the change. Exit code 1 if there was either.
"""

import argparse
import hashlib
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitlens.errors import BitlensError
from fuzz_kinds import KINDS
from fuzz_ways import ARRAYS, BYTES, break_arrays, break_words

_KEEPS_SENSE = {("weights", "half"), ("pickled weights", "half"), ("attribution", "missing")}
"""What makes sense all the same: weights of less precision; an attribution without its capacity."""


def told(value: Any) -> str:
    """Everything that a reader found, as a digest."""
    digest = hashlib.sha256()
    _tell(value, digest)
    return digest.hexdigest()


def _tell(value: Any, digest: Any) -> None:
    if is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, Tensor):
        digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            digest.update(repr(key).encode("utf-8", "backslashreplace"))
            _tell(value[key], digest)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        digest.update(f"[{len(value)}".encode())
        for one in value:
            _tell(one, digest)
    else:
        digest.update(repr(value).encode("utf-8", "backslashreplace"))


class Trial:
    """Breaks files of one kind and has them read.

    Args:
        name: of the kind.
        folder: an empty one.
        seed: of everything.
    """

    def __init__(self, name: str, folder: Path, seed: int) -> None:
        self.name, self.seed, self.kind = name, seed, KINDS[name]
        self.path = folder / self.kind.file
        self.kind.make(self.path)
        self.good = self.path.read_bytes()
        self.says = told(self.kind.read(self.path))
        self.ways: list[Callable[[random.Random], tuple[str, bool]]] = [self._bytes] * 2
        if self.path.suffix in (".safetensors", ".pt"):
            self.ways.append(self._arrays)
        if self.path.suffix == ".json" or (self.path.suffix == ".safetensors" and self.kind.sealed):
            self.ways.append(self._words)

    def _bytes(self, draw: random.Random) -> tuple[str, bool]:
        way = draw.choice(BYTES)
        self.path.write_bytes(way(self.good, draw))
        return way.__name__, self.kind.sealed

    def _arrays(self, draw: random.Random) -> tuple[str, bool]:
        how = break_arrays(self.path, draw)
        return how, (self.name, how) not in _KEEPS_SENSE

    def _words(self, draw: random.Random) -> tuple[str, bool]:
        return break_words(self.path, draw), False

    def once(self, number: int) -> tuple[str, str]:
        """Break the file in one way; returns what its reader did, and how it was broken.

        "refused", "taken" (it says the same), "changed" (it says something else, which nobody can know), "wrong" (it was taken
        and should not have been), or "traceback", with the traceback in place of how.
        """
        draw = random.Random(f"{self.name} {self.seed} {number}")
        self.path.write_bytes(self.good)
        how, must_show = draw.choice(self.ways)(draw)
        try:
            says = told(self.kind.read(self.path))
        except BitlensError as error:
            return ("refused" if "\n" not in str(error) else "traceback"), how
        except BaseException:
            return "traceback", traceback.format_exc()
        if says == self.says and (self.kind.sealed or how not in ARRAYS or not must_show):
            return "taken", how
        return ("wrong" if must_show else "changed"), how


def run(kinds: Sequence[str], seed: int, count: int) -> int:
    """Try all kinds and print what happened; returns how many tracebacks and wrong acceptances there were."""
    bad, before = 0, _peak()
    for name in kinds:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            trial = Trial(name, Path(folder), seed)
            outcomes: Counter[str] = Counter()
            for number in range(count):
                outcome, how = trial.once(number)
                outcomes[outcome] += 1
                if outcome in ("wrong", "traceback"):
                    bad += 1
                    print(f"--- {name}, number {number}: {outcome}: {how}")
        known = ", ".join(f"{outcomes[one]} {one}" for one in ("refused", "taken", "changed", "wrong", "traceback"))
        print(f"{name:18} {known}; {time.perf_counter() - start:.0f} s", flush=True)
    grown = _peak() - before
    print(
        f"{len(kinds)} kinds, {count} files each: {bad} tracebacks and wrong acceptances; {grown} MB more at the peak"
    )
    return bad


def _peak() -> int:
    """The most memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--only", default="", help="kinds, separated by commas")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    kinds = arguments.only.split(",") if arguments.only else list(KINDS)
    sys.exit(1 if run(kinds, arguments.seed, arguments.count) else 0)


if __name__ == "__main__":
    main()
