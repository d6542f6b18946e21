"""LIME and KernelSHAP: a linear model of the score in terms of which segments of an image, or tokens of a text, are there.

For the papers see `linear_models`. All images of a group share samples and passes. Every token has its own coefficient
(algorithms E6: no token counts as the most important because it is missing from a list of features).
"""

import math
import warnings
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.baselines.asking import ImageQuestion, TextModel, TextQuestion
from bitlens.baselines.changes import Removal
from bitlens.baselines.linear_models import LinearModel, Ridge, Shapley, Sparse
from bitlens.baselines.masking import COPIES, Cover, Covering, Removing
from bitlens.core.passes import RunOptions
from bitlens.data.passages import Unit, units_of
from bitlens.errors import BitlensWarning, NotFiniteError, SettingError, at_least, one_of_literal

Segments = int | Tensor | Callable[[Tensor], Any]
"""How images are divided: into about so many cells of a grid (windows of a series, blocks of a volume; in a table each feature is
one), as (H, W) whole numbers say, or as a function says that takes inputs with their channels first, images (n, C, H, W), and
returns (n, H, W) whole numbers; `supervoxels` is one."""


class _Segments(Covering):
    """Segments that are shown or covered, and a linear model of the score for every image."""

    linear: LinearModel

    def __init__(self, model: nn.Module, *, segments: Segments, replacement: Cover, **run: Unpack[RunOptions]) -> None:
        super().__init__(model, replacement=replacement, **run)
        if isinstance(segments, int):
            at_least(1, segments=segments)
        self.segments = segments

    @property
    def samples(self) -> int:
        """The number of covered copies of an image."""
        return self.linear.samples

    def choices(self) -> dict[str, Any]:
        """Return what the constructor takes, segments that are no number in words."""
        told: int | str
        if isinstance(self.segments, int):
            told = self.segments
        elif isinstance(self.segments, Tensor):
            told = f"{len(set(self.segments.flatten().tolist()))} given segments"
        else:
            told = str(getattr(self.segments, "__name__", type(self.segments).__name__))
        return super().choices() | {"segments": told}

    def maps(self, question: ImageQuestion) -> Tensor:
        """Return maps (n, H, W): every pixel of a segment has the segment's value."""
        segments = self._divided(question)
        counts = [number + 1 for number in segments.flatten(1).amax(1).tolist()]
        if self.linear.samples < max(counts):
            warnings.warn(
                f"{self.linear.samples} samples cannot tell {max(counts)} segments apart: give more samples or fewer segments",
                BitlensWarning,
                stacklevel=2,
            )
        plans = {count: self.linear.coalitions(count, self.seed) for count in set(counts)}
        shown = torch.zeros(len(counts), max(len(shown) for shown, _ in plans.values()), max(counts), dtype=torch.bool)
        for row, count in zip(shown, counts, strict=True):
            row[: len(plans[count][0]), :count] = plans[count][0]
        places, on_device = segments.flatten(1)[None], shown.to(segments.device)

        def masks(chunk: slice) -> Tensor:
            rows = on_device[:, chunk].transpose(0, 1)
            return rows.gather(2, places.expand(len(rows), -1, -1)).view(len(rows), *segments.shape)

        answers = self.answers(question, shown.shape[1], masks, question.score).cpu().double()
        NotFiniteError.refuse("the score of covered copies", answers)
        maps = []
        for own, answer, count in zip(segments, answers, counts, strict=True):
            coalitions, weights = plans[count]
            values = self.linear.fit(coalitions.double(), weights, answer[: len(weights)])
            maps.append(values.float().to(own.device)[own])
        return torch.stack(maps)

    def _divided(self, question: ImageQuestion) -> Tensor:
        """Return the number of each pixel's segment (n, H, W), from 0 without gaps."""
        images, size = question.images, question.size
        count = len(images)
        if isinstance(self.segments, int):
            cells = math.prod(size) if question.places.unordered else self.segments
            return grid_of_segments(cells, *size).to(images.device).expand(count, *size)
        shared = isinstance(self.segments, Tensor)
        given = self.segments if isinstance(self.segments, Tensor) else torch.as_tensor(self.segments(images))
        expected = size if shared else (count, *size)
        if tuple(given.shape) != expected or given.is_floating_point() or given.is_complex():
            raise SettingError(f"segments must be whole numbers {expected}, got {given.dtype} {tuple(given.shape)}")
        each = given[None] if shared else given
        numbered = [torch.unique(segments, return_inverse=True)[1] for segments in each.to(images.device)]
        return torch.stack(numbered).expand(count, *size)


