"""Whether a map points at the object."""

import torch
from torch import Tensor

from bitlens.errors import InputError

__all__ = ["bounding_box_ratio"]


def bounding_box_ratio(maps: Tensor, masks: Tensor, *, seed: int = 0) -> Tensor:
    """Share of the n highest pixels of a map that lie inside, where n pixels do (Schulz et al., ICLR 2020, section 4.3).

    Inside is where the mask exceeds 0.5. Ties are broken at random, so that a constant map scores the share of the
    picture that is inside, like a random one.

    Args:
        maps: (N, H, W).
        masks: (N, H, W), boolean or in [0, 1]; boxes drawn and transformed like the photo, or an exact object mask.
        seed: of the random order of ties.

    Returns:
        (N,) in [0, 1], higher is better; NaN where nothing is inside.

    Raises:
        InputError: if the shapes differ.
    """
    if maps.shape != masks.shape or maps.dim() != 3:
        raise InputError(
            f"maps and masks must have one shape (N, H, W), got {tuple(maps.shape)} and {tuple(masks.shape)}"
        )
    inside = (masks > 0.5).flatten(1)
    count = inside.sum(1)
    shuffle = torch.randperm(inside.shape[1], generator=torch.Generator().manual_seed(seed)).to(maps.device)
    order = maps.flatten(1)[:, shuffle].argsort(dim=1, descending=True, stable=True)
    hits = inside[:, shuffle].gather(1, order).cumsum(1)
    last = (count - 1).clamp_min(0)[:, None]
    ratio = hits.gather(1, last)[:, 0].double() / count.clamp_min(1)
    return torch.where(count > 0, ratio, torch.full_like(ratio, torch.nan))
