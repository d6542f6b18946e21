"""What the gradient of the score says of each pixel or token: at the input, on the way to it, and around it.

Of texts only the word embedding changes; positions, token types and special tokens stay what they are.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.baselines.asking import ImageQuestion, TextModel, TextQuestion, gradient_of
from bitlens.baselines.baseline import ImageBaseline, TextBaseline
from bitlens.baselines.masking import Cover, colour_of, fingerprint
from bitlens.core.noise import NoisyCopies
from bitlens.core.passes import SeedAndRows
from bitlens.core.targets import Target
from bitlens.errors import BitlensWarning, SettingError, at_least, one_of
from bitlens.probe import Probe

Reduction = Literal["mean", "abs-max"]
"""From colour channels to one number per pixel: the signed mean, or the largest absolute value."""

REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda values: values.mean(1),
    "abs-max": lambda values: values.abs().amax(1),
}

Start = Literal["zero", "pad", "mask"]
"""Where integrated gradients of texts begin: at zero, or at the embedding of the padding or the mask token."""


@dataclass(frozen=True)
class Embedded:
    """Texts as vectors.

    Attributes:
        vectors: (n, T, D) word embeddings of n texts.
        run: (R, T, D) → output; row b*n + i is a variant of text i.
        target: what is asked about the texts.
    """

    vectors: Tensor
    run: Callable[[Tensor], Any]
    target: Target

    def gradient(self, variants: Tensor) -> Tensor:
        """Return the gradient of every variant's score with respect to it, (R, T, D); see `gradient_of`."""
        return gradient_of(lambda leaf: self.target.score(self.run(leaf)), variants, "word embedding")


class OnEmbeddings(TextBaseline):
    """A method that looks at the network behind its word embedding; for what it takes see `TextBaseline`.

    Raises:
        LayerError: if the network has no such embedding.
    """

    def __init__(self, loaded: TextModel, **run: Unpack[SeedAndRows]) -> None:
        super().__init__(loaded, **run)
        self.probe = Probe(loaded.model, loaded.embedding)
        self.layer = self.probe.name

    @contextmanager
    def embedded(self, question: TextQuestion) -> Iterator[Embedded]:
        """Hold the network so that it answers for changed embeddings of the texts."""
        recording = self.probe.record(question.batch.inputs)
        around = self.probe.around(question.batch.inputs)
        if around.share:
            warnings.warn(
                f"the text also reaches the output past {self.probe.name!r} (a decoder reads it again, perhaps), which gradients "
                "there leave out: compare with occlusion, which changes the text itself",
                BitlensWarning,
                stacklevel=5,
            )
        with recording.suffix() as run:
            yield Embedded(recording.features, run, question.target)


@final
class Gradient(ImageBaseline):
    """Give every pixel the gradient of the score, its signed mean over the colour channels.

    Schulz et al., appendix; algorithms F3.
    """

    method = "gradient"

    def maps(self, question: ImageQuestion) -> Tensor:
        """Return maps (n, H, W)."""
        return question.gradient(question.images).mean(1)


@final
class Saliency(ImageBaseline):
    """Give every pixel the largest absolute value of the gradient over the colour channels.

    Simonyan et al. 2014; algorithms F4.
    """

    method = "saliency"

    def maps(self, question: ImageQuestion) -> Tensor:
        """Return maps (n, H, W), at least 0."""
        return question.gradient(question.images).abs().amax(1)


@final
class TextSaliency(OnEmbeddings):
    """Give every token the Euclidean norm of the gradient at its embedding.

    Simonyan et al. 2014; Li et al. 2016 for texts.
    """

    method = "saliency"

    def maps(self, question: TextQuestion) -> Tensor:
        """Return maps (n, T), at least 0."""
        with self.embedded(question) as embedded:
            norms: Tensor = torch.linalg.vector_norm(embedded.gradient(embedded.vectors), dim=2)
            return norms


@final
class GradientXInput(ImageBaseline):
    """Give every pixel the gradient times the image, signed mean over the colour channels (Shrikumar et al. 2016)."""

    method = "gradient-x-input"

    def maps(self, question: ImageQuestion) -> Tensor:
        """Return maps (n, H, W)."""
        return (question.gradient(question.images) * question.images).mean(1)


