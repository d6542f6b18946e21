"""How much of a target a map holds, between what the network says and what it says without seeing anything."""

import torch
from torch import Tensor


def share_kept(before: Tensor, under: Tensor, floor: Tensor, error: Tensor) -> Tensor:
    """Return (under - floor) / (before - floor), NaN where that is not above what chance makes of the floor (2 `error`)."""
    span = before - floor
    return torch.where(span > 2 * error.clamp_min(torch.finfo(span.dtype).eps), (under - floor) / span, torch.nan)
