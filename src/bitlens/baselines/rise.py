"""RISE: the target's probability under random masks, averaged for every pixel over the masks that show it.

Petsiuk, Das and Saenko, RISE: Randomized Input Sampling for Explanation of Black-box Models (BMVC 2018).
"""

import math
from collections.abc import Callable
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.baselines.asking import ImageQuestion
from bitlens.baselines.masking import Cover, Covering
from bitlens.core.passes import RunOptions
from bitlens.errors import SettingError, at_least


@final
class RISE(Covering):
    """Average the target's probability over random masks, weighted for every pixel by how much a mask shows of it.

    Values are probabilities (for targets without one, whatever `Target.value` says), not falls of them: what counts is
    where they are larger, not where they are positive. All images see the same masks.

    Args:
        model: the network.
        samples: masks, one pass each. The paper takes 4,000 for VGG-16 and 8,000 for ResNet-50, but divides by a constant
            where this divides by how much was really shown; 1,000 repeat as well as 4,000 so.
        grid: cells of a mask along each side; in a table, whose features have no neighbours, each is shown or hidden by itself.
        share: the probability of a cell to be shown.
        replacement: of what is hidden: "zero" (the paper), "mean-colour" (of each image) or a number.
        **run: as of `Baseline`.
    """

    method = "rise"

    def __init__(
        self,
        model: nn.Module,
        *,
        samples: int = 1000,
        grid: int = 7,
        share: float = 0.5,
        replacement: Cover = "zero",
        **run: Unpack[RunOptions],
    ) -> None:
        super().__init__(model, replacement=replacement, **run)
        at_least(1, samples=samples, grid=grid)
        if not 0 < share < 1:
            raise SettingError(f"share must be between 0 and 1, got {share}")
        self.samples, self.grid, self.share = samples, grid, share

    def maps(self, question: ImageQuestion) -> Tensor:
        """Return maps (n, H, W)."""
        if question.places.unordered:
            draw = random_cells(self.samples, self.share, question.images, self.seed)
        else:
            draw = random_masks(self.samples, self.grid, self.share, question.images, self.seed)
        values = self.answers(question, self.samples, lambda chunk: draw(chunk)[:, None], question.value)
        seen = values.new_zeros(1 + len(values), math.prod(question.size))
        for start in range(0, self.samples, question.rows):  # drawn once more: less work than to keep them all
            chunk = slice(start, min(start + question.rows, self.samples))
            weights = torch.cat([torch.ones_like(values[:1, chunk]), values[:, chunk]])
            seen += weights @ draw(chunk).to(values.dtype).flatten(1)
        # The paper divides by how often a pixel is shown in expectation. To divide by what was shown has the same limit and
        # a quarter of the cost: 1,000 masks agree with 1,000 others as 4,000 do by the paper's formula (correlation 0.94).
        return (seen[1:] / seen[0].clamp_min(torch.finfo(seen.dtype).tiny)).view(-1, *question.size)


def random_masks(samples: int, grid: int, share: float, images: Tensor, seed: int) -> Callable[[slice], Tensor]:
    """Draw masks as in the paper: cells shown at random, enlarged linearly along each axis, shifted by less than one cell.

    Args:
        samples: how many masks there are.
        grid: cells along each side of an image.
        share: the probability of a cell to be shown.
        images: (n, C, H, W), whose size, precision and device the masks have; of series or volumes other places.
        seed: of the masks.

    Returns:
        A function from a slice of the masks' numbers to these masks (k, H, W), in [0, 1] with mean `share`.
    """
    generator = torch.Generator().manual_seed(seed)
    size = tuple(images.shape[2:])
    cells = (torch.rand(samples, *[grid] * len(size), dtype=torch.float32, generator=generator) < share).to(images)
    shifted = []
    for length in size:
        windows = _shifted_enlargements(length, grid)
        shifts = torch.randint(windows.shape[1], (samples,), generator=generator)
        shifted.append((windows.to(images), shifts.to(images.device)))

    def draw(chunk: slice) -> Tensor:
        masks = cells[chunk]
        for (
            windows,
            shifts,
        ) in shifted:  # the axis that comes first goes last: after all of them they are in order again
            masks = torch.einsum("kg...,gkl->k...l", masks, windows[:, shifts[chunk]])
        return masks

    return draw


def random_cells(samples: int, share: float, images: Tensor, seed: int) -> Callable[[slice], Tensor]:
    """Draw masks that show each place by itself or not; for arguments see `random_masks`."""
    generator = torch.Generator().manual_seed(seed)
    masks = (torch.rand(samples, *images.shape[2:], dtype=torch.float32, generator=generator) < share).to(images)
    return masks.__getitem__


def _shifted_enlargements(size: int, grid: int) -> Tensor:
    """Enlarge `grid` cells bilinearly to more than `size` pixels, cut out at every shift: (grid, shifts, size)."""
    cell = -(-size // grid)
    enlargement = F.interpolate(torch.eye(grid)[None], (grid + 1) * cell, mode="linear", align_corners=False)[0]
    return enlargement.unfold(1, size, 1)[:, :cell]
