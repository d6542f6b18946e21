"""Small networks whose decisive places are known: what every method must find, and what the table of kinds is made of.

Each reads the features of its layer at some places only, so that nothing elsewhere can matter, whatever a method assumes of axes,
orders and grids.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Place = tuple[slice, ...]


class Decided(nn.Module):
    """Classes that are told by what stands at some places of the features, and by nothing else.

    Args:
        features: the network's first part.
        place: index into one sample's features.
        size: of one input.
        classes: how many.
    """

    def __init__(self, features: nn.Module, place: Place, size: tuple[int, ...], classes: int = 8) -> None:
        super().__init__()
        self.features, self.place = features, place
        with torch.no_grad():
            for part in features.modules():
                if isinstance(bias := getattr(part, "bias", None), Tensor):
                    bias.zero_()
            read = self._read(torch.randn(8 if max(size) >= 400 else 64, *size))
            self.head = nn.Linear(read.shape[1], classes)
            spread = self.head(read).std()
            self.head.weight.mul_(5 / spread)
            self.head.bias.zero_()

    def _read(self, x: Tensor) -> Tensor:
        features = self.features(x)
        features = features[0] if isinstance(features, tuple) else features
        found: Tensor = features[(slice(None), *self.place)].flatten(1)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes)."""
        found: Tensor = self.head(self._read(x))
        return found


class Axes(nn.Module):
    """Axes in another order."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        """Return the same numbers."""
        return x.permute(self.order)


class Patches(nn.Module):
    """An image as tokens (N, T, D), row by row or in another order, perhaps with a class token before them."""

    def __init__(self, channels: int, width: int, side: int, order: Tensor | None = None, extra: int = 0) -> None:
        super().__init__()
        self.cut, self.order = nn.Conv2d(channels, width, side, side), order
        self.tokens = nn.Parameter(torch.randn(1, extra, width)) if extra else None
        self.mix = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (N, extra + T, D)."""
        tokens = self.cut(x).flatten(2).transpose(1, 2)
        if self.order is not None:
            tokens = tokens[:, self.order]
        if self.tokens is not None:
            tokens = torch.cat([self.tokens.expand(len(x), -1, -1), tokens], 1)
        found: Tensor = self.mix(tokens).relu()
        return found


