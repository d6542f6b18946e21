"""Split conformal prediction (Vovk et al., 2005): what holds for n inputs, told of the next one, whatever network and data are.

Each input has a number, the least that it needs. If a new input and n others are exchangeable (their order tells nothing), its
number is no larger than the ⌈(n+1)·level⌉-th smallest of theirs with probability of at least `level`, and of less than
level + 1/(n+1) where no two numbers are alike.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bitlens.errors import SettingError

_ROUNDING = 1e-9  # (n + 1) · 0.9 is a whole number for n = 9

BUDGETS: tuple[float, ...] = tuple(2 ** (step / 8) for step in range(24, 161))
"""Bits that are tried, from 8 to a million in steps of an eighth of an octave (9 %): the same for all inputs."""


def check_level(level: float) -> float:
    """Refuse what is no share of inputs.

    Raises:
        SettingError: if it is not above 0 and below 1.
    """
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise SettingError(f"level must be a share of inputs above 0 and below 1, got {level!r}")
    return float(level)


def rank(count: int, level: float) -> int:
    """Return ⌈(count + 1)·level⌉: which of so many numbers, in order, holds for the next input; may be above count."""
    return max(1, math.ceil((count + 1) * level - _ROUNDING))


def least_count(level: float) -> int:
    """Return how many inputs are needed for anything to be said at a level."""
    guess = max(1, math.floor(level / (1 - level)))
    return next(count for count in range(max(1, guess - 1), guess + 3) if rank(count, level) <= count)


def quantile(needed: Tensor, level: float) -> float:
    """Return what a new input needs with probability `level` at least, from what others (n,) needed; infinite for too few."""
    place = rank(len(needed), level)
    return math.inf if place > len(needed) else float(needed.sort().values[place - 1])


def fewest_from_above(keeps: Callable[[float, Tensor], Tensor], count: int, budgets: Sequence[float]) -> Tensor:
    """Return the least budget of each input from which on all larger ones keep it (count,), infinite if the largest does not.

    Args:
        keeps: a budget, of inputs by their indices (n,) → whether each is kept (n,).
        count: how many inputs there are.
        budgets: rising. They are tried from the largest down, of each input until one fails: nothing is taken to be monotone.
    """
    needed = torch.full((count,), math.inf, dtype=torch.float64)
    left = torch.arange(count)
    for budget in reversed(budgets):
        left = left[keeps(budget, left).cpu()]
        if not len(left):
            break
        needed[left] = budget
    return needed
