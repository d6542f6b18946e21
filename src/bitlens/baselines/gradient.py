"""What the gradient of the score says of each pixel."""

from typing import Any

import torch
from torch import Tensor

from bitlens.baselines.baseline import Baseline, Group

__all__ = ["Gradient"]


class Gradient(Baseline):
    """The gradient of the score, its signed mean over the colour channels (Schulz et al., appendix; algorithms F3)."""

    method = "gradient"

    def settings(self) -> dict[str, Any]:
        """None: there is nothing to choose."""
        return {}

    def maps(self, group: Group) -> Tensor:
        """(n, H, W)."""
        images = group.images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(group.score(images).sum(), images)
        return gradient.mean(1)