class Columns(nn.Module):
    """An LSTM that reads an image column by column, a few pixels wide: (N, steps, hidden)."""

    def __init__(self, height: int, wide: int, hidden: int) -> None:
        super().__init__()
        self.wide, self.lstm = wide, nn.LSTM(height * wide, hidden, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the LSTM puts out at every step."""
        columns = x[:, 0].unfold(2, self.wide, self.wide).permute(0, 2, 1, 3).flatten(2)
        steps: Tensor = self.lstm(columns)[0]
        return steps


class Queries(nn.Module):
    """A fixed number of learnt queries that attend to an image, as in detection transformers: (N, queries, D)."""

    def __init__(self, queries: int, width: int, side: int) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, width, side, side)
        self.queries = nn.Parameter(torch.randn(1, queries, width))
        self.attend, self.mix = nn.MultiheadAttention(width, 2, batch_first=True), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the queries found."""
        tokens = self.cut(x).flatten(2).transpose(1, 2)
        found: Tensor = self.mix(
            self.attend(self.queries.expand(len(x), -1, -1), tokens, tokens, need_weights=False)[0]
        )
        return found


@dataclass(frozen=True)
class Planted:
    """A kind of network whose decisive place is known.

    Attributes:
        kind: as the table says it.
        make: builds it; its layer is `layer`.
        layer: dotted name.
        size: of one input.
        shape: of one map at the layer.
        decisive: which part of it decides.
        pixels: which part of the input does, as far as methods that look at inputs can tell; None where they take none.
        settings: of methods that look at a layer.
    """

    kind: str
    make: Callable[[], nn.Module]
    layer: str
    size: tuple[int, ...]
    shape: tuple[int, ...]
    decisive: Place
    pixels: Place | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def network(self) -> nn.Module:
        """Build it, always the same."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.make().eval()

    def inputs(self, count: int = 1) -> Tensor:
        """Draw inputs that are quiet but for what decides."""
        loud = self.ordinary(count, seed=1)
        if self.pixels is None:
            return loud
        quiet = 0.05 * loud
        place = (slice(None), slice(None), *self.pixels)
        quiet[place] = loud[place]
        return quiet

    def ordinary(self, count: int, seed: int = 5) -> Tensor:
        """Draw inputs that are as loud everywhere, to learn from."""
        return torch.randn(count, *self.size, generator=torch.Generator().manual_seed(seed))


def _strided() -> nn.Module:
    layers = nn.Sequential(nn.Conv2d(3, 16, (4, 16), (4, 16)), nn.ReLU())
    return Decided(layers, (slice(None), slice(11, 12), slice(2, 3)), (3, 64, 64))


def _channels_last() -> nn.Module:
    layers = nn.Sequential(nn.Conv2d(3, 8, 8, 8), Axes(0, 2, 3, 1), nn.ReLU(), nn.Linear(8, 8))
    return Decided(layers, (slice(5, 6), slice(2, 3)), (3, 64, 64))


def _times(*inner: nn.Module) -> nn.Module:
    return Decided(nn.Sequential(nn.Conv1d(2, 12, 5, padding=2), *inner), (slice(None), slice(40, 48)), (2, 64))


def _tokens(order: Tensor | None, place: int, extra: int = 0) -> nn.Module:
    return Decided(Patches(3, 12, 4, order, extra), (slice(place + extra, place + extra + 1),), (3, 32, 32))


SHUFFLED = torch.randperm(64, generator=torch.Generator().manual_seed(3))
"""Which of 8 x 8 patches is the first, second ... token."""


def _shuffled() -> nn.Module:
    return _tokens(SHUFFLED, int((SHUFFLED == 5 * 8 + 2).nonzero()))


def _volume() -> nn.Module:
    layers = nn.Sequential(nn.Conv3d(1, 6, 2, 2), nn.ReLU())
    return Decided(layers, (slice(None), slice(2, 3), slice(5, 6), slice(3, 4)), (1, 8, 16, 16))


def _cells(*ranges: int) -> Place:
    return tuple(slice(first, first + 1) for first in ranges)


def _at(*ranges: tuple[int, int]) -> Place:
    return tuple(slice(*ends) for ends in ranges)


_CELL, _AROUND = _at((20, 24), (8, 12)), _at((18, 26), (6, 14))
_WIDE, _AROUND_WIDE = _at((44, 48), (32, 48)), _at((42, 50), (24, 56))

PLANTED = (
    Planted("Conv1d over times", _times, "features.0", (2, 64), (64,), _at((40, 48)), _at((38, 50))),
    Planted(
        "Conv1d in a container",
        lambda: _times(nn.BatchNorm1d(12), nn.ReLU()),
        *("features", (2, 64), (64,), _at((40, 48)), _at((38, 50))),
    ),
    Planted("Conv2d with strides 4 and 16", _strided, "features.0", (3, 64, 64), (64, 64), _AROUND_WIDE, _WIDE),
    Planted("the same, in a container", _strided, "features", (3, 64, 64), (64, 64), _AROUND_WIDE, _WIDE),
    Planted(
        "channels last",
        _channels_last,
        *("features", (3, 64, 64), (64, 64), _at((36, 52), (12, 28)), _at((40, 48), (16, 24))),
    ),
    Planted(
        "patches of an image, with a class token",
        lambda: _tokens(None, 42, 1),
        *("features", (3, 32, 32), (32, 32), _AROUND, _CELL),
    ),
    Planted("patches in another order", _shuffled, "features", (3, 32, 32), (32, 32), _AROUND, _CELL),
    Planted(
        "LSTM over columns of an image",
        lambda: Decided(Columns(16, 2, 24), _cells(15), (1, 16, 40)),
        *("features", (1, 16, 40), (20,), _cells(15), _at((0, 16), (26, 32))),
    ),
    Planted(
        "queries of a detection transformer",
        lambda: Decided(Queries(100, 16, 16), _cells(37), (3, 400, 400)),
        *("features", (3, 400, 400), (100,), _cells(37)),
    ),
    Planted(
        "Conv3d over volumes",
        _volume,
        *("features.0", (1, 8, 16, 16), (8, 16, 16), _at((3, 7), (9, 13), (5, 9)), _at((4, 6), (10, 12), (6, 8))),
    ),
)


def share(values: Tensor, place: Place) -> float:
    """Return which share of a map, as far as it is positive, lies at a place."""
    positive = values.clamp_min(0)
    return float(positive[place].sum() / positive.sum().clamp_min(1e-12))


def peak(values: Tensor) -> tuple[int, ...]:
    """Return where a map is largest."""
    return tuple(int(i) for i in torch.unravel_index(values.argmax(), values.shape))


def inside(place: tuple[int, ...], region: Place) -> bool:
    """Return whether an index lies within slices."""
    return all(part.start <= i < part.stop for i, part in zip(place, region, strict=True))
