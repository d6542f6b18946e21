"""Which axes of a layer's features count places, and where in the input those lie: declared by modules, or measured.

An input is changed a little everywhere, more and more strongly from its one end to the other, and then the other way round.
How much each feature answers to the two tells the middle of what it looks at. Along an axis of places that middle moves; along
channels it does not.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bitlens.core.inputs import ModelInputs
from bitlens.core.layout import BY_CHANNEL, LAYOUTS, Layout, named_layout, patch_grid
from bitlens.core.places import Places

_STRENGTH = 0.05  # of the change, in standard deviations of the input
_CLEARLY = 3.0  # how much more the middle must move along places than along channels
_AT_ALL = 6e-3  # variance of the middle, in sizes of the input, of what counts as places (a straight grid has 1/12)
_AGAINST = 3e-2  # the same variance, where modules declare something else
_ROW_BY_ROW = 0.7  # correlation of patches' middles with where they would lie, row by row
_MANY, _EARLY = 16, 0.25  # tokens along a series, of which the first are told from extra ones; by rank of their middles
_WITHIN_ROW = 0.35  # how far patches of a row may be apart across it, in rows


@dataclass(frozen=True)
class Geometry:
    """Meaning of the axes of a layer's features.

    Attributes:
        layout: of the features once they are `arranged`.
        order: which of the tokens that are patches is the first, second ... of the image, row by row; None if they come so.
    """

    layout: Layout
    order: tuple[int, ...] | None = None

    def arranged(self, features: Tensor) -> Tensor:
        """Return features (N, T, D) with the patches row by row; others as they are."""
        return features if self.order is None else features[:, self._places(self.order)]

    def as_found(self, features: Tensor) -> Tensor:
        """Return arranged features in the order in which the network has them."""
        if self.order is None:
            return features
        back = sorted(range(len(self.order)), key=self.order.__getitem__)
        return features[:, self._places(back)]

    def _places(self, order: Sequence[int]) -> list[int]:
        extra = self.layout.extra
        return [*range(extra), *(extra + place for place in order)]


@dataclass(frozen=True, eq=False)
class Responses:
    """Strengths with which each feature answers to a change that grows along an axis of the input, and to one that shrinks.

    Attributes:
        rising: (2, A, ...) squared answers by half of the noise, axis of the input, and feature.
        falling: the same for the other half.
    """

    rising: Tensor
    falling: Tensor

    def middles(self, *kept: int) -> Tensor:
        """Return the middle of what features look at, in [0, 1], over all but some of their axes: (2, A, sizes of these)."""
        over = [axis + 2 for axis in range(self.rising.dim() - 2) if axis not in kept]
        rising, falling = (t.sum(over).sqrt() if over else t.sqrt() for t in (self.rising, self.falling))
        whole = rising + falling
        return torch.where(whole > 0, rising / whole.clamp_min(torch.finfo(whole.dtype).tiny), 0.5)

    def moves(self) -> Tensor:
        """Return by axis of the features and of the input how much the middle moves: what both halves of the noise agree on."""
        rows = []
        for axis in range(self.rising.dim() - 2):
            middle = self.middles(axis)
            away = middle - middle.mean(2, keepdim=True)
            rows.append((away[0] * away[1]).mean(1).clamp_min(0))
        return torch.stack(rows)


def answers_of(features_of: Callable[[ModelInputs], Tensor], inputs: ModelInputs, seed: int = 0) -> Responses | None:
    """Change the first sample of inputs, all variants in one pass, and see what answers; None if it has no places.

    Args:
        features_of: inputs → the layer's features (n, ...).
        inputs: of real numbers along axes of places, or of tokens.
        seed: of the changes.
    """
    one = inputs.select(slice(1))
    axes = _axes(one)
    ramps = _ramps(one.first, axes)
    if not ramps:
        return None
    generator = torch.Generator().manual_seed(seed)
    halves = []
    for base in (
        one.first,
        _turned(one.first, axes),
    ):  # what is due to the content, and not to places, differs between the two
        other = _other(base, generator)  # the same for all ramps, so that answers differ by these alone
        halves += [base, *(_mixed(base, other, ramp) for pair in ramps for ramp in pair)]
    rows = torch.cat(halves)
    features = features_of(one.tile(len(rows)).with_first(rows)).double()
    features = features.reshape(2, -1, *features.shape[1:])
    squares = (features[:, 1:] - features[:, :1]).square()
    squares = squares.reshape(2, len(ramps), 2, *features.shape[2:])
    return Responses(squares[:, :, 0], squares[:, :, 1])


def _axes(one: ModelInputs) -> list[int]:
    """Return the axes of places of the tensor that is changed; all axes where nobody knows which of them is one of channels."""
    first, places = one.first, one.places
    if first.dim() < 2 or first.dim() > 5 or (first.dim() > 2 and not first.is_floating_point()):
        return []
    channel = None
    if first.dim() > 3:
        channel = 0 if one.shown is not None else places.channel if places is not None else None
    return [axis for axis in range(1, first.dim()) if channel is None or axis != 1 + channel]


def _turned(first: Tensor, axes: Sequence[int]) -> Tensor:
    """Return the same numbers the other way round along every axis of places; tokens as they are, for the last may be special."""
    return first.flip(tuple(axes)) if first.is_floating_point() and first.dim() > 2 else first


def _ramps(first: Tensor, axes: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Return for each axis of places a weight that rises along it and one that falls, broadcastable to one sample."""
    ramps = []
    for axis in axes:
        size = first.shape[axis]
        if size < 2:
            continue
        rising = ((torch.arange(size) + 0.5) / size).reshape([-1 if i == axis else 1 for i in range(first.dim())])
        ramps.append((rising, 1 - rising))
    return ramps


