"""How much goes through the network at once, and in which precision."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor, nn

from bitlens.core.guarantee import Guarantee
from bitlens.core.layout import Layout
from bitlens.core.outputs import OutputChoice, OutputForm
from bitlens.errors import SettingError, one_of_literal

Precision = Literal["float32", "bfloat16", "auto"]
Signed = bool | Literal["opening"]
"""Whether maps say what speaks against the answer, and how: see `GroupedMethod`."""

_SEEDS = 2**62  # streams of noise lie at distances from a seed, and a generator's own goes to 2**64
_CPU_BYTES = 2**30
_CPU_ROWS = 16  # more rows do not make a CPU faster, and larger buffers cost page faults
_CUDA_ROWS = 512
_CUDA_SHARE = 0.5  # of the memory that is free


class SeedAndRows(TypedDict, total=False):
    """Options of a method, besides its own settings, that computes in the network's own precision; see `Passes`."""

    seed: int
    internal_batch_size: int | Literal["auto"]
    output: OutputChoice


class RunOptions(SeedAndRows, total=False):
    """Options of every other method besides its own settings; see `Passes`."""

    precision: Precision


class BottleneckOptions(RunOptions, total=False):
    """Further options of a bottleneck; see `GroupedMethod`."""

    allow_bypass: bool
    keep: float | None
    bits: float | None
    guarantee: Guarantee | None
    signed: Signed


def without_aim(run: BottleneckOptions) -> BottleneckOptions:
    """Return the options without what decides how much passes, and which way it is read: of one that prepares another."""
    found = run.copy()
    found.pop("keep", None)
    found.pop("bits", None)
    found.pop("guarantee", None)
    found.pop("signed", None)
    return found


@dataclass(frozen=True)
class Passes:
    """Way in which a network is run for an explanation.

    Attributes:
        seed: of all noise and chance.
        precision: "float32", "bfloat16", or "auto" (bfloat16 where the hardware multiplies it natively).
        internal_batch_size: how many rows go through the network at once; "auto" bounds the memory.
        output: what the network gives, where it does not say so itself: its numbers ("logits", "binary", "regression", and so
            on, see `Numbers`), the place or name of the answer among several tensors, or both (1+binary).
    """

    seed: int = 0
    precision: Precision = "auto"
    internal_batch_size: int | Literal["auto"] = "auto"
    output: OutputChoice = None

    def __post_init__(self) -> None:
        if not isinstance(self.seed, int) or abs(self.seed) >= _SEEDS:
            raise SettingError(f"seed must be an int between -2**62 and 2**62, got {self.seed!r}")
        OutputForm.chosen(self.output)
        one_of_literal("precision", self.precision, Precision)
        size = self.internal_batch_size
        if size != "auto" and not (isinstance(size, int) and size > 0):
            raise SettingError(f"internal_batch_size must be 'auto' or a positive integer, got {size!r}")

    def declared(self) -> dict[str, Any]:
        """Return what was said of the network's output, as plain values for the settings of a method."""
        plain = "+".join(map(str, self.output)) if isinstance(self.output, tuple) else self.output
        return {} if plain is None else {"output": plain}

    def rows(self, bytes_per_row: Callable[[], int], device: torch.device) -> int:
        """Return how many rows may go through the network together.

        Args:
            bytes_per_row: says how much memory one row's intermediate results need, gradients not counted; asked only if
                the user did not say how many.
            device: where the network runs.
        """
        if self.internal_batch_size != "auto":
            return self.internal_batch_size
        return rows_at_once(bytes_per_row(), device)


def rows_at_once(bytes_per_row: int, device: torch.device) -> int:
    """Say how many noisy copies may go through the network together.

    Args:
        bytes_per_row: memory that one row's intermediate results need, gradients not counted.
        device: where the network runs.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # PyTorch's own, and empty
        return max(1, min(_CUDA_ROWS, int(free * _CUDA_SHARE) // (2 * bytes_per_row)))
    return max(1, min(_CPU_ROWS, _CPU_BYTES // (2 * bytes_per_row)))


def _has_fast_bfloat16(device: torch.device) -> bool:
    """Say whether the hardware multiplies bfloat16 natively: emulated, it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    known = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(supported() for supported in known if supported is not None)


def suffix_dtype(precision: Precision, features: Tensor, model: nn.Module) -> torch.dtype | None:
    """Return the lower precision to compute in behind the layer, or None for the network's own.

    Args:
        precision: what was asked for.
        features: what goes into the part of the network that runs.
        model: the network; "auto" leaves it alone unless it is made of single precision.

    Raises:
        SettingError: if "bfloat16" was asked for of a network whose integers take single precision alone.
    """
    if precision == "float32" or features.dtype != torch.float32:
        return None
    quantised = _quantised(model)
    if precision == "bfloat16":
        if quantised:
            raise SettingError(
                f"precision='bfloat16', but {type(model).__name__} holds quantised modules ({quantised}), which take single "
                "precision alone: leave precision at 'auto'"
            )
        return torch.bfloat16
    single = not quantised and all(p.dtype == torch.float32 for p in model.parameters() if p.is_floating_point())
    return torch.bfloat16 if single and _has_fast_bfloat16(features.device) else None


def _quantised(model: nn.Module) -> str:
    """Return the class of the first module that computes with integers, if there is one."""
    return next((type(module).__name__ for module in model.modules() if is_quantised(module)), "")


def is_quantised(module: nn.Module) -> bool:
    """Say whether this is one of PyTorch's modules that compute with integers, and have no gradient."""
    return _holds_quantised(type(module).__module__)


@cache
def _holds_quantised(place: str) -> bool:
    return place.startswith("torch.") and ".quantized" in place


def memory_format(features: Tensor, dtype: torch.dtype | None, layout: Layout) -> torch.memory_format:
    """Say how features lie best in memory: channels last for those of images on CPUs, and in lower precision everywhere."""
    channels_last = layout.name == "CHW" and (dtype is not None or features.device.type == "cpu")
    return torch.channels_last if channels_last else torch.contiguous_format


def in_precision(
    run: Callable[..., Any], dtype: torch.dtype | None, features: Tensor, layout: Layout
) -> Callable[..., Any]:
    """Return the suffix in a lower precision (None: its own). It takes float32 noised features, and what else `run` takes.

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
