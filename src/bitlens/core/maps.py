"""From information per feature to a map that people read: sum over channels, bits, and the size of the input."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.core.layout import Layout
from bitlens.core.places import Places


def bits_of(nats: Tensor) -> Tensor:
    """Return nats as bits."""
    return nats / math.log(2)


def bits_per_cell(nats: Tensor, layout: Layout) -> Tensor:
    """Return information (N, ...) in nats, summed over channels, in bits: (N, H, W), (N, T), (N, D, H, W), or (N, D) for vectors.

    Tokens that are patches of an image give (N, h, w); those before them are left to `bits_of_extra`.
    """
    bits = bits_of(nats)
    if not layout.places:
        return bits
    cells = bits.sum(layout.channel + 1)
    return cells if layout.patches is None else cells[:, layout.extra :].reshape(-1, *layout.patches)


def bits_of_extra(nats: Tensor, layout: Layout) -> Tensor | None:
    """Return bits of the tokens that are no patches, (N, E), from information (N, T, D) in nats; None without any."""
    return bits_of(nats[:, : layout.extra].sum(2)) if layout.extra else None


def bits_per_pixel(cells: Tensor, size: tuple[int, ...]) -> Tensor:
    """Spread the bits of each cell (N, h, w) over its pixels: (N, H, W), with the same total for every sample.

    Or those of each step over its times (N, T), of each block over its voxels (N, D, H, W). Linear along each axis, with
    half-pixel centres (algorithms B8). For whole factors the total survives by itself; for others the map is scaled so that it
    does.
    """
    share = math.prod(cells.shape[1:]) / math.prod(size)
    pixels = enlarged(cells[:, None] * share, size)[:, 0]
    wanted, got = cells.flatten(1).sum(1), pixels.flatten(1).sum(1)
    factor = torch.where(got > 0, wanted / got.clamp_min(torch.finfo(got.dtype).tiny), torch.ones_like(got))
    return pixels * factor.reshape(-1, *[1] * len(size))


_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def enlarged(values: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return values (N, C, ...) at another size of one to three axes, linear along each, with half-pixel centres."""
    return F.interpolate(values, size, mode=_LINEAR[len(size)], align_corners=False)


def covers(layout: Layout, places: Places | None) -> bool:
    """Return whether a layer's cells form a grid of as many axes as the places of the input have, over which they lie."""
    if places is None or places.unordered or not layout.on_grid:
        return False
    return len(layout.patches or layout.places) == len(places.size)


def unit_of(layout: Layout, places: Places | None) -> str:
    """Return the unit of a map with this layout, for inputs with such places, or with none that are known."""
    if places is not None and covers(layout, places):
        return f"bits/{places.one}"
    if layout.on_grid:
        return "bits/cell"
    return "bits/token" if layout.places else "bits/feature"
