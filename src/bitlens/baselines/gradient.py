"""What the gradient of the score says of each pixel: at the image, on the way to it, and around it."""

import hashlib
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bitlens.baselines.baseline import Baseline, Group
from bitlens.baselines.masking import Replacement, colour_of
from bitlens.core.fitting import NoisyCopies
from bitlens.errors import SettingError, one_of

__all__ = [
    "REDUCTIONS",
    "Gradient",
    "GradientXInput",
    "IntegratedGradients",
    "Reduction",
    "Saliency",
    "SmoothGrad",
    "gradient_of",
]

Reduction = Literal["mean", "abs-max"]
"""From colour channels to one number per pixel: the signed mean, or the largest absolute value."""

REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda values: values.mean(1),
    "abs-max": lambda values: values.abs().amax(1),
}


def gradient_of(group: Group, variants: Tensor) -> Tensor:
    """The gradient of every variant's score with respect to it, (R, C, H, W) like the variants; weights get none.

    Raises:
        SettingError: if the score has no gradient there.
    """
    leaf = variants.detach().requires_grad_()
    score = group.score(leaf)
    if not score.requires_grad:
        raise SettingError("the score has no gradient at the image: the network or the target detaches it on the way")
    return torch.autograd.grad(score.sum(), leaf)[0]


class Gradient(Baseline):
    """The gradient of the score, its signed mean over the colour channels (Schulz et al., appendix; algorithms F3)."""

    method = "gradient"

    def settings(self) -> dict[str, Any]:
        """None: there is nothing to choose."""
        return {}

    def maps(self, group: Group) -> Tensor:
        """(n, H, W)."""
        return gradient_of(group, group.images).mean(1)


class Saliency(Baseline):
    """The gradient's largest absolute value over the colour channels (Simonyan et al. 2014; algorithms F4)."""

    method = "saliency"

    def settings(self) -> dict[str, Any]:
        """None: there is nothing to choose."""
        return {}

    def maps(self, group: Group) -> Tensor:
        """(n, H, W), at least 0."""
        return gradient_of(group, group.images).abs().amax(1)


class GradientXInput(Baseline):
    """The gradient times the image, signed mean over the colour channels (Shrikumar et al. 2016)."""

    method = "gradient-x-input"

    def settings(self) -> dict[str, Any]:
        """None: there is nothing to choose."""
        return {}

    def maps(self, group: Group) -> Tensor:
        """(n, H, W)."""
        return (gradient_of(group, group.images) * group.images).mean(1)