@final
class TextGradientXInput(OnEmbeddings):
    """Give every token the gradient times the embedding, summed over its dimensions (Shrikumar et al. 2016)."""

    method = "gradient-x-input"

    def maps(self, question: TextQuestion) -> Tensor:
        """Return maps (n, T)."""
        with self.embedded(question) as embedded:
            return (embedded.gradient(embedded.vectors) * embedded.vectors).sum(2)


@final
class IntegratedGradients(ImageBaseline):
    """Average the gradient along the straight way from a baseline to the image (Sundararajan et al. 2017; algorithms F6).

    With `multiply` and reduce="mean" a map's sum, times the number of channels, is the score of the image minus the
    score of the baseline, up to the error of the integration. Schulz et al. used baseline="mean-colour" and
    multiply=False.

    Args:
        model: the network.
        steps: points on the way, those of the Gauss-Legendre quadrature.
        baseline: "zero" (grey, for normalised images), "mean-colour" (of each image, per channel), a number for all
            channels, or an image (C, H, W) or colour (C, 1, 1) as the network takes it; one series, volume or row of a table
            alike.
        multiply: whether the mean gradient is multiplied by image minus baseline.
        reduce: over channels: "mean" (signed) or "abs-max".
        **run: as of `Baseline`.
    """

    method = "integrated-gradients"

    def __init__(
        self,
        model: nn.Module,
        *,
        steps: int = 50,
        baseline: Cover = "zero",
        multiply: bool = True,
        reduce: Reduction = "mean",
        **run: Unpack[SeedAndRows],
    ) -> None:
        super().__init__(model, **run)
        at_least(1, steps=steps)
        self.steps, self.multiply = steps, multiply
        if isinstance(baseline, str):
            one_of("baseline", baseline, {"zero": None, "mean-colour": None})
        elif not isinstance(baseline, Tensor | int | float):
            raise SettingError(
                f"baseline must be 'zero', 'mean-colour', a number or an image (C, H, W), got {baseline!r}"
            )
        elif isinstance(baseline, Tensor) and not 1 <= baseline.dim() <= 4:
            raise SettingError(
                f"baseline must be one input, an image (C, H, W) or colour (C, 1, 1) for example, got {tuple(baseline.shape)}"
            )
        self.baseline, self.reduce = baseline, reduce
        self._reduced = one_of("reduce", reduce, REDUCTIONS)

    def choices(self) -> dict[str, Any]:
        """Return points, baseline (an image by its fingerprint), and what is made of the gradients."""
        own = super().choices()
        return own | ({"baseline": f"image {fingerprint(self.baseline)}"} if isinstance(self.baseline, Tensor) else {})

    def maps(self, question: ImageQuestion) -> Tensor:
        """Return maps (n, H, W)."""
        start = colour_of(question, self.baseline, "baseline").expand_as(question.images)
        values = mean_gradient(question.gradient, start, question.images, self.steps, question.rows)
        return self._reduced(values * (question.images - start) if self.multiply else values)


@final
class TextIntegratedGradients(OnEmbeddings):
    """Average the gradient along the straight way from a text of nothing to this one, times their difference.

    Sundararajan et al. 2017; algorithms F15. Summed over the embedding's dimensions. Special tokens and padding do not
    move: a map's sum is the score of the text minus that of the text where every token is the baseline, up to the error of
    the integration.

    Args:
        loaded: the network, its tokenizer, and the name of its word embedding.
        steps: points on the way, those of the Gauss-Legendre quadrature.
        baseline: "zero" vectors, or the embedding of the "pad" or the "mask" token.
        **run: as of `Baseline`.
    """

    method = "integrated-gradients"

    def __init__(
        self, loaded: TextModel, *, steps: int = 50, baseline: Start = "pad", **run: Unpack[SeedAndRows]
    ) -> None:
        super().__init__(loaded, **run)
        tokens = {"zero": None, "pad": loaded.tokenizer.pad_id, "mask": loaded.tokenizer.mask_id}
        self._start_id = one_of("baseline", baseline, tokens)
        at_least(1, steps=steps)
        self.steps, self.baseline = steps, baseline

    def maps(self, question: TextQuestion) -> Tensor:
        """Return maps (n, T)."""
        nothing = self._nothing(question)
        with self.embedded(question) as embedded:
            start = torch.where(question.batch.real[..., None], nothing, embedded.vectors)
            slope = mean_gradient(embedded.gradient, start, embedded.vectors, self.steps, question.rows)
        return (slope * (embedded.vectors - start)).sum(2)

    def _nothing(self, question: TextQuestion) -> Tensor:
        """Return what every token of the text becomes: (n, T, D), or () for zero."""
        if self._start_id is None:
            return torch.zeros((), device=question.batch.real.device)
        inputs = question.batch.inputs
        self.probe.size(inputs)  # what must be measured is measured with the text, not with one of nothing
        ids = torch.where(
            question.batch.real, self._start_id, inputs["input_ids"]
        )  # some networks ask for their special tokens
        return self.probe.features({**inputs, "input_ids": ids})


