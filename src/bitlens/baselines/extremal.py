"""Extremal perturbation: the mask of a given area under which the score is largest (algorithms F13).

Fong, Patrick and Vedaldi, Understanding deep networks via extremal perturbations and smooth masks (ICCV 2019).
"""

import math
from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.baselines.asking import ImageQuestion
from bitlens.baselines.baseline import ImageBaseline
from bitlens.baselines.masking import COPIES
from bitlens.core.maps import enlarged
from bitlens.core.masks import blurred, smoothing_matrix
from bitlens.core.passes import SeedAndRows
from bitlens.errors import NotFiniteError, SettingError

_SHARPNESS = 20.0  # of the smooth maximum: weights are exp(20 · value)
_REFERENCE_SIZE = 224  # lengths are meant for images whose shorter side has so many pixels
_FINE = 2  # points per cell and side, from which the mask is enlarged bilinearly: at every pixel it costs a pass more
_FAR = 1e-3  # cells whose kernel is smaller than this are left out


@final
class ExtremalPerturbation(ImageBaseline):
    """Find the smooth mask of a given area that keeps the score highest where everything outside it is blurred.

    Costs one full pass, forward and backward, per iteration and area. All lengths are in pixels of an image whose shorter
    side has 224, and grow with the image. Series and volumes have masks over their times and voxels; a table has none, for its
    features have no neighbours.

    Args:
        model: the network.
        areas: the share of the image that the mask keeps, or several shares, whose masks are averaged.
        iterations: optimisation steps.
        step: size of a cell of the mask's parameters.
        sigma: width of the kernel that makes the mask smooth.
        blur: standard deviation of the Gaussian blur where the mask is 0.
        levels: of the pyramid, from fully blurred to the image itself.
        area_weight: weight of the area's loss at the first iteration.
        growth: factor on this weight after every iteration.
        learning_rate: of gradient descent (with momentum 0.9 and dampening 0.9).
        flip: whether every second iteration shows the network the mirrored image; series and volumes are never mirrored.
        **run: as of `Baseline`.
    """

    method = "extremal-perturbation"
    copies = COPIES

    def __init__(
        self,
        model: nn.Module,
        *,
        areas: float | Sequence[float] = 0.1,
        iterations: int = 800,
        step: float = 7.0,
        sigma: float = 21.0,
        blur: float = 20.0,
        levels: int = 8,
        area_weight: float = 300.0,
        growth: float = 1.0035,
        learning_rate: float = 0.01,
        flip: bool = True,
        **run: Unpack[SeedAndRows],
    ) -> None:
        super().__init__(model, **run)
        self.areas = (areas,) if isinstance(areas, int | float) else tuple(areas)
        if not self.areas or not all(0 < area < 1 for area in self.areas):
            raise SettingError(f"areas must be shares between 0 and 1, got {areas!r}")
        self.iterations, self.step, self.sigma, self.blur, self.levels = iterations, step, sigma, blur, levels
        self.area_weight, self.growth, self.learning_rate, self.flip = area_weight, growth, learning_rate, flip
        for name in ("iterations", "step", "sigma", "area_weight", "growth", "learning_rate"):
            if not getattr(self, name) > 0:
                raise SettingError(f"{name} must be positive, got {getattr(self, name)!r}")
        if blur < 0 or levels < 2:
            raise SettingError(f"blur must not be negative and levels at least 2, got {blur!r} and {levels!r}")

    def maps(self, question: ImageQuestion) -> Tensor:
        """Return the masks (n, H, W) in [0, 1], the mean of several if there are several areas."""
        if question.places.unordered:
            raise SettingError(
                f"{self.method} finds smooth masks, and the features of a table have no neighbours: choose kernel-shap, "
                "occlusion or input-iba"
            )
        scale = min(question.size) / _REFERENCE_SIZE
        pyramid = blur_pyramid(question.images, self.blur * scale, self.levels)
        masks = torch.stack([self._mask(question, pyramid, area) for area in self.areas])
        mean = masks.mean(0)
        NotFiniteError.refuse(
            "the mask",
            mean,
            "the network's score or its gradient is not finite for a blurred image: use a smaller blur",
        )
        return mean

    def _mask(self, question: ImageQuestion, pyramid: Tensor, area: float) -> Tensor:
        """Return the mask of one area for every image."""
        scale = min(question.size) / _REFERENCE_SIZE
        grid = MaskGrid(question.images, max(1.0, self.step * scale), self.sigma * scale)
        cells = question.images.new_ones(len(question.images), *grid.shape, requires_grad=True)
        optimizer = torch.optim.SGD([cells], self.learning_rate, momentum=0.9, dampening=0.9)
        weight = self.area_weight
        for iteration in range(self.iterations):
            mask = grid.mask(cells)
            shown = between_levels(pyramid, mask)
            shown = shown.flip(3) if self.flip and iteration % 2 and len(question.size) == 2 else shown
            loss = weight * _area_loss(mask, area) - question.score(shown)
            (cells.grad,) = torch.autograd.grad(loss.sum(), cells)
            optimizer.step()
            with torch.no_grad():
                cells.clamp_(0, 1)
            weight *= self.growth
        with torch.no_grad():
            return grid.mask(cells)


