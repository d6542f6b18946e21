"""The second stage of InputIBA: a prior mask λ_G on the input, whose masked inputs look, at the layer, like Z* (algorithms D).

Stage 1 has found which features are needed; Z* = λ*R + (1-λ*)ε has only those. The prior is the mask on the input under
which the network's features are distributed as Z* is. How well they must match, and at what cost, is what the priors of this
file differ in. Each gives the logits a of λ_G = sigmoid(a), from what a `FirstStage` knows. Those with a critic are in
critics.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bitlens.core.gaussian import NoiseModel, noised_features
from bitlens.core.layout import Layout
from bitlens.core.noise import NoisyCopies
from bitlens.errors import FitError, LayerError

ROUNDING = 1e-5
"""The optimisers' eps where a layer norm follows the embedding: the gradient of a token's noise mean is then nothing but
rounding, which would be taken for a direction."""

_RATES = {"logits": 0.003, "mean": 0.1, "scale": 0.05}  # of the generator (algorithms D5)


@dataclass(frozen=True, eq=False)
class FirstStage:
    """Findings of stage 1 for n samples, and the way from inputs to the layer.

    Attributes:
        images: x (n, C, H, W), or any inputs (n, ...) that can be masked: the embedding of a text (1, T, D).
        maps: bits of stage 1 at the size of the input, broadcastable to `images`.
        features: R (n, ...) at the layer.
        u: 1 - λ* (n, ...).
        information: nats of every feature (n, ...).
        noise: μ, σ and activity of the layer.
        layout: of the features.
        reach: (variants (R, ...), rows (R,)) → features (R, ...); row r is a variant of sample rows[r].
        rows: how many variants may go through the network at once.
        seed: of all noise.
        overwritten: whether an in-place ReLU follows the layer.
    """

    images: Tensor
    maps: Tensor
    features: Tensor
    u: Tensor
    information: Tensor
    noise: NoiseModel
    layout: Layout
    reach: Callable[[Tensor, Tensor], Tensor]
    rows: int
    seed: int = 0
    overwritten: bool = False

    def __len__(self) -> int:
        return len(self.images)

    def only(self, index: int) -> "FirstStage":
        """Return one sample of it, n = 1."""
        one = slice(index, index + 1)

        def reach(variants: Tensor, rows: Tensor) -> Tensor:
            return self.reach(variants, rows + index)

        maps = self.maps if len(self.maps) == 1 else self.maps[one]
        chosen = {name: getattr(self, name)[one] for name in ("images", "features", "u", "information")}
        return replace(self, **chosen, maps=maps, reach=reach)

    def targets(self, standard: Tensor) -> Tensor:
        """Return samples of Z* (copies, n, ...) from standard normal noise (copies, 1, ...)."""
        z = noised_features(self.features * self.noise.active, self.u, self.noise.sample(standard))
        return z.clamp_min(0) if self.noise.clamp else z

    def features_of(self, masked: Tensor) -> Tensor:
        """Return what the layer puts out (copies, n, ...) for masked inputs (copies, n, ...)."""
        rows = torch.arange(len(self), device=masked.device).repeat(len(masked))
        return self.reach(masked.flatten(0, 1), rows).float().reshape(*masked.shape[:2], *self.features.shape[1:])


Prior = Callable[[FirstStage], Tensor]
"""Logits of λ_G, broadcastable to the inputs (n, ...)."""


def feature_map(stage: FirstStage) -> Tensor:
    """Return λ_G = sigmoid of stage 1's bits per pixel or token, where the released code starts from (algorithms D5)."""
    return stage.maps.expand(len(stage), *stage.maps.shape[1:])


class Generator:
    """Masked inputs  λ_G x + (1-λ_G)(s n + m)  with a mask for every value and noise for every channel (algorithms D3).

    Args:
        images: x (n, C, ...), or (n, T, D) with noise for every token (algorithms D8).
        start: logits of λ_G to begin with, broadcastable to x.
    """

    def __init__(self, images: Tensor, start: Tensor) -> None:
        channels = (len(images), images.shape[1], *[1] * (images.dim() - 2))
        self._images = images
        self.logits = start.expand_as(images).detach().clone().requires_grad_()
        self._mean = images.new_zeros(channels).requires_grad_()
        self._scale = images.new_ones(channels).requires_grad_()

    @property
    def parameters(self) -> list[Tensor]:
        """Logits, and the noise's mean and scale."""
        return [self.logits, self._mean, self._scale]

    def optimizer(self, logits_rate: float = _RATES["logits"], eps: float = 1e-8) -> torch.optim.Optimizer:
        """Return the published one: RMSProp with a rate of its own for each parameter."""
        rates = (logits_rate, _RATES["mean"], _RATES["scale"])
        groups = [{"params": [p], "lr": r} for p, r in zip(self.parameters, rates, strict=True)]
        return torch.optim.RMSprop(groups, eps=eps)

    def masked(self, standard: Tensor) -> Tensor:
        """Return (copies, n, ...) from standard normal noise (copies, 1, ...)."""
        return torch.lerp(self._scale * standard + self._mean, self._images, torch.sigmoid(self.logits))


def feature_matching(
    stage: FirstStage, *, steps: int = 10, pairs: int = 1, rate: float = 0.3, eps: float = 1e-8
) -> Tensor:
    """Match the mean of every feature, without a critic: the squared distance of the means in standard deviations.

    Two copies with independent noise estimate it without bias: the mean over features of the product of their deviations.

    Args:
        stage: what stage 1 found.
        steps: of the optimisation (Adam).
        pairs: of copies in each step.
        rate: of the mask's logits.
        eps: of the optimiser: gradients far below it are taken for zero.

    Raises:
        FitError: if the features are not finite or do not depend on the inputs.
    """
    generator = Generator(stage.images, feature_map(stage))
    rates = (rate, _RATES["mean"], _RATES["scale"])
    groups = [{"params": [p], "lr": r} for p, r in zip(generator.parameters, rates, strict=True)]
    optimizer = torch.optim.Adam(groups, eps=eps)
    noise = NoisyCopies(stage.images.shape[1:], stage.seed, stage.images.device)
    centre = torch.lerp(stage.features, stage.noise.mean.expand_as(stage.features), stage.u)
    weight = stage.noise.active / stage.noise.std.square() / stage.features[0].numel()
    for _ in range(steps):
        optimizer.zero_grad()
        for _ in range(pairs):
            features = stage.features_of(generator.masked(noise.draw(2)))
            one, other = features - centre
            check_gradient(features)
            torch.autograd.backward((weight * one * other).sum() / pairs, inputs=generator.parameters)
        optimizer.step()
    return check_finite(generator.logits.detach())


def check_gradient(features: Tensor) -> None:
    """Refuse features through which no gradient comes back to the input."""
    if not features.requires_grad:
        raise LayerError("the layer's features have no gradient with respect to the input: choose prior='feature-map'")


def check_finite(logits: Tensor) -> Tensor:
    """Return the logits, unless one is not finite."""
    if not bool(torch.isfinite(logits).all()):
        raise FitError("the prior's optimisation gave NaN: the features or their gradient are not finite under noise")
    return logits
