"""Torch's operations by name and by what they do, for rules that treat kinds of operations alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bitlens.baselines.rules import Operation, ancestors

_DIMENSIONS = (1, 2, 3)


def names(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


CONVOLUTIONS = frozenset(f"conv{kind}{n}d" for n in _DIMENSIONS for kind in ("", "_transpose"))
"""Linear in the input, with weights and a bias; so is `linear`."""

AVERAGES = frozenset(f"{kind}avg_pool{n}d" for n in _DIMENSIONS for kind in ("", "adaptive_")) | frozenset(
    {"interpolate", "mean", "sum", "upsample"}
)
"""Linear in one activation, without weights and without negative coefficients."""

MAX_POOLS = frozenset(f"{kind}max_pool{n}d" for n in _DIMENSIONS for kind in ("", "adaptive_"))

ACTIVATIONS = names(
    "celu clamp clamp_max clamp_min clip elu gelu hardsigmoid hardswish hardtanh leaky_relu log_sigmoid logsigmoid mish "
    "prelu relu relu6 rrelu selu sigmoid silu softplus softsign tanh threshold"
)
"""Functions of one number, applied to every element: what is called an activation function."""

COPIES = names(
    "__get__ __getitem__ __setitem__ broadcast_to cat channel_shuffle chunk clone concat concatenate constant_pad_nd "
    "contiguous copy cpu cuda diagonal double dropout dropout1d dropout2d dropout3d expand expand_as flatten flip float "
    "gather half hsplit hstack identity index_select masked_fill movedim moveaxis narrow native_channel_shuffle pad "
    "permute pixel_shuffle pixel_unshuffle ravel repeat repeat_interleave requires_grad reshape reshape_as roll rot90 "
    "select split squeeze stack swapaxes swapdims t tensor_split tile to transpose type type_as unbind unflatten unfold "
    "unsqueeze view view_as vsplit vstack where alpha_dropout feature_alpha_dropout"
)
"""What only moves, repeats, joins or leaves out numbers (dropout in evaluation mode leaves them alone)."""


def is_rectifier(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Say whether a call cuts off what is below zero: ReLU, or its bounded form under any name. Leaky ReLU counts as one."""
    if name not in {"hardtanh", "clamp", "clip", "clamp_min"}:
        return name in {"relu", "relu6", "leaky_relu"}
    lowest = kwargs.get("min_val", kwargs.get("min", args[1] if len(args) > 1 else None))
    return isinstance(lowest, int | float) and lowest == 0


@dataclass(frozen=True)
class Linear:
    """A convolution or linear layer of one activation.

    Attributes:
        weight: one entry of the first axis for every neuron (of the second, for transposed convolutions).
        bias: (neurons,), if it has one.
        apply: (input, weight) → output without bias.
    """

    weight: Tensor
    bias: Tensor | None
    apply: Callable[[Tensor, Tensor], Tensor]


def linear_of(operation: Operation) -> Linear | None:
    """Take an operation of `CONVOLUTIONS` or `linear` apart; None if not its input alone is an activation."""
    args, kwargs = operation.call
    names = ("input", "weight", "bias")
    given = {**dict(zip(names, args, strict=False)), **{name: kwargs[name] for name in names if name in kwargs}}
    if len(operation.places) != 1 or operation.leaves[operation.places[0]] is not given["input"]:
        return None
    others = {name: value for name, value in kwargs.items() if name not in names}

    def apply(x: Tensor, weight: Tensor) -> Tensor:
        result: Tensor = operation.function(x, weight, None, *args[3:], **others)
        return result

    return Linear(given["weight"], given.get("bias"), apply)


def is_computed_from(node: Any, origin: Any) -> bool:
    """Say whether one node of the autograd graph depends on another."""
    return any(one is origin for one in ancestors([node]))
