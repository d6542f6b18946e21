"""From unconstrained logits α to the mask's complement u = blur(sigmoid(-α)).

The blur's kernel sums to one, so blur(sigmoid(-α)) = 1 - blur(sigmoid(α)): u is computed directly and never as a
difference of nearly equal numbers (algorithms B3, B4, B9).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bitlens.core.layout import Layout


def smoothing_matrix(size: int, sigma: float, radius: int | None = None) -> Tensor:
    """Return the 1-D Gaussian blur of `size` places as a matrix (size, size) whose rows sum to one.

    2·round(2σ)+1 taps, reflected at the borders without repeating the border's place (algorithms B4). Where the map is
    too small to be reflected that far, the kernel is cut to what fits; one place stays as it is. `radius` taps on either side
    in place of round(2σ).
    """
    radius = min(round(2 * sigma) if radius is None else radius, size - 1)
    offsets = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offsets.double() / sigma).square()) if sigma > 0 else torch.ones(1, dtype=torch.float64)
    kernel = kernel / kernel.sum()
    places = torch.arange(size)[:, None] + offsets[None, :]
    period = max(2 * (size - 1), 1)
    reflected = (size - 1) - ((places % period) - (size - 1)).abs()
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix.scatter_add_(1, reflected, kernel.expand(size, -1))
    return matrix.float()


def smoothing_matrices(layout: Layout, features: tuple[int, ...], sigma: float | None) -> list[Tensor]:
    """Return one matrix for each axis of a grid; none for other tokens, vectors, or without smoothing."""
    if not sigma or not layout.on_grid:
        return []
    return [smoothing_matrix(size, sigma) for size in layout.grid(features)]


def complement(logits: Tensor, layout: Layout, matrices: Sequence[Tensor] = ()) -> Tensor:
    """Return u = blur(sigmoid(-α)), the share of each feature that is noise: (N, ...) in (0, 1), float32.

    Tokens that are no patches of the image are not blurred.
    """
    u = torch.sigmoid(-logits)
    if not matrices:
        return u
    if layout.patches is None or len(layout.patches) == 1:
        own = _blurred(u[:, layout.extra :] if layout.extra else u, layout.channel + 1, matrices)
        return torch.cat([u[:, : layout.extra], own], 1) if layout.extra else own
    patches = u[:, layout.extra :].reshape(len(u), *layout.patches, -1)
    return torch.cat([u[:, : layout.extra], _blurred(patches, 3, matrices).flatten(1, 2)], 1)


def _blurred(u: Tensor, channel: int, matrices: Sequence[Tensor]) -> Tensor:
    if len(matrices) != 2:
        return blurred(u.movedim(channel, 1), matrices).movedim(1, channel)
    rows, columns = matrices
    grid = u.movedim(channel, 3)
    if not grid.is_contiguous():
        return (rows @ u.movedim(channel, 1) @ columns.T).movedim(1, channel)
    samples, height, width, _ = grid.shape  # with the channels last in memory, nothing is moved
    grid = torch.bmm(rows.expand(samples, -1, -1), grid.flatten(2))
    grid = torch.bmm(columns.expand(samples * height, -1, -1), grid.reshape(samples * height, width, -1))
    return grid.reshape(samples, height, width, -1).movedim(3, channel)


def blurred(values: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Blur values (N, C, ...) along each axis of places, one after the other."""
    for axis, matrix in enumerate(matrices, 2):
        second_to_last = axis == values.dim() - 2
        values = matrix @ values if second_to_last else (values.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    return values
