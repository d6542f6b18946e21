"""The ways in which `fuzz.py` and the tests break files: bytes, arrays, words."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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