class IntegratedGradients(Baseline):
    """The gradient's mean along the straight way from a baseline to the image (Sundararajan et al. 2017; algorithms F6).

    With `multiply` and reduce="mean" a map's sum, times the number of channels, is the score of the image minus the
    score of the baseline, up to the error of the integration. Schulz et al. used baseline="mean-colour" and
    multiply=False.

    Args:
        model: the network.
        steps: points on the way, those of the Gauss-Legendre quadrature.
        baseline: "zero" (grey, for normalised images), "mean-colour" (of each image, per channel), a number for all
            channels, or an image (C, H, W) or colour (C, 1, 1) as the network takes it.
        multiply: whether the mean gradient is multiplied by image minus baseline.
        reduce: over channels: "mean" (signed) or "abs-max".
        seed: kept with the map; nothing is random here.
        internal_batch_size: how many rows go through the network at once; "auto" bounds the memory.

    Raises:
        SettingError: if a setting has a value that makes no sense.
    """

    method = "integrated-gradients"

    def __init__(
        self,
        model: nn.Module,
        *,
        steps: int = 50,
        baseline: Replacement | Tensor = "zero",
        multiply: bool = True,
        reduce: Reduction = "mean",
        seed: int = 0,
        internal_batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(model, seed=seed, internal_batch_size=internal_batch_size)
        if not isinstance(steps, int) or steps < 1:
            raise SettingError(f"steps must be a positive integer, got {steps!r}")
        _check_baseline(baseline)
        self.steps, self.baseline, self.multiply = steps, baseline, multiply
        self.reduce = reduce
        self._reduced = one_of("reduce", reduce, REDUCTIONS)

    def settings(self) -> dict[str, Any]:
        """Points, baseline, and what is made of the gradients; an image that is a baseline by its fingerprint."""
        baseline = f"image {_fingerprint(self.baseline)}" if isinstance(self.baseline, Tensor) else self.baseline
        return {"steps": self.steps, "baseline": baseline, "multiply": self.multiply, "reduce": self.reduce}

    def maps(self, group: Group) -> Tensor:
        """(n, H, W)."""
        from captum.attr import IntegratedGradients as Integration

        values = Integration(group.score, multiply_by_inputs=self.multiply).attribute(
            group.images,
            self._baseline_for(group.images),
            n_steps=self.steps,
            internal_batch_size=group.rows,
        )
        return self._reduced(values)

    def _baseline_for(self, images: Tensor) -> Tensor:
        if not isinstance(self.baseline, Tensor):
            return colour_of(images, self.baseline).expand_as(images)
        try:
            return self.baseline.to(images).expand_as(images)
        except RuntimeError as error:
            raise SettingError(
                f"baseline has shape {tuple(self.baseline.shape)}, the images {tuple(images.shape[1:])}: give one image of "
                "that shape, or a colour (C, 1, 1)"
            ) from error


def _check_baseline(baseline: Any) -> None:
    if isinstance(baseline, str):
        one_of("baseline", baseline, {"zero": None, "mean-colour": None})
    elif isinstance(baseline, Tensor) and baseline.dim() != 3:
        raise SettingError(f"baseline must be one image (C, H, W) or colour (C, 1, 1), got {tuple(baseline.shape)}")
    elif not isinstance(baseline, Tensor | int | float):
        raise SettingError(f"baseline must be 'zero', 'mean-colour', a number or an image (C, H, W), got {baseline!r}")


def _fingerprint(image: Tensor) -> str:
    """Differs between images whose numbers differ: 16 hexadecimal digits."""
    return hashlib.sha256(image.detach().double().cpu().contiguous().numpy().data).hexdigest()[:16]


class SmoothGrad(Baseline):
    """The gradient's mean over noisy copies of the image (Smilkov et al. 2017; algorithms F7).

    Schulz et al. do not say how they reduced the channels. The default is unsigned, as SmoothGrad's own authors draw it:
    the published scores are far above those of a signed gradient.

    Args:
        model: the network.
        noise_samples: copies.
        noise: standard deviation of the Gaussian noise, as a share of each image's range (its maximum minus its minimum).
        reduce: over channels, for every copy: "abs-max" or "mean" (signed).
        seed: of the noise. All images get the same noise, each in its own strength, whatever the batch.
        internal_batch_size: how many rows go through the network at once; "auto" bounds the memory.

    Raises:
        SettingError: if a setting has a value that makes no sense.
    """

    method = "smoothgrad"

    def __init__(
        self,
        model: nn.Module,
        *,
        noise_samples: int = 50,
        noise: float = 0.15,
        reduce: Reduction = "abs-max",
        seed: int = 0,
        internal_batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(model, seed=seed, internal_batch_size=internal_batch_size)
        if not isinstance(noise_samples, int) or noise_samples < 1:
            raise SettingError(f"noise_samples must be a positive integer, got {noise_samples!r}")
        if not noise >= 0:
            raise SettingError(f"noise must be a share of the image's range, 0 or more, got {noise!r}")
        self.noise_samples, self.noise = noise_samples, noise
        self.reduce = reduce
        self._reduced = one_of("reduce", reduce, REDUCTIONS)

    def settings(self) -> dict[str, Any]:
        """Copies, noise, and what is made of the gradients."""
        return {"noise_samples": self.noise_samples, "noise": self.noise, "reduce": self.reduce}

    def maps(self, group: Group) -> Tensor:
        """(n, H, W), at least 0 unless reduce="mean"."""
        images = group.images
        # Captum's NoiseTunnel has one strength for all images, and noise that depends on the batch.
        standard = NoisyCopies(images.shape[1:], self.seed, images.device)
        strength = self.noise * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))
        at_once = max(1, group.rows // len(images))
        total = images.new_zeros((len(images), *images.shape[2:]))
        for start in range(0, self.noise_samples, at_once):
            copies = min(at_once, self.noise_samples - start)
            noise = torch.cat([standard.draw(1) for _ in range(copies)]).to(images.dtype)
            gradient = gradient_of(group, (images + strength * noise).flatten(0, 1))
            total += self._reduced(gradient).reshape(copies, *total.shape).sum(0)
        return total / self.noise_samples
