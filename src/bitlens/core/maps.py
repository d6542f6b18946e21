"""From information per feature to a map that people read: sum over channels, bits, and the size of the input."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.core.layout import Layout


def bits_of(nats: Tensor) -> Tensor:
    """Return nats as bits."""
    return nats / math.log(2)


def bits_per_cell(nats: Tensor, layout: Layout) -> Tensor:
    """Return information (N, ...) in nats, summed over channels, in bits: (N, H, W), (N, T), or (N, D) for vectors.

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


def bits_per_pixel(cells: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Spread the bits of each cell (N, h, w) over its pixels: (N, H, W), with the same total for every sample.

    Bilinear with half-pixel centres (algorithms B8). For whole factors the total survives by itself; for others the map
    is scaled so that it does.
    """
    height, width = image_size
    share = cells.shape[1] * cells.shape[2] / (height * width)
    pixels = F.interpolate(cells[:, None] * share, image_size, mode="bilinear", align_corners=False)[:, 0]
    wanted, got = cells.sum((1, 2)), pixels.sum((1, 2))
    factor = torch.where(got > 0, wanted / got.clamp_min(torch.finfo(got.dtype).tiny), torch.ones_like(got))
    return pixels * factor[:, None, None]


def unit_of(layout: Layout, image_size: tuple[int, int] | None) -> str:
    """Return the unit of a map with this layout, for inputs that are images of this size, or no images."""
    if layout.on_image:
        return "bits/pixel" if image_size is not None else "bits/cell"
    return "bits/token" if layout.places else "bits/feature"
