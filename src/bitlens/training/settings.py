"""How a network is trained, as plain data."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bitlens.errors import SettingError, at_least, one_of, one_of_literal

MixedPrecision = Literal["no", "bf16", "fp16"]
Schedule = Literal["constant", "cosine"]
"""How the learning rate goes: a factor for each step, from its number alone, so that nothing need be kept."""

_WARM_UP = 0.05  # share of all steps: Adam's first estimates of a gradient's size are of few batches


def constant(step: int, steps: int) -> float:  # noqa: ARG001
    """Stay at 1."""
    return 1.0


def cosine(step: int, steps: int) -> float:
    """Rise from next to nothing to 1 over the first twentieth of the steps, then fall along half a cosine towards 0.

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


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of training a network.

    Attributes:
        epochs: how often every sample is looked at, at most.
        batch: samples for one step of Adam, of all processes together.
        accumulation: parts that each process cuts its share of a batch into, one after the other; bounds the memory.
        learning_rate: of Adam.
        schedule: "cosine": it grows over the first twentieth of all steps and falls to nothing by the last, so a training cannot
            go on with more epochs than it began with; or "constant".
        precision: "no" for float32, "bf16" or "fp16" where that may be lower; masks and losses are always float32.
        held_out: share of the samples that is not trained on but measured after every epoch, in [0, 1).
        patience: training ends when this many epochs in a row did not lower the held-out loss; 0 for never.
        seed: of the first weights, of what is held out, of the order and of all noise.
        checkpoint_steps: a checkpoint is written after so many steps, and after every epoch.
        memory: GiB for what the clean passes gave, kept from one epoch to the next; what does not fit is computed again.
    """

    epochs: int = 10
    batch: int = 16
    accumulation: int = 1
    learning_rate: float = 1e-3
    schedule: Schedule = "cosine"
    precision: MixedPrecision = "no"
    held_out: float = 0.1
    patience: int = 3
    seed: int = 0
    checkpoint_steps: int = 500
    memory: float = 2.0

    def __post_init__(self) -> None:
        counts = ("epochs", "batch", "accumulation", "checkpoint_steps")
        at_least(1, **{name: getattr(self, name) for name in counts})
        for name in ("patience", "memory"):
            if not getattr(self, name) >= 0:
                raise SettingError(f"{name} must not be negative, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise SettingError(f"learning_rate must be positive, got {self.learning_rate}")
        if not 0 <= self.held_out < 1:
            raise SettingError(f"held_out is a share of the samples, in [0, 1), got {self.held_out}")
        one_of("schedule", self.schedule, SCHEDULES)
        one_of_literal("precision", self.precision, MixedPrecision)

    def identity(self) -> dict[str, Any]:
        """Return what must stay the same where a training goes on: all but memory, and the length unless it decides the rates."""
        free = {"epochs", "patience", "checkpoint_steps", "memory", "accumulation"}
        if self.schedule != "constant":
            free.remove("epochs")
        return {name: value for name, value in asdict(self).items() if name not in free}
