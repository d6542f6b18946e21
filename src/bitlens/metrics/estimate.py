"""A mean over samples, with how far it can be trusted."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A mean.

    Attributes:
        value: the mean.
        standard_error: its standard error over samples; NaN for fewer than two.
        count: how many samples it is the mean of.
    """

    value: float
    standard_error: float
    count: int

    @classmethod
    def of(cls, values: Tensor) -> "Estimate":
        """Return the mean of one value per sample (N,); samples that are NaN are left out. NaN if none is left."""
        kept = values[~values.isnan()].double()
        spread = kept.std() if len(kept) > 1 else kept.new_tensor(torch.nan)
        return cls(float(kept.mean()), float(spread) / max(len(kept), 1) ** 0.5, len(kept))