def _other(first: Tensor, generator: torch.Generator) -> Tensor:
    """Return what is mixed in: noise, or tokens of the same text in a random order."""
    if first.is_floating_point():
        size = float(first.float().std().nan_to_num(0)) or 1.0
        return first + (torch.randn(first.shape, dtype=torch.float32, generator=generator) * (_STRENGTH * size)).to(
            first
        )
    return first.flatten()[torch.randint(first.numel(), first.shape, generator=generator).to(first.device)]


def _mixed(first: Tensor, other: Tensor, ramp: Tensor) -> Tensor:
    ramp = ramp.to(first.device)
    if first.is_floating_point():
        return first + (other - first) * ramp.to(first.dtype)
    return torch.where((ramp > 0.5).expand(first.shape), other, first)


def geometry_of(
    size: tuple[int, ...],
    declared: int | None,
    inputs: ModelInputs,
    measure: Callable[[], Responses | None],
) -> Geometry | None:
    """Return how a layer's features are meant, None if neither its modules nor a measurement tell.

    Args:
        size: of the features of one sample.
        declared: which of its axes counts channels, as the modules say.
        inputs: what the network was given.
        measure: makes the measurement; asked only where it is needed.
    """
    longer = [axis for axis in range(len(size)) if size[axis] > 1]
    series = _is_series(inputs)
    if declared is None and len(longer) < 2:
        declared = longer[0] if longer else 0  # there is but one place
        return _named(len(size), declared)
    if len(size) == 1 or (declared is not None and declared != len(size) - 1):
        found = _named(len(size), declared)
        return _along(found, size[1]) if found is not None and series and len(size) == 2 else found
    grid = patch_grid(size[0], inputs.image_size) if len(size) == 2 and inputs.image_size is not None else None
    answers = measure()
    if answers is None:
        return _named(len(size), declared)
    moves = answers.moves()
    named = _named(len(size), _still(moves, size, declared))
    if named is not None and len(size) > 2 and not _apart(moves, named.layout.places):
        return None
    if series and inputs.places is not None and named == _named(2, 1):
        return _in_order(answers, size[0], inputs.places, inputs.first) or named
    patches = _patches(answers, size[0], grid) if grid is not None and named == _named(2, 1) else None
    return patches or named


