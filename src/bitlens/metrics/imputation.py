"""Noisy linear imputation: pixels that are gone are told by their neighbours, so that little is left to see of where they were.

Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods (ICML 2022): each missing pixel is the
weighted mean of its eight neighbours (1/6 beside, 1/12 across corners), missing ones among them, and some noise hides that it
is. Their code solves one sparse system for each image on the CPU; here all are solved together, on the device.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.errors import InputError

_BESIDE, _ACROSS = 1 / 6, 1 / 12
_STEPS = 2000  # a system as large as a photo of 224 x 224 takes about fifty


def imputed(images: Tensor, gone: Tensor, *, tolerance: float = 1e-4) -> Tensor:
    """Return images in which each missing pixel is the weighted mean of its neighbours, without noise.

    By conjugate gradients, from a start that coarser and coarser means of the known pixels give.

    Args:
        images: (N, C, H, W).
        gone: (N, H, W) bool; at least one pixel of each image is known.
        tolerance: largest residual, as a share of the images' range.

    Raises:
        InputError: if an image has no pixel left.
    """
    if bool(gone.flatten(1).all(1).any()):
        raise InputError("an image has no pixel left to impute the others from")
    kernel = images.new_full((3, 3), _ACROSS)
    kernel[1, :], kernel[:, 1] = _BESIDE, _BESIDE
    kernel[1, 1] = 0
    missing = gone[:, None].to(images.dtype)
    weights = kernel.expand(images.shape[1], 1, 3, 3)

    def neighbours(values: Tensor) -> Tensor:
        return F.conv2d(values, weights, padding=1, groups=values.shape[1])

    total = neighbours(torch.ones_like(images[:1]))  # less than 1 at the border
    known = images * (1 - missing)
    found = _started(known, 1 - missing) * missing
    residual = (neighbours(known + found) - total * found) * missing
    direction, power = residual / total, (residual.square() / total).sum((1, 2, 3), keepdim=True)
    limit = tolerance * float(images.amax() - images.amin())
    direction = direction.clone()
    for _ in range(_STEPS):
        if float(residual.abs().amax()) <= limit:
            break
        pushed = (total * direction - neighbours(direction)) * missing
        step = power / (direction * pushed).sum((1, 2, 3), keepdim=True).clamp_min(torch.finfo(images.dtype).tiny)
        found, residual = found + step * direction, residual - step * pushed
        next_power = (residual.square() / total).sum((1, 2, 3), keepdim=True)
        direction = residual / total + next_power / power.clamp_min(torch.finfo(images.dtype).tiny) * direction
        power = next_power
    return known + found


def _started(sums: Tensor, weights: Tensor) -> Tensor:
    """Return a value for every pixel: the mean of the known ones nearby, in ever larger squares where none is near.

    Args:
        sums: (N, C, H, W) the pixels, zero where they are unknown.
        weights: (N, 1, H, W) how much is known of each.
    """
    if bool((weights > 0).all()):
        return sums / weights
    halves = [F.avg_pool2d(values, 2, ceil_mode=True) for values in (sums, weights)]
    coarse = F.interpolate(_started(*halves), sums.shape[2:], mode="nearest")
    return torch.where(weights > 0, sums / weights.clamp_min(torch.finfo(sums.dtype).tiny), coarse)
