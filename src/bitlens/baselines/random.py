"""The baseline of baselines: an order of the pixels that knows nothing."""

import hashlib
from typing import Any

import torch
from torch import Tensor

from bitlens.baselines.baseline import Baseline, Group

__all__ = ["Random"]


class Random(Baseline):
    """The numbers from -1 to 1, evenly spaced so that none occurs twice, in random order (algorithms F1).

    An image's order follows from the image and the seed: other images get other orders, the same image always the same.
    """

    method = "random"

    def settings(self) -> dict[str, Any]:
        """None: there is nothing to choose."""
        return {}

    def maps(self, group: Group) -> Tensor:
        """(n, H, W) in [-1, 1]."""
        group.target.score(group.output)  # a target that the network cannot answer is refused here, too
        height, width = group.images.shape[2:]
        values = torch.linspace(-1, 1, height * width)
        orders = [torch.randperm(height * width, generator=self._generator(image)) for image in group.images.cpu()]
        return torch.stack([values[order].view(height, width) for order in orders])

    def _generator(self, image: Tensor) -> torch.Generator:
        content = image.contiguous().view(-1).view(torch.uint8).numpy().data
        digest = hashlib.sha256(content, usedforsecurity=False)
        digest.update(str(self.seed).encode())
        return torch.Generator().manual_seed(int.from_bytes(digest.digest()[:7], "little"))