def said_geometry(layout: Layout, size: tuple[int, ...], inputs: ModelInputs) -> Geometry:
    """Return how features are meant where the user says it; steps of a series lie along it."""
    found = Geometry(layout)
    return _along(found, layout.grid(size)[0]) if len(layout.places) == 1 and _is_series(inputs) else found


def _is_series(inputs: ModelInputs) -> bool:
    return inputs.places is not None and len(inputs.places.size) == 1 and not inputs.places.unordered


def _along(found: Geometry, steps: int) -> Geometry:
    """Return the same of features whose places are steps along a series."""
    return Geometry(replace(found.layout, patches=(steps,)))


def _in_order(answers: Responses, tokens: int, places: Places, first: Tensor) -> Geometry | None:
    """Say how tokens lie along a series, None if they do not follow it; tokens before them that look at all of it are extra."""
    walked = [axis for axis in range(1, first.dim()) if first.shape[axis] > 1].index(1 + places.axes.index("T"))
    middle = answers.middles(0)[:, walked].mean(0)
    ranks = middle.argsort().argsort()
    early = (ranks > tokens * _EARLY).int().tolist() if tokens >= _MANY else []
    extra = early.index(0) if 0 in early else 0
    order = torch.arange(tokens - extra).double()
    if _correlation(middle[extra:], order) < _ROW_BY_ROW:
        return None
    return Geometry(replace(named_layout("PD", extra) if extra else LAYOUTS["TD"], patches=(tokens - extra,)))


def _named(axes: int, channel: int | None) -> Geometry | None:
    layout = BY_CHANNEL.get((axes, channel)) if channel is not None else None
    return Geometry(layout) if layout is not None else None


def _still(moves: Tensor, size: tuple[int, ...], declared: int | None) -> int | None:
    """Return the axis of the features along which nothing moves; what is declared if that is not clear."""
    most = moves.amax(1)
    channel = int(most.argmin())
    places = [axis for axis in range(len(size)) if axis != channel and size[axis] > 1]
    least = max(_CLEARLY * float(most[channel]), _AT_ALL if declared in (None, channel) else _AGAINST)
    return channel if places and float(most[places].min()) > least else declared


def _apart(moves: Tensor, places: tuple[int, ...]) -> bool:
    """Return whether each axis of places follows an axis of the input of its own, in its order: a grid, not windows of one."""
    along = [int(moves[axis].argmax()) for axis in places]
    others = [float(moves[axis].topk(2).values[1]) for axis in places] if moves.shape[1] > 1 else [0.0]
    own = [float(moves[axis].amax()) for axis in places]
    clear = all(mine >= _CLEARLY * other for mine, other in zip(own, others, strict=True))
    return along == sorted(set(along)) and clear


def _patches(answers: Responses, tokens: int, grid: tuple[int, int]) -> Geometry | None:
    """Say how tokens lie in an image as a grid of patches, None if they are no patches."""
    extra = tokens - math.prod(grid)
    layout = replace(named_layout("PD", extra), patches=grid)
    middles = answers.middles(0)[:, :, extra:]  # (2, A, patches), axes of the input: up and down, across
    rows = torch.arange(grid[0]).repeat_interleave(grid[1]).double()
    columns = torch.arange(grid[1]).repeat(grid[0]).double()
    both = middles.mean(0)
    if min(_correlation(both[0], rows), _correlation(both[1], columns)) >= _ROW_BY_ROW:
        return Geometry(layout)
    down = both[0].argsort().reshape(grid)
    order = down.gather(1, both[1][down].argsort(1))
    heights = middles[0, 0][order]  # of one half, in the order that both tell
    apart = (heights.mean(1)[-1] - heights.mean(1)[0]) / max(grid[0] - 1, 1)
    regular = heights.std(1).mean() < _WITHIN_ROW * apart
    across = _correlation(middles[0, 1][order].flatten(), columns)
    if not bool(regular) or across < _ROW_BY_ROW:
        return None
    return Geometry(layout, tuple(order.flatten().tolist()))


def _correlation(values: Tensor, places: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([values, places]))[0, 1].nan_to_num(0))
