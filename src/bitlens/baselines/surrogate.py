"""LIME and KernelSHAP: a linear model of the score in terms of which segments of the image are shown.

Ribeiro, Singh and Guestrin, "Why should I trust you?" (KDD 2016); Lundberg and Lee, A unified approach to interpreting
model predictions (NeurIPS 2017). Captum's versions take images and samples one by one, fit with scikit-learn, and keep
the sum of KernelSHAP's values only as far as a large weight goes; here all images share samples and passes, and the
linear models are solved in closed form.
"""

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bitlens.baselines.baseline import Group
from bitlens.baselines.masking import Masking, Replacement
from bitlens.core.passes import Precision
from bitlens.errors import BitlensWarning, SettingError

__all__ = [
    "LIME",
    "KernelSHAP",
    "Segments",
    "grid_of_segments",
    "ridge_values",
    "shapley_coalitions",
    "shapley_values",
]

Segments = int | Tensor | Callable[[Tensor], Any]
"""How images are divided: into about so many cells of a grid, as (H, W) whole numbers say, or as a function says that
takes images (n, C, H, W) as the network does and returns (n, H, W) whole numbers."""


class _Surrogate(Masking):
    """Segments that are shown or covered, and a linear model of the score for every image."""

    def __init__(self, model: nn.Module, segments: Segments, samples: int, **settings: Any) -> None:
        super().__init__(model, **settings)
        if isinstance(segments, int) and segments < 1:
            raise SettingError(f"segments must be at least 1, got {segments}")
        if samples < 2:
            raise SettingError(f"samples must be at least 2, got {samples}")
        self.segments, self.samples = segments, samples

    def settings(self) -> dict[str, Any]:
        """The segments and samples, and what all methods that cover images are told."""
        segments: int | str
        if isinstance(self.segments, int):
            segments = self.segments
        elif isinstance(self.segments, Tensor):
            segments = f"{len(set(self.segments.flatten().tolist()))} given segments"
        else:
            segments = str(getattr(self.segments, "__name__", type(self.segments).__name__))
        return {"segments": segments, "samples": self.samples, **super().settings()}

    @abstractmethod
    def coalitions(self, count: int) -> tuple[Tensor, Tensor]:
        """Which of `count` segments are shown in each pass (P, count), bool, and the weight of each pass (P,)."""

    @abstractmethod
    def fit(self, shown: Tensor, weights: Tensor, answers: Tensor) -> Tensor:
        """A value for every segment (count,) from the scores (P,) of the passes; all of them float64."""

    def maps(self, group: Group) -> Tensor:
        """(n, H, W): every pixel of a segment has the segment's value."""
        segments = self._divided(group.images)
        counts = [number + 1 for number in segments.amax((1, 2)).tolist()]
        if self.samples < max(counts):
            warnings.warn(
                f"{self.samples} samples cannot tell {max(counts)} segments apart: give more samples or fewer segments",
                BitlensWarning,
                stacklevel=2,
            )
        plans = {count: self.coalitions(count) for count in set(counts)}
        shown = torch.zeros(len(counts), max(len(shown) for shown, _ in plans.values()), max(counts), dtype=torch.bool)
        for row, count in zip(shown, counts, strict=True):
            row[: len(plans[count][0]), :count] = plans[count][0]
        places, on_device = segments.flatten(1)[None], shown.to(segments.device)

        def masks(chunk: slice) -> Tensor:
            rows = on_device[:, chunk].transpose(0, 1)
            return rows.gather(2, places.expand(len(rows), -1, -1)).view(len(rows), *segments.shape)

        answers = self.answers(group, shown.shape[1], masks, group.score).cpu().double()
        maps = []
        for own, answer, count in zip(segments, answers, counts, strict=True):
            coalitions, weights = plans[count]
            values = self.fit(coalitions.double(), weights, answer[: len(weights)])
            maps.append(values.float().to(own.device)[own])
        return torch.stack(maps)

    def _divided(self, images: Tensor) -> Tensor:
        """The number of each pixel's segment (n, H, W), from 0 without gaps."""
        count, (height, width) = len(images), images.shape[2:]
        if isinstance(self.segments, int):
            return grid_of_segments(self.segments, height, width).to(images.device).expand(count, -1, -1)
        shared = isinstance(self.segments, Tensor)
        given = self.segments if isinstance(self.segments, Tensor) else torch.as_tensor(self.segments(images))
        expected = (height, width) if shared else (count, height, width)
        if tuple(given.shape) != expected or given.is_floating_point() or given.is_complex():
            raise SettingError(f"segments must be whole numbers {expected}, got {given.dtype} {tuple(given.shape)}")
        each = given[None] if shared else given
        return torch.stack([_numbered(segments) for segments in each.to(images.device)]).expand(count, -1, -1)


