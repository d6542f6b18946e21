"""Explainers of known quality by construction: a map that is right, made worse step by step."""

import hashlib
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

STEPS = 4
"""How often each way makes a map worse; step 0 is the map itself."""


def _blurred(values: Tensor, step: int, _: np.random.Generator) -> Tensor:
    """Gaussian, σ from 1/16 to 1/2 of the shorter side."""
    width = min(values.shape) * 2.0 ** (step - 1 - STEPS)
    return torch.from_numpy(gaussian_filter(values.numpy(), width))


def _shifted(values: Tensor, step: int, random: np.random.Generator) -> Tensor:
    """By 1/8 to 1/2 of each side, in a direction that each map has for itself; what leaves comes in again."""
    angle = random.uniform(0, 2 * np.pi)
    share = step / (2 * STEPS) / max(abs(np.cos(angle)), abs(np.sin(angle)))
    moves = [
        round(share * part * side) for part, side in zip((np.sin(angle), np.cos(angle)), values.shape, strict=True)
    ]
    return values.roll(moves, (0, 1))


def _noisy(values: Tensor, step: int, random: np.random.Generator) -> Tensor:
    """With noise of 1 to 8 times the map's own standard deviation, at every pixel."""
    noise = torch.from_numpy(random.standard_normal(values.shape)).float()
    return values + 2.0 ** (step - 1) * values.std() * noise


def _shuffled(values: Tensor, step: int, random: np.random.Generator) -> Tensor:
    """With 1/4 of the pixels to all of them exchanged among themselves, as F-Fidelity degrades explainers."""
    chosen = torch.from_numpy(random.permutation(values.numel())[: round(step / STEPS * values.numel())])
    flat = values.flatten().clone()
    flat[chosen] = flat[chosen[torch.from_numpy(random.permutation(len(chosen)))]]
    return flat.view_as(values)


WAYS: Mapping[str, Callable[[Tensor, int, np.random.Generator], Tensor]] = {
    "blurred": _blurred,
    "shifted": _shifted,
    "noisy": _noisy,
    "shuffled": _shuffled,
}


def worse(right: Tensor, mark: str) -> Iterator[tuple[str, Tensor]]:
    """Give names and maps (H, W): the right one, `right`, and each way's steps, `blurred-1` to `shuffled-4`.

    Args:
        right: (H, W); equal values get an order that follows from the mark, so that no metric sees ties.
        mark: of the photo, from which everything random follows.
    """

    def random(way: str) -> np.random.Generator:
        return np.random.default_rng(list(hashlib.sha256(f"{mark} {way}".encode()).digest()[:8]))

    right = right.float()
    tie = torch.from_numpy(random("ties").random(tuple(right.shape))).float()
    right = right + 1e-4 * (right.amax() - right.amin()) * tie
    yield "right", right
    for way, change in WAYS.items():
        for step in range(1, STEPS + 1):
            yield f"{way}-{step}", change(right, step, random(way))
