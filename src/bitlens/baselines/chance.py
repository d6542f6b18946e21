"""What scores without asking the network: the middle of the image, its edges, and the same everywhere.

A metric that gives these more than it gives random maps rewards where photographers put things, or how sharp a map is. What they
score is the bias of the metric, to be read beside every method's score.
"""

from abc import abstractmethod
from typing import final

import torch
from torch import Tensor

from bitlens.baselines.asking import ImageQuestion
from bitlens.baselines.baseline import ImageBaseline

_SPREAD = 0.25  # of the Gaussian, in sides of the image


class Blind(ImageBaseline):
    """A map that is drawn without the network."""

    def maps(self, question: ImageQuestion) -> Tensor:
        """Return maps (n, H, W)."""
        question.target.score(question.output)  # a target that the network cannot answer is refused here, too
        return self.drawn(question.images.detach())

    @abstractmethod
    def drawn(self, images: Tensor) -> Tensor:
        """Return maps (n, ...) of images (n, C, ...)."""


@final
class Centre(Blind):
    """Give every pixel the height of a Gaussian in the middle of the image, a quarter of each side wide (σ)."""

    method = "centre"

    def drawn(self, images: Tensor) -> Tensor:
        """Return the same for every image, from 0 to 1."""
        height = torch.ones((), device=images.device)
        for length in images.shape[2:]:
            places = (torch.arange(length, device=images.device) + 0.5) / length - 0.5
            height = height[..., None] * (-0.5 * (places / _SPREAD).square()).exp()
        return height.expand(len(images), *height.shape)


@final
class Edges(Blind):
    """Give every pixel the size of the image's own gradient there, mean over colours: central differences."""

    method = "edges"

    def drawn(self, images: Tensor) -> Tensor:
        """Return what is 0 where the colour does not change."""
        axes = [axis for axis in range(2, images.dim()) if images.shape[axis] > 1]
        slopes = torch.gradient(images, dim=axes)
        return torch.stack([slope.square() for slope in slopes]).sum(0).sqrt().mean(1)


@final
class Constant(Blind):
    """Give every pixel the same."""

    method = "constant"

    def drawn(self, images: Tensor) -> Tensor:
        """Return 1 everywhere."""
        return torch.ones_like(images[:, 0])
