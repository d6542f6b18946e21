"""What weights from a file may be: dense tensors by name, of the network's own kind of numbers, finite."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.system.checks import plain


def refuse_all_but_tensors(state: Any) -> None:
    """Refuse what is no state dict of dense tensors.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError("it is no state dict: expected tensors by name, nothing else")
    for name, value in state.items():
        if not isinstance(name, str):
            raise ValueError(f"it is no state dict: a tensor is called {name!r}, which is no text")
        if value.layout != torch.strided or value.is_quantized or value.is_nested or value.device.type == "meta":
            raise ValueError(f"{name} is sparse, quantised or without values: save dense tensors")


def check_values(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Refuse numbers that would not be the same in the network, or make it answer with NaN; shapes agree already.

    Raises:
        ValueError: if there are some.
    """
    weights = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    expected = model.state_dict()
    for name, value in state.items():
        own = expected.get(name)
        if isinstance(own, Tensor) and _kind(value) != _kind(own):
            raise ValueError(f"{name} is {plain(value.dtype)}, the network has {plain(own.dtype)}")
        if not value.is_floating_point():
            continue
        if bool(value.isnan().any()) or (name in weights and bool(value.isinf().any())):
            raise ValueError(f"{name} holds NaN or infinite values")


def _kind(value: Tensor) -> str:
    if value.is_floating_point():
        return "floating"
    return "complex" if value.is_complex() else "truth" if value.dtype == torch.bool else "whole"
