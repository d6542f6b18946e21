"""What a network is called with: one tensor, several, or keywords, always with samples along the first axis."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bitlens.errors import InputError

__all__ = ["ModelInputs"]


@dataclass(frozen=True)
class ModelInputs:
    """The arguments of one call of a network.

    A tensor whose first axis has `count` entries belongs to the samples and follows them when they are selected or
    repeated; every other argument is passed on as it is.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    count: int = 0

    @classmethod
    def of(cls, inputs: Any, additional: Any = None) -> "ModelInputs":
        """Read a tensor, a tuple of positional arguments, or a mapping of keyword arguments.

        Args:
            inputs: tensor (N, ...), tuple or list of arguments, or mapping (a tokenizer's output, for example).
            additional: further positional arguments, or a mapping of keyword arguments.

        Raises:
            InputError: if there is no tensor, no sample, or a floating-point value that is not finite.
        """
        if isinstance(inputs, ModelInputs):
            return inputs
        args, kwargs = _split(inputs)
        more_args, more_kwargs = _split(additional) if additional is not None else ((), {})
        args, kwargs = args + more_args, {**kwargs, **more_kwargs}
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.dim() > 0]
        if not tensors:
            raise InputError(
                f"inputs must hold a tensor with samples along the first axis, got {type(inputs).__name__}"
            )
        if tensors[0].shape[0] == 0:
            raise InputError(f"inputs hold no sample: the first tensor has shape {tuple(tensors[0].shape)}")
        for tensor in tensors:
            _refuse_non_finite(tensor)
        return cls(args, kwargs, tensors[0].shape[0])

    @property
    def first(self) -> Tensor:
        """The tensor that carries the samples: (N, ...)."""
        return next(v for v in (*self.args, *self.kwargs.values()) if isinstance(v, Tensor) and v.dim() > 0)

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width if the first tensor is a batch of images (N, C, H, W), else None."""
        shape = self.first.shape
        return (shape[2], shape[3]) if len(shape) == 4 and self.first.is_floating_point() else None

    @property
    def signature(self) -> tuple[Any, ...]:
        """Everything about the arguments but the values and the number of samples."""
        items = [("", value) for value in self.args] + sorted(self.kwargs.items())
        return tuple((name, self._describe(value)) for name, value in items)

    def _describe(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return repr(value) if isinstance(value, int | float | str | bool | None) else type(value)
        shape = ("N", *value.shape[1:]) if self._belongs_to_samples(value) else tuple(value.shape)
        return (shape, value.dtype, str(value.device))

    def _belongs_to_samples(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == self.count

    def _map(self, change: Any, count: int) -> "ModelInputs":
        args = tuple(change(value) if self._belongs_to_samples(value) else value for value in self.args)
        kwargs = {k: change(v) if self._belongs_to_samples(v) else v for k, v in self.kwargs.items()}
        return ModelInputs(args, kwargs, count)

    def select(self, start: int, stop: int) -> "ModelInputs":
        """The samples start..stop-1."""
        stop = min(stop, self.count)
        return self._map(lambda value: value[start:stop], stop - start)

    def tile(self, copies: int) -> "ModelInputs":
        """All samples, then all samples again, `copies` times: row b*N + i is copy b of sample i."""
        if copies == 1:
            return self
        return self._map(lambda value: value.repeat(copies, *[1] * (value.dim() - 1)), self.count * copies)

    def clone(self) -> "ModelInputs":
        """The same samples in memory of their own (a network may overwrite what it is given)."""
        return self._map(lambda value: value.clone(), self.count)

    def to(self, device: torch.device) -> "ModelInputs":
        """Detached copies of all tensors on `device` (nothing is copied that is there already)."""

        def move(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            value = value.detach().to(device)
            return value.clone() if value.is_inference() else value

        return ModelInputs(tuple(map(move, self.args)), {k: move(v) for k, v in self.kwargs.items()}, self.count)


def _split(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, tuple | list):
        return tuple(inputs), {}
    return (inputs,), {}


def _refuse_non_finite(tensor: Tensor) -> None:
    if not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()):
        return
    bad = (~torch.isfinite(tensor)).reshape(tensor.shape[0], -1).any(1).nonzero().flatten().tolist()
    raise InputError(
        f"inputs hold NaN or infinite values in sample{'s' if len(bad) > 1 else ''} {', '.join(map(str, bad[:5]))}: "
        "check how they were loaded and normalised"
    )