class MaskGrid:
    """Masks that are smooth maxima of kernels, one for each cell of a coarse grid (algorithms F13).

    The mask at a point is the smooth maximum, over the cells around it, of the cell's parameter times
    exp(-2·max(d/sigma - 1/2, 0)²), where d is the cell's distance from the point. Beyond the border the cells at it repeat.

    Args:
        images: (n, C, H, W), whose size, precision and device the masks have.
        step: size of a cell, in pixels, as nearly as whole cells allow.
        sigma: width of the kernel, in pixels.
    """

    def __init__(self, images: Tensor, step: float, sigma: float) -> None:
        self.size = tuple(images.shape[2:])
        self.shape = tuple(max(1, round(size / step)) for size in self.size)
        cell = tuple(size / cells for size, cells in zip(self.size, self.shape, strict=True))
        far = sigma * (0.5 + math.sqrt(-math.log(_FAR) / 2))
        self.reach = tuple(min(int(far / side), cells - 1) for side, cells in zip(cell, self.shape, strict=True))
        self.fine = _FINE if max(cell) > 1 else 1
        points = (torch.arange(self.fine) + 0.5) / self.fine - 0.5  # from the middle of their cell, in cells
        squares, axes = torch.zeros([1] * 2 * len(cell), dtype=torch.float32), len(cell)
        for axis, (reach, side) in enumerate(zip(self.reach, cell, strict=True)):
            along = ((torch.arange(-reach, reach + 1) - points[:, None]) * side).square()
            shape = [len(along) if i == axis else along.shape[1] if i == axis + axes else 1 for i in range(2 * axes)]
            squares = squares + along.reshape(shape)
        distance = squares.flatten(0, axes - 1).flatten(1).sqrt()
        kernel = torch.exp(-2 * (distance / sigma - 0.5).clamp_min(0).square())
        self.kernel = kernel.to(images)  # (points, cells around)

    def mask(self, cells: Tensor) -> Tensor:
        """Return parameters (n, h, w) in [0, 1] as masks (n, H, W) in [0, 1]."""
        # beyond the border cells are repeated: zeros would leave the first masks largest, hence first to stay, at borders
        padded = F.pad(cells[:, None], [reach for reach in reversed(self.reach) for _ in range(2)], mode="replicate")
        points = smooth_maximum(self.kernel[:, :, None] * self._around(padded)[:, None], 2)  # (n, points, h·w)
        axes = len(self.shape)
        fine = points.reshape(len(cells), *[self.fine] * axes, *self.shape)
        fine = fine.permute(0, *(place for axis in range(1, axes + 1) for place in (axis + axes, axis)))
        return enlarged(fine.reshape(len(cells), 1, *(self.fine * size for size in self.shape)), self.size)[:, 0]

    def _around(self, padded: Tensor) -> Tensor:
        """Return the cells around each cell: (n, 1, ...) → (n, cells around, h·w)."""
        widths = [2 * reach + 1 for reach in self.reach]
        if len(widths) == 2:  # as fast as can be
            return F.unfold(padded, tuple(widths))
        for axis, width in enumerate(widths, 2):
            padded = padded.unfold(axis, width, 1)
        return padded.flatten(2 + len(widths)).flatten(1, 1 + len(widths)).transpose(1, 2)


def smooth_maximum(values: Tensor, dim: int) -> Tensor:
    """Return the mean of values weighted by exp(20 · value): between their mean and their maximum, and differentiable."""
    return (torch.softmax(_SHARPNESS * values, dim) * values).sum(dim)


def blur_pyramid(images: Tensor, blur: float, levels: int) -> Tensor:
    """Blur images (n, C, H, W) less and less: (levels, n, C, H, W); σ falls linearly from `blur` to 0 pixels."""
    found = []
    for level in range(levels):
        sigma = blur * (1 - level / (levels - 1))
        found.append(blurred(images, [smoothing_matrix(size, sigma).to(images) for size in images.shape[2:]]))
    return torch.stack(found)


def between_levels(pyramid: Tensor, masks: Tensor) -> Tensor:
    """Take each pixel from the level that its mask says, 0 for the first and 1 for the last, linear in between.

    Args:
        pyramid: (levels, n, C, H, W).
        masks: (n, H, W) in [0, 1].

    Returns:
        (n, C, H, W).
    """
    place = masks * (len(pyramid) - 1)
    lower = place.detach().long().clamp(0, len(pyramid) - 2)
    index = lower[:, None].expand(pyramid.shape[1:])[None]
    below, above = (pyramid.gather(0, i)[0] for i in (index, index + 1))
    return torch.lerp(below, above, (place - lower)[:, None])


def _area_loss(masks: Tensor, area: float) -> Tensor:
    """Return how far the sorted mask is from a share `area` of ones and zeros elsewhere, mean square: (n,)."""
    # the first mask is constant: a stable order is the same everywhere
    ascending = masks.flatten(1).sort(dim=1, stable=True).values
    wanted = torch.zeros_like(ascending)
    wanted[:, round((1 - area) * wanted.shape[1]) :] = 1
    return (ascending - wanted).square().mean(1)
