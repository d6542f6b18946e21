"""Batch norm folded into the convolution before it, weights cast and laid out once instead of in every pass.

Which pairs belong together is read from the order of calls and then proven by numbers: the probe compares a folded pass
with a full one, and does without folding where they differ.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from bitlens.probe.modules import Forward, Wrapper
from bitlens.probe.packing import PackedConvolution, can_be_packed
from bitlens.probe.trace import Call, all_calls

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Fold:
    """A convolution or linear layer, and the batch norm that follows it (None where none does)."""

    module: Any
    norm: Any = None


def foldable(root: Call) -> tuple[Fold, ...]:
    """Return what can be folded or cast in a pass: plain modules without hooks, called once in it."""
    calls = list(all_calls(root))
    times: dict[nn.Module, int] = {}
    for call in calls:
        times[call.module] = times.get(call.module, 0) + 1
    simple = {call for call in calls if times[call.module] == 1 and _is_plain(call.module)}
    return tuple(_folds(calls, simple))


def _folds(calls: Sequence[Call], simple: set[Call]) -> Iterator[Fold]:
    for call in calls:
        if call not in simple or not isinstance(call.module, (*_CONVOLUTIONS, nn.Linear)):
            continue
        following = _next_sibling(call)
        fits = following in simple and isinstance(following.module, _NORMS) and following.shapes == call.shapes
        norm = following.module if following is not None and fits and _is_fixed(following.module) else None
        yield Fold(call.module, norm if isinstance(call.module, _CONVOLUTIONS) else None)


def _is_plain(module: nn.Module) -> bool:
    """Say whether the module is exactly one of PyTorch's, and nobody watches or changes what goes in and out of it."""
    known = type(module) in (*_CONVOLUTIONS, *_NORMS, nn.Linear) and "forward" not in module.__dict__
    return known and not any(hooks for name, hooks in module.__dict__.items() if name.endswith("_hooks"))


def _is_fixed(norm: Any) -> bool:
    return norm.running_mean is not None and norm.running_var is not None


def _next_sibling(call: Call) -> Call | None:
    siblings = call.parent.children if call.parent is not None else []
    place = siblings.index(call) + 1
    return siblings[place] if place < len(siblings) else None


def folded(folds: Sequence[Fold], dtype: torch.dtype | None, *, packed: bool = False) -> Mapping[nn.Module, Wrapper]:
    """Return what takes the place of the folded modules' forward, with weights in `dtype` (None: their own).

    Args:
        folds: what is folded or cast.
        dtype: of the weights.
        packed: whether convolutions on CPUs bring their weights into the hardware's order once, for many passes.
    """
    wrappers: dict[nn.Module, Wrapper] = {}
    for fold in folds:
        weight, bias = _parameters(fold, dtype)
        pack = packed and can_be_packed(fold.module, weight)
        wrappers[fold.module] = _packed(fold.module, weight, bias) if pack else _with_parameters(weight, bias)
        if fold.norm is not None:
            wrappers[fold.norm] = _skipped
    return wrappers


def _parameters(fold: Fold, dtype: torch.dtype | None) -> tuple[Tensor, Tensor | None]:
    weight, bias, norm = fold.module.weight, fold.module.bias, fold.norm
    if norm is not None:
        weight, bias = fuse_conv_bn_weights(
            weight, bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
    dtype = dtype or weight.dtype
    return weight.detach().to(dtype, memory_format=_fast_format(weight, dtype)), (
        bias.detach().to(dtype) if bias is not None else None
    )


def _fast_format(weight: Tensor, dtype: torch.dtype) -> torch.memory_format:
    """Choose channels last for convolutions where that is faster: on CPUs, and in lower precision everywhere."""
    lower = dtype in (torch.bfloat16, torch.float16)
    return (
        torch.channels_last if weight.dim() == 4 and (lower or weight.device.type == "cpu") else torch.preserve_format
    )


def _with_parameters(weight: Tensor, bias: Tensor | None) -> Wrapper:
    def wrap(module: nn.Module, _forward: Forward) -> Forward:
        if isinstance(module, nn.Linear):
            return lambda input: nn.functional.linear(input, weight, bias)  # noqa: A006  (PyTorch's own name)
        convolve: Any = module._conv_forward
        return lambda input: convolve(input, weight, bias)  # noqa: A006

    return wrap


def _packed(module: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> Wrapper:
    convolution = PackedConvolution(module, weight, bias)
    return lambda _module, _forward: convolution


def _skipped(_module: nn.Module, _forward: Forward) -> Forward:
    return lambda input: input  # noqa: A006
