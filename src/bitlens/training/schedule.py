"""How the learning rate goes over a training: a factor for each step, from its number alone, so that nothing need be kept."""

import math
from collections.abc import Callable
from typing import Literal

Schedule = Literal["constant", "cosine"]

_WARM_UP = 0.05  # share of all steps: Adam's first estimates of a gradient's size are of few batches


def constant(step: int, steps: int) -> float:  # noqa: ARG001
    """1 at every step."""
    return 1.0


def cosine(step: int, steps: int) -> float:
    """From next to nothing to 1 over the first twentieth of the steps, then along half a cosine towards 0.

    Args:
        step: from 0.
        steps: of the whole training.
    """
    warm = max(1, round(_WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


SCHEDULES: dict[str, Callable[[int, int], float]] = {"constant": constant, "cosine": cosine}
"""By name: (step, all steps) to a factor of the learning rate."""
