"""Which sample is where and when: decided by numbers and seeds alone."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from bitlens.errors import SettingError
from bitlens.training.settings import TrainingSettings


def deal(count: int, settings: TrainingSettings, world: int) -> tuple[list[list[int]], list[int]]:
    """Return the numbers of the samples of each batch, and of those that are held out. A last batch that is not full is left out.

    Raises:
        SettingError: if there are not enough samples for one batch, or a batch cannot be shared out evenly.
    """
    share = world * settings.accumulation
    if settings.batch % share:
        raise SettingError(
            f"batch={settings.batch} cannot be cut into equal parts for {world} process{'es' if world > 1 else ''} of "
            f"accumulation={settings.accumulation} each: use a multiple of {share}"
        )
    order = torch.randperm(count, generator=generator_of(settings.seed, "deal")).tolist()
    away = min(count - 1, max(1, round(count * settings.held_out))) if settings.held_out > 0 and count > 1 else 0
    held, rest = sorted(order[:away]), order[away:]
    full = len(rest) // settings.batch
    if not full:
        raise SettingError(
            f"there are {len(rest)} samples to train on ({away} are held out), fewer than one batch of {settings.batch}: give "
            "more, or use a smaller batch"
        )
    return [rest[i * settings.batch : (i + 1) * settings.batch] for i in range(full)], held


def shares(group: Sequence[int], world: int, rank: int, parts: int) -> Iterator[list[int]]:
    """Yield the samples of one process in each part of a batch.

    Args:
        group: the batch.
        world: how many processes there are.
        rank: which one this is.
        parts: that each process cuts its share into.
    """
    size = len(group) // (world * parts)
    for part in range(parts):
        start = (part * world + rank) * size
        yield list(group[start : start + size])


def seed_of(*words: Any) -> int:
    """Return a number of 63 bits from anything: streams of different words have nothing in common."""
    return int.from_bytes(hashlib.sha256(repr(words).encode()).digest()[:8], "big") >> 1


def generator_of(*words: Any) -> torch.Generator:
    """Return a generator that begins at `seed_of` these words."""
    return torch.Generator().manual_seed(seed_of(*words))