class _Tokens(Removing):
    """Tokens, or units of several, that are there or not, and a linear model of the score for every text."""

    copies = COPIES
    linear: LinearModel
    unit: Unit = "token"

    @property
    def samples(self) -> int:
        """The number of shortened copies of a text."""
        return self.linear.samples

    def maps(self, question: TextQuestion) -> Tensor:
        """Return maps (n, T)."""
        real = question.batch.real
        maps = torch.zeros(real.shape, dtype=torch.float32)
        for row, (own, units) in enumerate(zip(real.cpu(), units_of(question.batch, self.unit).cpu(), strict=True)):
            tokens = units[own].bincount()
            shown, weights = self.linear.coalitions(len(tokens), self.seed)
            removed = torch.zeros(len(shown), real.shape[1], dtype=torch.bool)
            removed[:, own] = ~shown[:, units[own]]
            rows = torch.full((len(shown),), row, device=real.device)
            answers = question.without(removed.to(real.device), rows, self.removal)
            if not bool(torch.isfinite(answers).all()):
                raise NotFiniteError("the score of shortened copies", row)
            values = self.linear.fit(shown.double(), weights, answers.cpu().double())
            maps[row, own] = (values / tokens)[units[own]].float()
        return maps.to(real.device)


@final
class LIME(_Segments):
    """Give every segment what it adds to the score near this image, by a ridge regression on randomly covered copies.

    Every segment is shown with probability 1/2. A copy weighs exp(-d²/width²), where d is the cosine distance of its
    shown segments from all of them. On SqueezeNet, maps of two seeds agree to a correlation of 0.9.

    Args:
        model: the network.
        segments: how images are divided: into about so many cells of a grid; as (H, W) whole numbers say, one for each
            segment, the same for all images; or by a function that takes images (n, C, H, W) and returns (n, H, W) whole
            numbers (`supervoxels`, or those of some other library). Of other inputs see `Segments`.
        samples: covered copies of each image, one pass each.
        width: of the kernel, in units of the cosine distance.
        ridge: penalty on the squares of the values, in units of a sample's weight; 0 for plain least squares.
        replacement: of what is covered: "mean-colour" (of each image, per channel), "zero", or a number.
        **run: as of `Baseline`.
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
        replacement: Cover = "mean-colour",
        **run: Unpack[RunOptions],
    ) -> None:
        super().__init__(model, segments=segments, replacement=replacement, **run)
        self.linear = Ridge(samples, width, ridge, _one_in_two, spread=1)
        self.width, self.ridge = width, ridge


@final
class TextLIME(_Tokens):
    """Give every token what it adds to the score near this text, by a ridge regression on texts with tokens removed.

    Ribeiro et al., KDD 2016. As in their package the number of removed tokens is drawn evenly, and a copy weighs
    exp(-d²/(2·width²)), where d is the cosine distance of its tokens from all of them; unlike there the score is explained,
    not the probability, and every token has a coefficient.

    Args:
        loaded: the network, its tokenizer, and the name of its word embedding.
        samples: copies of each text, one pass each; 200 in Zhang et al. (NeurIPS 2021), 100 in Jiang et al. (2020).
        width: of the kernel, in units of the cosine distance.
        ridge: penalty on the squares of the coefficients, in units of a sample's weight; 0 for plain least squares.
        removal: "replace" puts the mask token in a token's place, "delete" lets the others move together.
        **run: as of `Baseline`.
    """

    method = "lime"

    def __init__(
        self,
        loaded: TextModel,
        *,
        samples: int = 500,
        width: float = 0.25,
        ridge: float = 1.0,
        removal: Removal = "replace",
        **run: Unpack[RunOptions],
    ) -> None:
        super().__init__(loaded, removal=removal, **run)
        self.linear = Ridge(samples, width, ridge, _any_number, spread=2)
        self.width, self.ridge = width, ridge


@final
class KernelSHAP(_Segments):
    """Give every segment its Shapley value: the score is a game, a covered segment has left it.

    The values sum exactly to the score of the image minus that of the wholly covered image; see `Shapley`. More segments want
    many more samples: on SqueezeNet, maps of two seeds with 1,000 samples agree to a correlation of 0.95 for 25 segments,
    but of 0.8 for 36.

    Args:
        model: the network.
        segments: how images are divided, as in `LIME`.
        samples: coalitions for each image, one pass each; with two more passes for the image and the covered image.
        replacement: of what is covered: "mean-colour" (of each image, per channel), "zero", or a number.
        **run: as of `Baseline`.
    """

    method = "kernel-shap"

    def __init__(
        self,
        model: nn.Module,
        *,
        segments: Segments = 25,
        samples: int = 1000,
        replacement: Cover = "mean-colour",
        **run: Unpack[RunOptions],
    ) -> None:
        super().__init__(model, segments=segments, replacement=replacement, **run)
        self.linear = Shapley(samples)


@final
class TextKernelSHAP(_Tokens):
    """Give every token its Shapley value: the score is a game, a removed token has left it.

    Lundberg and Lee, NeurIPS 2017. A map sums exactly to the score of the text minus that of the text without any token;
    see `Shapley`.

    Args:
        loaded: the network, its tokenizer, and the name of its word embedding.
        samples: coalitions for each text, one pass each; with two more passes for the text and the empty text.
        removal: "replace" puts the mask token in a token's place, "delete" lets the others move together.
        **run: as of `Baseline`.
    """

    method = "kernel-shap"

    def __init__(
        self, loaded: TextModel, *, samples: int = 500, removal: Removal = "replace", **run: Unpack[RunOptions]
    ) -> None:
        super().__init__(loaded, removal=removal, **run)
        self.linear = Shapley(samples)


@final
class ContextCite(_Tokens):
    """Give sentences of a text what each adds to the score, by a LASSO on texts of which half the sentences are left out.

    Cohen-Wang et al., ContextCite: Attributing Model Generation to Context (NeurIPS 2024), for language models: the score is
    the log-odds of the answer. A sentence's value is shared by its tokens. Needs scikit-learn.

    Args:
        loaded: the network, its tokenizer, and the name of its word embedding.
        samples: ablations of each text, one pass each.
        penalty: of the LASSO; the larger, the fewer sentences have a value.
        unit: what is left out as a whole: "token", "word" or "sentence".
        removal: "delete" lets the others move together, "replace" puts the mask token in a token's place.
        **run: as of `Baseline`.
    """

    method = "context-cite"

    def __init__(
        self,
        loaded: TextModel,
        *,
        samples: int = 64,
        penalty: float = 0.01,
        unit: Unit = "sentence",
        removal: Removal = "delete",
        **run: Unpack[RunOptions],
    ) -> None:
        super().__init__(loaded, removal=removal, **run)
        self.linear = Sparse(samples, penalty)
        self.penalty, self.unit = penalty, one_of_literal("unit", unit, Unit)


def _one_in_two(samples: int, count: int, generator: torch.Generator) -> Tensor:
    """Show every part with probability 1/2."""
    return torch.rand(samples, count, dtype=torch.float32, generator=generator) < 0.5


def _any_number(samples: int, count: int, generator: torch.Generator) -> Tensor:
    """Take 1 to all parts away, each number as often as any other."""
    ranks = torch.rand(samples, count, dtype=torch.float32, generator=generator).argsort(1).argsort(1)
    return ranks >= torch.randint(1, count + 1, (samples, 1), generator=generator)


def grid_of_segments(count: int, *size: int) -> Tensor:
    """Divide (H, W), or any number of axes, into about `count` nearly cubic cells of nearly equal size, numbered from 0."""
    numbers, left, rest = torch.zeros((), dtype=torch.long), float(count), list(size)
    for axis, length in enumerate(size):
        along = len(size) - axis
        mean = math.prod(rest) ** (1 / along)  # cells as long as they are wide: their share of the root of what is left
        cells = min(length, max(1, round(left ** (1 / along) * length / mean)))
        numbers = numbers[..., None] * cells + torch.arange(length) * cells // length
        left, rest = left / cells, rest[1:]
    return numbers


def supervoxels(count: int, compactness: float = 0.1) -> Callable[[Tensor], Tensor]:
    """Return a way to divide images or volumes into about `count` segments of like values (SLIC, of scikit-image).

    Args:
        count: about how many.
        compactness: how much nearness counts beside likeness of values, of which each input's range is 1.
    """
    at_least(2, count=count)

    def divided(inputs: Tensor) -> Tensor:
        from skimage.segmentation import slic

        segment: Any = slic  # untyped
        found = []
        for one in inputs.movedim(1, -1).double().cpu():
            spread = (one - one.amin()) / (one.amax() - one.amin()).clamp_min(1e-12)
            parts = segment(spread.numpy(), count, compactness, channel_axis=-1, start_label=0)
            found.append(torch.from_numpy(parts))
        return torch.stack(found)

    divided.__name__ = f"{count} supervoxels"
    return divided
