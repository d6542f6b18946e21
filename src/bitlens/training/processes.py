"""Accelerate, as the training loop wants it."""

from typing import Any

import torch

from bitlens.errors import SettingError
from bitlens.system.optional import need
from bitlens.training.settings import TrainingSettings


def accelerator_for(settings: TrainingSettings, device: torch.device) -> Any:
    """Return what carries a training on this process, alone or among several that `accelerate launch` started.

    Args:
        settings: of the training.
        device: where the network is.

    Raises:
        DependencyError: if the package accelerate is not installed.
        SettingError: if the precision cannot be had there, or another device is this process's.
    """
    accelerate = need("accelerate", "train")
    state = accelerate.state.AcceleratorState
    if state._shared_state and state._shared_state.get("_mixed_precision") != settings.precision:
        state._reset_state()  # it is one for the whole process and refuses another precision than that of its first training
    try:
        made = accelerate.Accelerator(
            cpu=device.type == "cpu",
            mixed_precision=settings.precision,
            gradient_accumulation_steps=settings.accumulation,
        )
    except (ValueError, RuntimeError) as error:
        raise SettingError(f"precision={settings.precision!r} cannot be used on {device}: {error}") from error
    if made.device.type != device.type or made.device.index not in (None, device.index):
        raise SettingError(f"the network is on {device}, but this process trains on {made.device}: move it there")
    return made
