"""Break files of every kind that bitlens reads, at random from a seed, and see what their readers do.

    python tools/fuzz.py --seed 0 --count 2000 [--only rows,map]

A reader may refuse a file in one sentence (a `BitlensError`), or take it. Anything else is a traceback, which is printed. A
file is wrongly accepted if what was broken makes no sense (NaN, another type or shape, numbers out of range), or if its
checksum had to show the change. Exit code 1 if there was either.
"""

import argparse
import hashlib
import json
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

_CONSTANTS: tuple[Any, ...] = (
    None,
    True,
    -1,
    2**70,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "text",
    "\ud800",
    [],
    {},
    [[1]],
    {"a": {"b": None}},
)


def flip(content: bytes, draw: random.Random) -> bytes:
    """Turn one bit over."""
    broken, place = bytearray(content), draw.randrange(len(content))
    broken[place] ^= 1 << draw.randrange(8)
    return bytes(broken)


def cut(content: bytes, draw: random.Random) -> bytes:
    """Leave the end out."""
    return content[: draw.randrange(len(content))]


def scatter(content: bytes, draw: random.Random) -> bytes:
    """Write other bytes over a few."""
    broken = bytearray(content)
    for _ in range(draw.randint(2, 12)):
        broken[draw.randrange(len(broken))] = draw.randrange(256)
    return bytes(broken)


def blank(content: bytes, draw: random.Random) -> bytes:
    """Write one byte over a range."""
    start = draw.randrange(len(content))
    stop = min(len(content), start + draw.randint(1, 64))
    return content[:start] + bytes([draw.choice((0, 255, 32, 91))]) * (stop - start) + content[stop:]


def move(content: bytes, draw: random.Random) -> bytes:
    """Leave a range out, or write it twice."""
    start = draw.randrange(len(content))
    stop = min(len(content), start + draw.randint(1, 200))
    return content[:start] + content[stop:] if draw.random() < 0.5 else content[:stop] + content[start:]


BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, cut, scatter, blank, move)


def _wrong_numbers(tensor: Tensor, draw: random.Random) -> Tensor:
    values = tensor.clone()
    values.view(-1)[draw.randrange(values.numel())] = draw.choice((float("nan"), float("inf"), float("-inf")))
    return values


ARRAYS: dict[str, Callable[[Tensor, random.Random], Tensor]] = {
    "not finite": _wrong_numbers,
    "bytes": lambda tensor, _: tensor.clamp(0, 255).to(torch.uint8),
    "whole": lambda tensor, _: tensor.long(),
    "complex": lambda tensor, _: tensor.to(torch.complex64),
    "half": lambda tensor, draw: tensor.to(draw.choice((torch.bfloat16, torch.float16))),
    "one axis more": lambda tensor, _: tensor[None],
    "one short": lambda tensor, _: tensor.reshape(-1)[:-1].clone() if tensor.numel() > 1 else tensor[None, None],
    "empty": lambda tensor, _: tensor.reshape(-1)[:0].clone(),
}
"""What is done to one tensor of a file; afterwards the file makes no sense, and has no checksum, as those of 0.1."""

_KEEPS_SENSE = {("weights", "half"), ("pickled weights", "half"), ("attribution", "missing")}
"""What makes sense all the same: weights of less precision; an attribution without its capacity."""


def break_arrays(path: Path, draw: random.Random) -> str:
    """Break one tensor of a file of tensors; returns how."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    if path.suffix == ".pt":
        metadata, arrays = {}, dict(torch.load(path, weights_only=True))
    else:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    metadata.pop("sha256", None)
    how, name = draw.choice((*ARRAYS, "missing", "one more")), draw.choice(sorted(arrays))
    if how == "missing":
        del arrays[name]
    elif how == "one more":
        arrays["evidence.more"] = torch.ones(2)
    else:
        arrays[name] = ARRAYS[how](arrays[name], draw).contiguous()
    if path.suffix == ".pt":
        torch.save(arrays, path)
    else:
        save_file(arrays, path, metadata=metadata)
    return how


def break_words(path: Path, draw: random.Random) -> str:
    """Put something else for one value of the JSON in a file (the whole file, or the words of a file of tensors)."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    if path.suffix == ".json":
        known = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps(_replaced(known, draw)), "utf-8")
        return "another value"
    with safe_open(path, "pt") as file:
        metadata = dict(file.metadata() or {})
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    metadata.pop("sha256", None)
    name = draw.choice([name for name in sorted(metadata) if name != "format"])
    metadata[name] = draw.choice(
        (json.dumps(_replaced(json.loads(metadata[name]), draw)), "[" * 100_000, "", "{", "1" * 5000)
    )
    save_file(arrays, path, metadata=metadata)
    return "another value"


def _replaced(value: Any, draw: random.Random) -> Any:
    """The same with one of its values, at any depth, replaced or left out."""
    places: list[Any] = (
        list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    )
    if not places or draw.random() < 0.15:
        return draw.choice(_CONSTANTS)
    place, copy = draw.choice(places), dict(value) if isinstance(value, dict) else list(value)
    if draw.random() < 0.2:
        del copy[place]
    else:
        copy[place] = _replaced(value[place], draw)
    return copy


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
