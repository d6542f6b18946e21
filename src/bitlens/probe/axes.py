"""What the axes of an input mean to a network: which of them its first convolution or recurrent layer walks along.

An input of two or three axes may be a series with channels before or after its times, one without channels, a grey picture, or
a table; one of more axes has its colours first, unless another axis may as well count them. Halves of each axis are
changed a little, and it is looked at where that arrives: along places, or along channels. Only convolutions and recurrent
layers say which of their own axes is which; attention does not know times from variables.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bitlens.core.inputs import ModelInputs
from bitlens.core.places import Places
from bitlens.probe.agreement import agree
from bitlens.probe.capturing import Reached
from bitlens.probe.modules import Forward, Wrapper, device_of, frozen, in_precision_of, wrapped

_AXES: "WeakKeyDictionary[nn.Module, dict[Any, str | None]]" = WeakKeyDictionary()

_CONVOLUTIONS = {f"conv{kind}{n}d": n for n in (1, 2, 3) for kind in ("", "_transpose")}
_STRENGTH = 1e-2  # of a change, in the largest value; upwards, so that whole numbers stay what they are
_ROUNDING = 1e-5
_TOGETHER = 0.25  # the share of the smaller half's places that both halves may reach, where they arrive apart


OWN_WORD = "bitlens_axes"
"""The attribute by which a network says what the axes of one of its inputs mean, as a user would: one of `AXES`."""


def placed(model: nn.Module, inputs: ModelInputs) -> ModelInputs:
    """Return the inputs with what their axes mean, if nobody has said it and the network says or tells.

    Raises:
        InputError: if the network says something that does not fit its inputs.
    """
    if inputs.axes is not None:
        return inputs
    if (said := getattr(model, OWN_WORD, None)) is not None:
        Places.of(said, tuple(inputs.first.shape[1:]))
        return replace(inputs, axes=said)
    if not inputs.asks_for_axes:
        return inputs
    known = _AXES.setdefault(model, {})
    key = (inputs.signature, inputs.lead)
    if key not in known:
        known[key] = _measured(model, in_precision_of(model, inputs.select(slice(1)).to(device_of(model))))
    return replace(inputs, axes=known[key])


@dataclass(frozen=True)
class _Arrived:
    """Values that the first convolution or recurrent layer is given, (rows, folded, ...); and their axis of channels."""

    values: Tensor
    channel: int

    def apart(self, one: int, other: int) -> tuple[bool, bool, bool]:
        """Return whether two rows differ from the first at other places than each other, in other rows, and in other channels."""
        rounding = _ROUNDING * self.values.abs().max()
        first, second = ((self.values[row] - self.values[0]).abs() > rounding for row in (one, other))
        found = [_are_apart(first, second, axis) for axis in range(first.dim())]
        channel = self.channel - 1
        return any(found[axis] for axis in range(1, len(found)) if axis != channel), found[0], found[channel]


def _are_apart(first: Tensor, second: Tensor, axis: int) -> bool:
    others = [other for other in range(first.dim()) if other != axis]
    one, two = first.any(others), second.any(others)
    both = float((one & two).sum())
    return bool(one.any()) and bool(two.any()) and both <= _TOGETHER * float(torch.minimum(one.sum(), two.sum()))


def _measured(model: nn.Module, one: ModelInputs) -> str | None:
    """Return what the axes mean, None if the network does not tell."""
    first = one.first
    generator = torch.Generator().manual_seed(0)
    size = float(first.abs().max()) or 1.0
    more = (0.5 + torch.rand(first.shape, dtype=torch.float32, generator=generator) / 2).to(first) * (size * _STRENGTH)
    rows, where = [first, first], {}
    for axis in range(1, first.dim()):
        half = first.shape[axis] // 2
        if half:
            where[axis] = len(rows)
            before = (torch.arange(first.shape[axis], device=first.device) < half).reshape(
                [-1 if i == axis else 1 for i in range(first.dim())]
            )
            rows += [torch.where(before, first + more, first), torch.where(before, first, first + more)]
    arrived, met = _arriving(model, one.tile(len(rows)).with_first(torch.cat(rows)))
    if arrived is None:
        return "D" if first.dim() == 2 and not met else None
    told = {axis: arrived.apart(row, row + 1) for axis, row in where.items()}
    if first.dim() > 3:
        return _with_colours(first.dim(), told)
    along = [axis for axis, (places, *_) in told.items() if places]
    across = [axis for axis, (places, *others) in told.items() if any(others) and not places]
    if first.dim() == 2:
        return "T" if along else "D" if across else None
    if len(along) == 2:
        return "HW"
    time = along[0] if along else 3 - across[0] if len(across) == 1 else None
    return {1: "TC", 2: "CT", None: None}[time]


def _with_colours(dim: int, told: Mapping[int, tuple[bool, bool, bool]]) -> str | None:
    """Return what the axes of images, volumes or films mean: that of colours arrives as channels, the others along places.

    Or, of a film of which each picture is a row of its own, along rows.
    """
    names = {4: {1: "CHW", 3: "HWC"}, 5: {1: "CDHW", 2: "DCHW", 4: "DHWC"}}[dim]
    colours = [axis for axis, (places, _, channel) in told.items() if channel and not places]
    others = [axis for axis, (places, row, channel) in told.items() if (places or row) and not channel]
    left = colours if colours or len(others) != dim - 2 else [axis for axis in range(1, dim) if axis not in others]
    return names.get(left[0]) if len(left) == 1 else None


def _arriving(model: nn.Module, inputs: ModelInputs) -> tuple[_Arrived | None, bool]:
    """Return what arrives at the first convolution or recurrent layer, and whether there is one at all; the pass ends there."""
    meeting = _Meeting()
    recurrent: dict[nn.Module, Wrapper] = {
        module: meeting.recurrent for module in model.modules() if isinstance(module, nn.RNNBase)
    }
    with frozen(model), torch.no_grad(), wrapped(recurrent), suppress(Reached), meeting:
        inputs.passed_to(model)
    if meeting.values is None:
        return None, meeting.met
    values, rows = meeting.values, inputs.count
    if len(values) % rows:
        return None, True
    unfolded = values.reshape(rows, -1, *values.shape[1:])  # each channel of a series may be a row of its own
    if not agree(unfolded[0], unfolded[1]):  # the samples' axis is not the slower one of what was folded
        return None, True
    return _Arrived(unfolded.float(), meeting.channel + 1), True


class _Meeting(TorchFunctionMode):
    """Keep what the first convolution or recurrent layer of a pass is given, samples first, and end the pass there."""

    def __init__(self) -> None:
        super().__init__()
        self.values: Tensor | None = None
        self.channel, self.met = 1, False

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        axes = _CONVOLUTIONS.get(getattr(function, "__name__", ""))
        if axes is not None:
            self._meet(args[0] if args else kwargs["input"], axes + 2, 1)
        return function(*args, **kwargs)

    def recurrent(self, module: nn.Module, forward: Forward) -> Callable[..., Any]:
        """Return what takes the place of a recurrent layer's forward pass."""

        def reached(*args: Any, **kwargs: Any) -> Any:
            self._meet(args[0] if args else kwargs["input"], 3, 2, steps_first=not module.batch_first)
            return forward(*args, **kwargs)

        return reached

    def _meet(self, given: Any, axes: int, channel: int, *, steps_first: bool = False) -> None:
        """End the pass, unless this is no batch of samples: then the network says itself what is wrong, or goes on."""
        self.met = True
        if isinstance(given, Tensor) and given.dim() == axes:
            self.values, self.channel = given.movedim(1, 0) if steps_first else given, channel
            raise Reached
