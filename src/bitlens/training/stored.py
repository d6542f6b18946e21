"""What the parts of a checkpoint may be, and that they belong to the module that is trained."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.system.checks import array, exactly, finite, listed, mapping, number, whole_number
from bitlens.training.curve import EpochRow


def stored_weights(arrays: Mapping[str, Tensor], prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """Take weights whose names begin with a prefix.

    Raises:
        ValueError: if they are not those of the module.
    """
    found, wanted = dict(_part(arrays, prefix)), module.state_dict()
    exactly(found, wanted, "the weights")
    return {name: array(found, name, own.dtype, tuple(own.shape)) for name, own in wanted.items()}


def stored_best(arrays: Mapping[str, Tensor], best_epoch: int, module: nn.Module) -> dict[str, Tensor]:
    """Take the best weights so far; none before the end of the first epoch."""
    if not best_epoch:
        exactly(dict(_part(arrays, "best.")), (), "the best weights")
        return {}
    return stored_weights(arrays, "best.", module)


def stored_moments(arrays: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Tensor]]:
    """Take the state of an optimiser: by the number of a parameter, numbers of its shape, and counts.

    Raises:
        ValueError: if it is of other parameters, or not finite.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _part(arrays, "optimizer."):
        place, _, key = name.partition(".")
        own = parameters[whole_number(int(place), "a parameter's number", most=len(parameters) - 1)]
        if tensor.dim() and tensor.shape != own.shape:
            raise ValueError(f"optimizer.{name} has the shape {tuple(tensor.shape)}, expected {tuple(own.shape)}")
        allowed = (own.dtype,) if tensor.dim() else (own.dtype, torch.float32)  # counts are kept with more digits
        if tensor.dtype not in allowed or (key in ("exp_avg_sq", "step") and bool((tensor < 0).any())):
            raise ValueError(f"optimizer.{name} is no {key} of an optimiser")
        states.setdefault(int(place), {})[key] = finite(tensor, f"optimizer.{name}")
    if len({frozenset(state) for state in states.values()}) > 1:
        raise ValueError("the optimiser keeps other numbers of some parameters than of others")
    return states


def stored_rows(details: Mapping[str, Any]) -> list[EpochRow]:
    """Take how the losses went.

    Raises:
        ValueError: if an epoch's row is none.
    """
    rows = [EpochRow(**mapping(row, "an epoch")) for row in listed(details["rows"], "rows")]
    for place, row in enumerate(rows, 1):
        whole_number(row.epoch, "the number of an epoch", least=place, most=place)
        whole_number(row.steps, "steps")
        number(row.seconds, "seconds", least=0)
        numbers(row.train, "training losses")
        numbers(row.held_out, "held-out losses")
        number(row.judged, "the loss of an epoch")
    return rows


def numbers(value: Any, name: str) -> dict[str, float]:
    """Take finite numbers by name."""
    return {key: number(one, f"{key} of {name}") for key, one in mapping(value, name).items()}


def _part(arrays: Mapping[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    yield from ((name.removeprefix(prefix), tensor) for name, tensor in arrays.items() if name.startswith(prefix))
