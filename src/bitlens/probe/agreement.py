"""Whether two passes of a network say the same, up to rounding."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves


def agree(expected: Any, got: Any) -> bool:
    """Say whether two outputs of a network are the same up to rounding, relative to their largest value."""
    pairs = list(zip(tree_leaves(expected), tree_leaves(got), strict=False))
    return len(tree_leaves(expected)) == len(tree_leaves(got)) and all(_close(a, b) for a, b in pairs)


def _close(a: Any, b: Any) -> bool:
    if not isinstance(a, Tensor):
        return a is b or (type(a) is type(b) and (not hasattr(a, "__dict__") or agree(vars(a), vars(b))))
    if not isinstance(b, Tensor) or a.shape != b.shape:
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    tolerance = min(800 * torch.finfo(a.dtype).eps, 0.05)
    if a.is_cuda and torch.backends.cudnn.allow_tf32:
        tolerance = max(tolerance, 0.01)  # convolutions may choose another algorithm at another batch size
    scale = float(a.nan_to_num(0.0, 0.0, 0.0).abs().max()) if a.numel() else 0.0
    return torch.allclose(a, b, rtol=0.0, atol=tolerance * scale, equal_nan=True)
