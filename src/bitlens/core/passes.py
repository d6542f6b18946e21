"""How much goes through the network at once, and in which precision."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from bitlens.core.layout import Layout

__all__ = ["Precision", "in_precision", "memory_format", "rows_at_once", "suffix_dtype"]

Precision = Literal["float32", "bfloat16", "auto"]

_CPU_BYTES = 2**30
_CPU_ROWS = 16  # more rows do not make a CPU faster, and larger buffers cost page faults
_CUDA_ROWS = 512
_CUDA_SHARE = 0.5  # of the memory that is free


def rows_at_once(bytes_per_row: int, device: torch.device) -> int:
    """How many noisy copies may go through the network together.

    Args:
        bytes_per_row: memory that one row's intermediate results need, gradients not counted.
        device: where the network runs.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return max(1, min(_CUDA_ROWS, int(free * _CUDA_SHARE) // (2 * bytes_per_row)))
    return max(1, min(_CPU_ROWS, _CPU_BYTES // (2 * bytes_per_row)))


def _has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 natively: emulated, it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    known = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(supported() for supported in known if supported is not None)


def suffix_dtype(precision: Precision, features: Tensor) -> torch.dtype | None:
    """The lower precision to compute in behind the layer, or None for the network's own."""
    if precision == "float32" or features.dtype != torch.float32:
        return None
    if precision == "bfloat16":
        return torch.bfloat16
    return torch.bfloat16 if _has_fast_bfloat16(features.device) else None


def memory_format(features: Tensor, dtype: torch.dtype | None, layout: Layout) -> torch.memory_format:
    """How features lie best in memory: channels last for those of images on CPUs, and in lower precision everywhere."""
    channels_last = layout.name == "CHW" and (dtype is not None or features.device.type == "cpu")
    return torch.channels_last if channels_last else torch.contiguous_format


def in_precision(
    run: Callable[..., Any], dtype: torch.dtype | None, features: Tensor, layout: Layout
) -> Callable[..., Any]:
    """The suffix in a lower precision (None: its own). It takes float32 noised features, and what else `run` takes.

    Features go in as `memory_format` says, or contiguous where the network cannot take them so.
    """
    formats = list(dict.fromkeys([memory_format(features, dtype, layout), torch.contiguous_format]))

    def passed(z: Tensor, *others: Any) -> Any:
        z = z.to(features.dtype, memory_format=formats[0])
        if dtype is None:
            return run(z, *others)
        with torch.autocast(features.device.type, dtype=dtype):
            return run(z, *others)

    def converted(z: Tensor, *others: Any) -> Any:
        try:
            return passed(z, *others)
        except RuntimeError as error:  # `view` after a convolution takes one order in memory only
            if len(formats) == 1 or "view size is not compatible" not in str(error):
                raise
            formats.pop(0)
            return passed(z, *others)

    return converted
