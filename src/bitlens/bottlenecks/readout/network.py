"""The network of a Readout Bottleneck: from features at several depths to the logits α of a mask (algorithms C3, C4).

Three 1x1 convolutions over the concatenation of all features, brought to the grid of the bottleneck's layer. A 1x1
convolution works on channels, a resize on places, and both are linear: so each layer's share of the first convolution is
computed at the layer's own resolution and resized then. The numbers are the same; for ResNet-50 at `layer1` the first
convolution takes 3.6 in place of 36.7 billion multiplications.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.core.layout import Layout
from bitlens.errors import LayerError

_MOST = 5.0
"""Where α is cut off on both sides, and where it begins: 99.3 % of each feature pass."""

_SMALL = 1e-3  # of the last layer's first weights: the mask begins (nearly) alike everywhere


def _at_places(features: Tensor, layout: Layout) -> Tensor:
    """Return features (N, ...) with their channels last: (N, H, W, C), (N, T, C) or (N, C)."""
    return features.movedim(layout.channel + 1, -1)


@dataclass(frozen=True)
class Normaliser:
    """Standardisation of the features of one read layer: (f - mean) / max(std, floor).

    Attributes:
        layout: how the features' axes are meant.
        mean: broadcastable to one sample's features, float32.
        std: of the same shape and type, already above its floor.
    """

    layout: Layout
    mean: Tensor
    std: Tensor

    @property
    def channels(self) -> int:
        """Return how many there are."""
        return _at_places(self.mean[None], self.layout).shape[-1]

    def at_places(self, features: Tensor) -> Tensor:
        """Return features with their channels last: (N, ..., C)."""
        return _at_places(features, self.layout)

    def deviation(self, features: Tensor) -> Tensor:
        """Return how far features are from their mean, float32."""
        return features.float() - self.mean.to(features.device)

    def __call__(self, features: Tensor) -> Tensor:
        """Return features standardised, channels last: (N, ..., C), float32."""
        return self.at_places(self.deviation(features) / self.std.to(features.device))


class ReadoutNetwork(nn.Module):
    """Three linear layers over the channels of all read layers, at every place of the grid.

    Args:
        channels: of each read layer, by name.
        out: channels of the bottleneck's layer.
        hidden: outputs of the first layer; half of all read channels if not given.
        middle: outputs of the second layer; twice `out` if not given.
    """

    def __init__(
        self, channels: Mapping[str, int], out: int, *, hidden: int | None = None, middle: int | None = None
    ) -> None:
        super().__init__()
        total = sum(channels.values())
        self.names, self.channels = tuple(channels), tuple(channels.values())
        hidden, middle = hidden or max(1, total // 2), middle or 2 * out
        made = partial(nn.Linear, dtype=torch.float32)  # whatever PyTorch makes unless told
        self.first, self.second, self.last = made(total, hidden), made(hidden, middle), made(middle, out)
        with torch.no_grad():
            self.last.weight.mul_(_SMALL)
            self.last.bias.fill_(_MOST)

    def forward(self, reads: Sequence[Tensor], grid: torch.Size) -> Tensor:
        """Return logits α of the mask.

        Args:
            reads: standardised features of the read layers, channels last: (N, H, W, C), (N, T, C) or (N, C).
            grid: of the bottleneck's layer: (H, W), (T,) or ().

        Returns:
            (N, *grid, out) in [-5, 5]. Where α is cut off, only a gradient that would push it further out is dropped.
        """
        shares = torch.split(self.first.weight, list(self.channels), 1)
        summed: Tensor = self.first.bias
        for name, read, weight in zip(self.names, reads, shares, strict=True):
            summed = summed + _resized(F.linear(read, weight), grid, name)
        hidden = self.second(F.relu(summed).expand(-1, *grid, -1))
        logits: Tensor = self.last(F.relu(hidden))
        return cut_off(logits)


class _CutOff(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        ctx.save_for_backward(logits)
        return logits.clamp(-_MOST, _MOST)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (logits,) = ctx.saved_tensors
        outwards = ((logits > _MOST) & (gradient < 0)) | ((logits < -_MOST) & (gradient > 0))
        return gradient.masked_fill(outwards, 0)


def cut_off(logits: Tensor) -> Tensor:
    """Return logits in [-5, 5], with a gradient that leads back in.

    The published code's gradient is zero outside: what is pushed out once, while information is cheap or before it is known
    what it is needed for, stays open or shut for good.
    """
    cut: Tensor = _CutOff.apply(logits)  # type: ignore[no-untyped-call]
    return cut


def _resized(maps: Tensor, grid: torch.Size, name: str) -> Tensor:
    """Return maps (N, ..., C) on another grid: vectors everywhere alike, images bilinear (aligned corners), the mean for none."""
    places = maps.shape[1:-1]
    if places == grid:
        return maps
    if not places:
        return maps.reshape(len(maps), *[1] * len(grid), -1)
    if not grid:
        return maps.flatten(1, -2).mean(1)
    if len(places) == len(grid) == 2:
        resized = F.interpolate(maps.movedim(-1, 1), tuple(grid), mode="bilinear", align_corners=True)
        return resized.movedim(1, -1)
    raise LayerError(
        f"layer {name!r} puts out a grid of {'x'.join(map(str, places))}, which cannot be brought to the bottleneck's "
        f"{'x'.join(map(str, grid))}: leave it out of read_layers"
    )