@final
class SmoothGrad(ImageBaseline):
    """Average the gradient over noisy copies of the image (Smilkov et al. 2017; algorithms F7).

    Schulz et al. do not say how they reduced the channels. The default is unsigned, as SmoothGrad's own authors draw it:
    the published scores are far above those of a signed gradient.

    All images get the same noise, each in its own strength, whatever the batch.

    Args:
        model: the network.
        noise_samples: copies.
        noise: standard deviation of the Gaussian noise, as a share of each image's range (its maximum minus its minimum).
        reduce: over channels, for every copy: "abs-max" or "mean" (signed).
        **run: as of `Baseline`.
    """

    method = "smoothgrad"

    def __init__(
        self,
        model: nn.Module,
        *,
        noise_samples: int = 50,
        noise: float = 0.15,
        reduce: Reduction = "abs-max",
        **run: Unpack[SeedAndRows],
    ) -> None:
        super().__init__(model, **run)
        at_least(1, noise_samples=noise_samples)
        if not noise >= 0:
            raise SettingError(f"noise must be a share of the image's range, 0 or more, got {noise!r}")
        self.noise_samples, self.noise, self.reduce = noise_samples, noise, reduce
        self._reduced = one_of("reduce", reduce, REDUCTIONS)

    def maps(self, question: ImageQuestion) -> Tensor:
        """Return maps (n, H, W), at least 0 unless reduce="mean"."""
        images = question.images
        standard = NoisyCopies(images.shape[1:], self.seed, images.device)
        over = tuple(range(1, images.dim()))
        strength = self.noise * (images.amax(over, keepdim=True) - images.amin(over, keepdim=True))
        at_once = max(1, question.rows // len(images))
        total = images.new_zeros((len(images), *images.shape[2:]))
        for start in range(0, self.noise_samples, at_once):
            copies = min(at_once, self.noise_samples - start)
            noise = torch.cat([standard.draw(1) for _ in range(copies)]).to(images.dtype)
            gradient = question.gradient((images + strength * noise).flatten(0, 1))
            total += self._reduced(gradient).reshape(copies, *total.shape).sum(0)
        return total / self.noise_samples


def mean_gradient(gradient: Callable[[Tensor], Tensor], start: Tensor, end: Tensor, steps: int, rows: int) -> Tensor:
    """Return the mean of a gradient along the straight way between points (n, ...), by Gauss-Legendre quadrature.

    Args:
        gradient: points (R, ...) → gradients (R, ...); row b*n + i belongs to sample i.
        start: (n, ...) where the way begins.
        end: (n, ...) where it ends.
        steps: how many points there are on it.
        rows: how many points may go through the network at once.
    """
    total, nodes, at_once = torch.zeros_like(end), quadrature(steps), max(1, rows // len(end))
    for first in range(0, steps, at_once):
        chunk = nodes[first : first + at_once]
        slopes = gradient(torch.cat([start + place * (end - start) for place, _ in chunk]))
        total += sum(weight * slope for (_, weight), slope in zip(chunk, slopes.chunk(len(chunk)), strict=True))
    return total


def quadrature(nodes: int) -> list[tuple[float, float]]:
    """Return places in [0, 1] and weights, of sum 1, that integrate polynomials up to degree 2·nodes - 1 exactly."""
    places, weights = np.polynomial.legendre.leggauss(nodes)
    return list(zip(((1 + places) / 2).tolist(), (weights / 2).tolist(), strict=True))