class LIME(_Surrogate):
    """How much each segment adds to the score near this image, by a ridge regression on randomly covered copies.

    Every segment is shown with probability 1/2. A copy weighs exp(-d²/width²), where d is the cosine distance of its
    shown segments from all of them. On SqueezeNet, maps of two seeds agree to a correlation of 0.9.

    Args:
        model: the network.
        segments: how images are divided: into about so many cells of a grid; as (H, W) whole numbers say, one for each
            segment, the same for all images; or by a function that takes images (n, C, H, W) as the network does and
            returns (n, H, W) whole numbers (superpixels of some other library, for example).
        samples: covered copies of each image, one pass each.
        width: of the kernel, in units of the cosine distance.
        ridge: penalty on the squares of the values, in units of a sample's weight; 0 for plain least squares.
        replacement: of what is covered: "mean-colour" (of each image, per channel), "zero", or a number.
        precision: of the network: "float32", "bfloat16", or "auto" (bfloat16 where the hardware multiplies it natively).
        seed: of the copies.
        internal_batch_size: how many rows go through the network at once; "auto" bounds the memory.

    Raises:
        SettingError: if a setting has a value that makes no sense.
    """

    method = "lime"

    def __init__(
        self,
        model: nn.Module,
        *,
        segments: Segments = 49,
        samples: int = 1000,
        width: float = 0.25,
        ridge: float = 1.0,
        replacement: Replacement = "mean-colour",
        precision: Precision = "float32",
        seed: int = 0,
        internal_batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(
            model,
            segments,
            samples,
            replacement=replacement,
            precision=precision,
            seed=seed,
            internal_batch_size=internal_batch_size,
        )
        if not width > 0 or not ridge >= 0:
            raise SettingError(f"width must be positive and ridge not negative, got {width} and {ridge}")
        self.width, self.ridge = width, ridge

    def settings(self) -> dict[str, Any]:
        """The kernel and penalty, and what is told to KernelSHAP, too."""
        return {"width": self.width, "ridge": self.ridge, **super().settings()}

    def coalitions(self, count: int) -> tuple[Tensor, Tensor]:
        """The whole image first, then copies in which every segment is shown with probability 1/2."""
        shown = torch.rand(self.samples, count, generator=torch.Generator().manual_seed(self.seed)) < 0.5
        shown[0] = True
        distance = 1 - (shown.sum(1).double() / count).sqrt()  # the cosine of shown and (1, ..., 1) is √(|shown|/M)
        return shown, torch.exp(-((distance / self.width) ** 2))

    def fit(self, shown: Tensor, weights: Tensor, answers: Tensor) -> Tensor:
        """Coefficients of the weighted ridge regression."""
        return ridge_values(shown, weights, answers, self.ridge)


class KernelSHAP(_Surrogate):
    """Shapley values of the segments: the score is a game, a covered segment has left it.

    The values are those of the linear model that fits the scores of coalitions best under the Shapley kernel, and whose
    values sum to the score of the image minus that of the wholly covered image: exactly, by a constraint (Lundberg and
    Lee, theorem 2). Coalitions are drawn with their complements (Covert and Lee, AISTATS 2021); if there are no more than
    `samples`, all of them are taken, and the values are exact. More segments want many more samples: on SqueezeNet, maps
    of two seeds with 1,000 samples agree to a correlation of 0.95 for 25 segments, but of 0.8 for 36.

    Args:
        model: the network.
        segments: how images are divided, as in `LIME`.
        samples: coalitions for each image, one pass each; with two more passes for the image and the covered image.
        replacement: of what is covered: "mean-colour" (of each image, per channel), "zero", or a number.
        precision: of the network: "float32", "bfloat16", or "auto" (bfloat16 where the hardware multiplies it natively).
        seed: of the coalitions.
        internal_batch_size: how many rows go through the network at once; "auto" bounds the memory.

    Raises:
        SettingError: if a setting has a value that makes no sense.
    """

    method = "kernel-shap"

    def __init__(
        self,
        model: nn.Module,
        *,
        segments: Segments = 25,
        samples: int = 1000,
        replacement: Replacement = "mean-colour",
        precision: Precision = "float32",
        seed: int = 0,
        internal_batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(
            model,
            segments,
            samples,
            replacement=replacement,
            precision=precision,
            seed=seed,
            internal_batch_size=internal_batch_size,
        )

    def coalitions(self, count: int) -> tuple[Tensor, Tensor]:
        """None, all, and what lies between."""
        return shapley_coalitions(count, self.samples, self.seed)

    def fit(self, shown: Tensor, weights: Tensor, answers: Tensor) -> Tensor:
        """Values whose sum is answers[1] - answers[0]."""
        return shapley_values(shown, weights, answers)


def grid_of_segments(count: int, height: int, width: int) -> Tensor:
    """About `count` nearly square cells of nearly equal size: their numbers (H, W), row by row from 0."""
    rows = min(height, max(1, round(math.sqrt(count * height / width))))
    columns = min(width, max(1, round(count / rows)))
    return (torch.arange(height) * rows // height)[:, None] * columns + torch.arange(width) * columns // width


def _numbered(segments: Tensor) -> Tensor:
    """The same segments (H, W) with numbers from 0 without gaps."""
    numbers: Tensor = torch.unique(segments, return_inverse=True)[1]
    return numbers


def ridge_values(shown: Tensor, weights: Tensor, answers: Tensor, ridge: float) -> Tensor:
    """Coefficients (count,) of a weighted ridge regression, its intercept without penalty; all of them float64.

    Args:
        shown: (P, count), 1 where a part is shown.
        weights: (P,) of the passes.
        answers: (P,) scores of the passes.
        ridge: penalty on the squares of the coefficients.
    """
    share = weights / weights.sum()
    centred, rest = shown - share @ shown, answers - share @ answers
    weighted = centred.T * weights
    return _solved(weighted @ centred + ridge * torch.eye(shown.shape[1]).double(), weighted @ rest)


def shapley_values(shown: Tensor, weights: Tensor, answers: Tensor) -> Tensor:
    """Values (count,) of a linear model whose sum is answers[1] - answers[0], by a Lagrange multiplier; all float64.

    Args:
        shown: (P, count), 1 where a part is shown: none, all, and what lies between.
        weights: (P,) of the passes.
        answers: (P,) scores of the passes.
    """
    count = shown.shape[1]
    nothing, everything = answers[:2]
    weighted = shown.T * weights
    system = torch.ones(count + 1, count + 1).double()
    system[:count, :count] = weighted @ shown
    system[count, count] = 0
    right = torch.cat([weighted @ (answers - nothing), (everything - nothing)[None]])
    return _solved(system, right)[:count]


def shapley_coalitions(count: int, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """None of `count` parts, all, and coalitions between (P, count), bool, with weights (P,) after the Shapley kernel.

    The ends have no weight, for they are a constraint.
    """
    between, weights = _between(count, samples, seed)
    ends = torch.tensor([[False], [True]]).expand(2, count)
    return torch.cat([ends, between]), torch.cat([torch.zeros(2).double(), weights])


def _between(count: int, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Coalitions (S, count), neither empty nor full, and weights (S,) that make them follow the Shapley kernel."""
    sizes = torch.arange(1, count)
    of_size = (count - 1) / (sizes * (count - sizes)).double()  # the kernel's sum over all coalitions of a size
    if 2**count - 2 <= samples:
        shown = (torch.arange(1, 2**count - 1)[:, None] >> torch.arange(count)) % 2 == 1
        how_many = torch.tensor([math.comb(count, size) for size in range(1, count)]).double()
        return shown, (of_size / how_many)[shown.sum(1) - 1]
    generator = torch.Generator().manual_seed(seed)
    drawn = 1 + torch.multinomial(of_size, samples // 2, replacement=True, generator=generator)
    ranks = torch.rand(len(drawn), count, generator=generator).argsort(1).argsort(1)
    shown = ranks < drawn[:, None]
    return torch.cat([shown, ~shown]), torch.ones(2 * len(shown)).double()


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    """The solution of a linear system, the shortest one if there are several (fewer samples than segments)."""
    solution: Tensor = torch.linalg.lstsq(matrix, right[:, None], driver="gelsd").solution
    return solution[:, 0]
