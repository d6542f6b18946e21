"""How alike two orders are: Spearman's correlation, exact where values tie."""

import torch
from torch import Tensor


def midranks(values: Tensor) -> Tensor:
    """Return the rank of each value along the last axis, from 1; those of equal values are the mean of their places."""
    ordered = values.contiguous().sort(dim=-1).values
    below = torch.searchsorted(ordered, values.contiguous())
    upto = torch.searchsorted(ordered, values.contiguous(), right=True)
    return (below + upto + 1).double() / 2


def spearman(one: Tensor, other: Tensor) -> Tensor:
    """Return the rank correlation along the last axis of (..., n) and (..., n), in [-1, 1]; NaN where either is constant."""
    a, b = (ranks - ranks.mean(-1, keepdim=True) for ranks in (midranks(one), midranks(other)))
    return (a * b).sum(-1) / (a.square().sum(-1) * b.square().sum(-1)).sqrt()
