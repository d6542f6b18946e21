"""Convolutions whose weights lie in oneDNN's own order, brought into it once instead of in every pass (on CPUs).

PyTorch's convolution reorders its weights each time it is called, forward and backward; behind a layer the same weights are used
dozens of times. The operators are those that `torch.compile` uses.
"""

import platform
from typing import Any

import torch
from torch import Tensor, nn

_NEEDED = (
    "_reorder_convolution_weight",
    "_reorder_convolution_transpose_weight",
    "_convolution_pointwise",
    "_convolution_transpose_pointwise",
    "_is_mkldnn_bf16_supported",
)
_MACHINES = ("x86_64", "AMD64")  # where this was measured
_ONEDNN: Any = torch.ops.mkldnn


def can_be_packed(module: nn.Module, weight: Tensor) -> bool:
    """Say whether the module is a convolution, with these weights, that oneDNN runs here."""
    if not isinstance(module, nn.Conv2d) or module.padding_mode != "zeros" or isinstance(module.padding, str):
        return False
    if weight.device.type != "cpu" or platform.machine() not in _MACHINES or not _onednn_runs():
        return False
    return weight.dtype == torch.float32 or (
        weight.dtype == torch.bfloat16 and bool(_ONEDNN._is_mkldnn_bf16_supported())
    )


def _onednn_runs() -> bool:
    backend: Any = torch.backends.mkldnn
    return bool(backend.is_available() and backend.enabled) and all(hasattr(_ONEDNN, name) for name in _NEEDED)


class PackedConvolution:
    """A convolution with fixed weights: x (N, C, H, W) → (N, C', H', W'), differentiable with respect to x.

    Args:
        module: whose stride, padding, dilation and groups are meant.
        weight: (C', C / groups, h, w), in the precision to compute in.
        bias: (C',) in the same, or None.
    """

    def __init__(self, module: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> None:
        self._weight, self._bias = weight, bias
        self._stride, self._dilation = [*module.stride], [*module.dilation]
        self._padding = [int(places) for places in module.padding]
        self._groups = module.groups
        self._forward: Tensor | None = None
        self._backward: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Return the convolution of x, cast to the weights' precision."""
        result: Tensor = _Convolution.apply(x.to(self._weight.dtype), self)  # type: ignore[no-untyped-call]
        return result

    def forward(self, x: Tensor) -> Tensor:
        """Return the same without a gradient."""
        if self._forward is None:
            self._forward = _ONEDNN._reorder_convolution_weight(
                self._weight, self._padding, self._stride, self._dilation, self._groups, [*x.shape]
            )
        settings = (self._padding, self._stride, self._dilation, self._groups)
        result: Tensor = _ONEDNN._convolution_pointwise(x, self._forward, self._bias, *settings, "none", [], "")
        return result

    def backward(self, slope: Tensor, size: torch.Size) -> Tensor:
        """Return the gradient with respect to x of this size, from that with respect to the result: a transposed convolution."""
        beyond = [self._beyond(axis, size[2 + axis], slope.shape[2 + axis]) for axis in range(2)]
        settings = (self._padding, beyond, self._stride, self._dilation, self._groups)
        if self._backward is None:
            self._backward = _ONEDNN._reorder_convolution_transpose_weight(self._weight, *settings, [*slope.shape])
        result: Tensor = _ONEDNN._convolution_transpose_pointwise(
            slope, self._backward, None, *settings, "none", [], ""
        )
        return result

    def _beyond(self, axis: int, whole: int, steps: int) -> int:
        """Say how many places of x lie beyond the last that the kernel reached, for its stride stepped over them."""
        reach = self._dilation[axis] * (self._weight.shape[2 + axis] - 1) + 1
        return whole - ((steps - 1) * self._stride[axis] - 2 * self._padding[axis] + reach)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, convolution: PackedConvolution) -> Tensor:
        ctx.convolution, ctx.size = convolution, x.shape
        return convolution.forward(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        return ctx.convolution.backward(slope, ctx.size), None
