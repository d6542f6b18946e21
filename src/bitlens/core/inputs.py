"""What a network is called with: one tensor, several, or keywords, always with samples along the first axis."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from bitlens.core.places import AXES, USUAL, Places
from bitlens.errors import InputError

Key = int | str
"""Where an argument stands, or its name."""

_IMAGES = ("pixel_values",)
_TOKENS = ("input_ids", "inputs_embeds", "input_values", "input_features")
_TEXTS = ("input_ids", "inputs_embeds")
_WITH_TOKENS = ("token_type_ids", "position_ids")
_MOST_COLOURS = 4  # of the pictures of a film


@dataclass(frozen=True)
class ModelInputs:
    """The arguments of one call of a network.

    One of them carries the samples (`first`): an image or volume wherever it stands, else tokens by their usual names, else the
    first tensor that is no mask. Another tensor whose first axis has as many entries belongs to the samples and follows them
    when they are selected or repeated, unless the network (`bitlens.probe.following`) or the user says otherwise; every other
    argument is passed on as it is.

    Attributes:
        args: positional arguments.
        kwargs: keyword arguments.
        count: how many samples there are.
        carriers: positions and names of the arguments that belong to the samples.
        decided: whether the user or the network has said which these are, so that lengths are not all that speaks for it.
        chosen: which argument carries the samples, where its kind does not say it.
        shown: which argument is the image that maps are drawn over; None for the one that carries the samples.
        axes: what the axes of one sample mean, one of `AXES`, where the user or the network (`bitlens.probe.axes`) says it.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    count: int
    carriers: frozenset[Key]
    decided: bool = False
    chosen: Key | None = None
    shown: Key | None = None
    axes: str | None = None

    @classmethod
    def of(
        cls,
        inputs: Any,
        additional: Any = None,
        *,
        first: Key | None = None,
        follows: Collection[Key] | None = None,
        axes: str | None = None,
    ) -> "ModelInputs":
        """Read a tensor, a tuple of positional arguments, or a mapping of keyword arguments.

        Args:
            inputs: tensor (N, ...), tuple or list of arguments, or mapping (a tokenizer's output, for example).
            additional: further positional arguments, or a mapping of keyword arguments.
            first: position or name of the argument that carries the samples; found by its kind if not given.
            follows: positions and names of the arguments that belong to the samples, besides the one that carries them; by
                default those of its length, of which the network is asked where that may be chance.
            axes: what the axes of one sample mean, one of `AXES`: "CT" for a series with its channels first, "TC" for one with
                its times first, "D" for a table; by default the network is asked where their number does not say it.

        Raises:
            InputError: if there is no tensor, no sample, a floating-point value that is not finite, an argument follows the
                samples that is no tensor of their number, or the axes do not fit.
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
        named: dict[Key, Any] = dict([*enumerate(args), *kwargs.items()])
        lead = _lead(named) if first is None else first
        tensor = named.get(lead)
        if not isinstance(tensor, Tensor) or tensor.dim() == 0:
            raise InputError(f"first names {first!r}, which is no tensor with samples along its first axis")
        if tensor.shape[0] == 0:
            raise InputError(f"inputs hold no sample: the first tensor has shape {tuple(tensor.shape)}")
        _refuse(~torch.isfinite(tensor), "NaN or infinite values")
        for other in tensors:  # a mask that is added to attention scores may hold -inf
            _refuse(torch.isnan(other), "NaN values")
        count = tensor.shape[0]
        alike = {k for k, v in named.items() if isinstance(v, Tensor) and v.dim() > 0 and v.shape[0] == count}
        wrong = [key for key in follows or () if key not in alike]
        if wrong:
            raise InputError(
                f"follows names {wrong[0]!r}, which is no argument with one entry for each of {count} samples"
            )
        if axes is not None:
            Places.of(axes, tuple(tensor.shape[1:]))
        carriers = alike if follows is None else {lead, *follows}
        return cls(args, kwargs, count, frozenset(carriers), decided=follows is not None, chosen=first, axes=axes)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: Key) -> Any:
        return self.args[key] if isinstance(key, int) else self.kwargs[key]

    @property
    def lead(self) -> Key:
        """Return which argument carries the samples."""
        return _lead(self.named) if self.chosen is None else self.chosen

    @property
    def first(self) -> Tensor:
        """Return the tensor that carries the samples: (N, ...)."""
        tensor: Tensor = self[self.lead]
        return tensor

    @property
    def doubtful(self) -> tuple[Key, ...]:
        """Arguments that may be as long as there are samples by chance: all that go with tokens are not."""
        lead, first = self.lead, self.first
        tokens = not first.is_floating_point() or lead in _TOKENS

        def belongs(key: Key) -> bool:
            named = isinstance(key, str) and ("mask" in key or key in _WITH_TOKENS)
            return key == lead or (tokens and (named or self[key].shape[:2] == first.shape[:2]) and first.dim() > 1)

        return tuple(sorted((key for key in self.carriers if not belongs(key)), key=str))

    @property
    def tables(self) -> tuple[Key, ...]:
        """Arguments that give each sample a number, or a row of them, besides an image, a text or its mask."""
        others = (*_TOKENS, *_IMAGES, *_WITH_TOKENS)
        named = {key for key in self.doubtful if key in others or (isinstance(key, str) and "mask" in key)}
        return tuple(key for key in self.doubtful if key not in named and self[key].dim() <= 2)

    @property
    def places(self) -> Places | None:
        """Places of the tensor that maps are drawn over; None for texts, and where nothing tells what its axes mean."""
        drawn: Tensor = self[self.lead if self.shown is None else self.shown]
        usual = None if _colours_may_be_elsewhere(drawn) else USUAL.get(drawn.dim() - 1)
        axes = self.axes if self.shown is None and self.axes is not None else usual
        known = axes is not None and drawn.is_floating_point() and self.lead not in _TEXTS
        return Places.of(axes, tuple(drawn.shape[1:])) if known and axes is not None else None

    def placed(self, asks: str) -> Places:
        """Return the places, for a method or metric of this name that needs them.

        Raises:
            InputError: if there are none, or nothing tells what the axes mean.
        """
        if self.places is not None:
            return self.places
        got = f"{tuple(self.first.shape)} of {self.first.dtype}"
        if not self.asks_for_axes:
            raise InputError(
                f"{asks} needs images (N, C, H, W), series (N, C, T), volumes (N, C, D, H, W) or tables (N, D), got {got}"
            )
        known = " or ".join(f"axes={name!r}" for name in AXES if len(name) == self.first.dim() - 1)
        raise InputError(
            f"{asks} must know what the axes of the inputs {got} mean, and the network does not tell: say "
            f"ModelInputs.of(inputs, {known}), in commands --axes, or let the network say it as bitlens_axes"
        )

    @property
    def asks_for_axes(self) -> bool:
        """Return whether the shape does not say what the axes mean: series, tables, and what may not have its colours first."""
        if self.lead in _TEXTS or not self.first.is_floating_point():
            return False
        return self.first.dim() in (2, 3) or _colours_may_be_elsewhere(self.first)

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width if the tensor that maps are drawn over is a batch of images, else None."""
        places = self.places
        return (places.size[0], places.size[1]) if places is not None and len(places.size) == 2 else None

    @property
    def named(self) -> dict[Key, Any]:
        """Return every argument by its place or name, positional ones first."""
        return dict([*enumerate(self.args), *self.kwargs.items()])

    @property
    def signature(self) -> tuple[Any, ...]:
        """Return everything about the arguments but the values and the number of samples."""
        names = [""] * len(self.args) + list(self.kwargs)
        described = [(name, _describe(*item)) for name, item in zip(names, self.items(), strict=True)]
        return tuple(sorted(described, key=lambda entry: entry[0]))

    def items(self) -> Iterator[tuple[Any, bool]]:
        """Return every argument, positional ones first, and whether it belongs to the samples."""
        return ((value, key in self.carriers) for key, value in self.named.items())

    def each(self, change: Callable[[Key, Any], Any]) -> "ModelInputs":
        """Put something else in the place of every argument: what `change` makes of its place or name, and of its value."""
        args = tuple(change(place, value) for place, value in enumerate(self.args))
        return replace(self, args=args, kwargs={name: change(name, value) for name, value in self.kwargs.items()})

    def _map(self, change: Callable[[Tensor], Tensor], count: int) -> "ModelInputs":
        return replace(self.each(lambda key, value: change(value) if key in self.carriers else value), count=count)

    def select(self, rows: slice | Tensor) -> "ModelInputs":
        """Return the samples of a slice, or those that a tensor of indices names, in its order and as often as it does."""
        count = len(range(self.count)[rows]) if isinstance(rows, slice) else len(rows)
        return self._map(lambda value: value[rows], count)

    def cut(self, length: int) -> "ModelInputs":
        """Return the samples' tensors, ended after `length` entries of their second axis (the tokens of a text)."""
        return self._map(lambda value: value[:, :length], self.count)

    def with_first(self, first: Tensor) -> "ModelInputs":
        """Return the same arguments with another first tensor, (N, ...)."""
        return self.putting(self.lead, first)

    def putting(self, where: Key, value: Any) -> "ModelInputs":
        """Return the same arguments but for one."""
        return self.each(lambda key, old: value if key == where else old)

    def replaced(self, others: Mapping[Key, Tensor]) -> "ModelInputs":
        """Return the same arguments with others in the place of some, of as many samples."""
        return self.each(others.get)

    def tile(self, copies: int) -> "ModelInputs":
        """Return all samples, then all samples again, `copies` times: row b*N + i is copy b of sample i."""
        if copies == 1:
            return self
        return self._map(lambda value: value.repeat(copies, *[1] * (value.dim() - 1)), self.count * copies)

    def clone(self) -> "ModelInputs":
        """Return the same samples in memory of their own (a network may overwrite what it is given)."""
        return self._map(lambda value: value.clone(), self.count)

    def passed_to(self, network: Callable[..., Any]) -> Any:
        """Call a network with them, or with copies where they are the samples: it may overwrite what it is given."""
        own = self.clone()
        return network(*own.args, **own.kwargs)

    def to(self, device: torch.device) -> "ModelInputs":
        """Return detached copies of all tensors on `device` (nothing is copied that is there already)."""

        def move(_: Key, value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            value = value.detach().to(device)
            return value.clone() if value.is_inference() else value

        return self.each(move)


def tensors_of(values: Any) -> list[Tensor]:
    """Return the tensors in a structure of tuples, mappings and model outputs, in order."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def as_captum(maps: Tensor, inputs: Any, device: torch.device, places: Places | None) -> Any:
    """Return maps as Captum's methods do, with one channel where the inputs have several; in a tuple if the inputs are in one.

    Captum's own metrics wrap inputs in tuples, and tell the samples of an answer apart by what was given.

    Args:
        maps: (N, H, W), (N, T), ...
        inputs: as they were given.
        device: of the result.
        places: of the inputs; None for texts, whose maps (N, T) stay as they are.
    """
    own = places is not None and places.channel is not None and maps.shape[1:] == places.size
    shaped = (places.back(maps[:, None]) if places is not None and own else maps).to(device)
    return (shaped,) if isinstance(inputs, tuple) else shaped


def _lead(named: Mapping[Key, Any]) -> Key:
    """Return which of some arguments, at least one of them a tensor with an axis, carries the samples."""
    tensors = {key: value for key, value in named.items() if isinstance(value, Tensor) and value.dim() > 0}

    def rank(key: Key) -> int:
        value = tensors[key]
        if isinstance(key, str) and "mask" in key:
            return 3
        if key in _IMAGES or (value.dim() in (4, 5) and value.is_floating_point()):
            return 0
        return 1 if key in _TOKENS or (key == 0 and value.dim() == 2 and not value.is_floating_point()) else 2

    if 0 in tensors and rank(0) == 1:
        return 0
    return min(tensors, key=rank)


def _colours_may_be_elsewhere(samples: Tensor) -> bool:
    """Return whether the last axis is the shortest, or the second as short as colours of a film are: images have theirs first."""
    shape = samples.shape[1:]
    last = len(shape) in (3, 4) and shape[-1] < min(shape[:-1])
    return last or (len(shape) == 4 and shape[0] > 1 and shape[1] <= _MOST_COLOURS < min(shape[2:]))


def _split(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, tuple | list):
        return tuple(inputs), {}
    return (inputs,), {}


def _describe(value: Any, belongs_to_samples: bool) -> Any:
    if not isinstance(value, Tensor):
        return repr(value) if isinstance(value, int | float | str | bool | None) else type(value)
    shape = ("N", *value.shape[1:]) if belongs_to_samples else tuple(value.shape)
    return (shape, value.dtype, str(value.device))


def _refuse(wrong: Tensor, what: str) -> None:
    if not bool(wrong.any()):
        return
    bad = wrong.reshape(wrong.shape[0], -1).any(1).nonzero().flatten().tolist()
    raise InputError(
        f"inputs hold {what} in sample{'s' if len(bad) > 1 else ''} {', '.join(map(str, bad[:5]))}: "
        "check how they were loaded and normalised"
    )
