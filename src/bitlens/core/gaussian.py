"""Noise in the place of features, and the information that still passes. Pure mathematics, nats throughout.

The channel is Z = λR + uε with u = 1 - λ and ε ~ N(μ, σ²) per element (Schulz et al., ICLR 2020, section 3). The
information is the divergence of P(Z|R) = N(λR + uμ, u²σ²) from Q(Z) = N(μ, σ²), an upper bound of the mutual
information of R and Z. u is the primary quantity: with λ = 1 - u near 1, log(1 - λ) would lose all its digits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bitlens.errors import SettingError, one_of_literal

NoiseMode = Literal["gaussian", "clamped", "zero-mean"]

_SMALLEST = 1e-7  # of u: information stays finite (16.1 nats and the part that depends on R)


@dataclass(frozen=True)
class NoiseSettings:
    """Settings of noise that is made from statistics (algorithms A4 to A6).

    Attributes:
        noise: "gaussian" (the paper: mean and std as they are), "clamped" (the same, noised features kept >= 0), or
            "zero-mean" (the paper's released code for ResNets: mean 0, RMS of the non-zero values, kept >= 0).
        min_std: floor on σ (A5).
        activity_threshold: features active in no more than this share of observations are forced to zero and count no
            information; 0 keeps all that were ever active, a negative value keeps all.
    """

    noise: NoiseMode = "gaussian"
    min_std: float = 0.01
    activity_threshold: float = 0.01

    def __post_init__(self) -> None:
        one_of_literal("noise", self.noise, NoiseMode)
        if not self.min_std > 0:
            raise SettingError(f"min_std must be positive, got {self.min_std}")


@dataclass(frozen=True)
class NoiseModel:
    """Noise at a layer: its mean, its spread, and where it takes part.

    Attributes:
        mean: μ, broadcastable to one sample's features.
        std: σ > 0, of the same shape.
        active: 1.0 where the feature is used, 0.0 where it is forced to zero and counts no information (A4), of the same shape.
        clamp: whether noised features are kept non-negative, as what follows a ReLU always is (A6).
        hidden: v = 1 - λ_G (N, ...) where a prior mask λ_G is known to each sample already: only information beyond what
            passes the prior counts (`beyond_prior`). None: all counts, as for λ_G = 0.
    """

    mean: Tensor
    std: Tensor
    active: Tensor
    clamp: bool = False
    hidden: Tensor | None = None

    def to(self, device: torch.device) -> "NoiseModel":
        """Return the same on another device."""
        return self.each(lambda tensor: tensor.to(device))

    def laid_out_like(self, features: Tensor) -> "NoiseModel":
        """Return the same, in memory in the order of the features (N, ...) that it is combined with."""
        return self.each(lambda tensor: laid_out_like(features, tensor))

    def each(self, change: Callable[[Tensor], Tensor]) -> "NoiseModel":
        """Return the same with every tensor changed."""
        hidden = change(self.hidden) if self.hidden is not None else None
        return NoiseModel(change(self.mean), change(self.std), change(self.active), self.clamp, hidden)

    def squared_score(self, features: Tensor) -> Tensor:
        """Return ((R - μ) / σ)², zero where the feature is not active: (N, ...)."""
        return ((features.float() - self.mean) / self.std).square() * self.active

    def distance(self, features: Tensor) -> Tensor:
        """Return how many standard deviations samples (N, ...) lie from the mean (N,), on average over what is active."""
        apart = self.squared_score(features).sqrt().flatten(1).sum(1)
        return apart / self.active.expand(features.shape[1:]).sum().clamp_min(1)

    def sample(self, standard: Tensor) -> Tensor:
        """Return ε = μ + σ·n for standard normal n, zero where the feature is not active."""
        return torch.addcmul(self.mean * self.active, self.std * self.active, standard)

    def counted(self, u: Tensor) -> Tensor:
        """Return the complement (N, ...) that `information` is to be asked about: u itself, or u beyond the prior."""
        return u if self.hidden is None else beyond_prior(u, self.hidden)


def laid_out_like(features: Tensor, values: Tensor) -> Tensor:
    """Return values (..., *shape of one sample) with their axes in memory in the order of the features' (N, ...).

    Operations on tensors in different orders are many times slower on CPUs.
    """
    one = features[:1]
    if one.dim() != 4 or one.is_contiguous() or values.shape[-3:] != one.shape[1:]:
        return values
    rows = values.reshape(-1, *one.shape[1:])
    return rows.contiguous(memory_format=torch.channels_last).reshape(values.shape)


def information(u: Tensor, squared_score: Tensor, active: Tensor | float = 1.0) -> Tensor:
    """Return KL(P(Z|R) ‖ Q(Z)) of each element, in nats (algorithms B2).

    -ln u + (u² + λ²r² - 1)/2 with r² the squared standard score. u² - 1 is written as -λ(1 + u), which keeps its digits
    when almost nothing passes. Zero if and only if λ = 0; grows with λ. u is held above 1e-7.
    """
    u = u.clamp_min(_SMALLEST)
    passed = 1 - u
    return (passed.square() * squared_score - passed * (1 + u)).mul(0.5).sub(u.log()) * active


def information_slope(u: Tensor, squared_score: Tensor) -> Tensor:
    """Return ∂/∂u of the information of each active element: u - 1/u - λr², as -λ(r² + 1 + 1/u) to keep digits near u = 1.

    Where u is held above 1e-7 it is the slope there, which points back; a logit is never stuck.
    """
    u = u.clamp_min(_SMALLEST)
    return u.reciprocal().add_(squared_score).add_(1).mul_(u - 1)


def beyond_prior(u: Tensor, hidden: Tensor) -> Tensor:
    """Return the complement whose `information` is that beyond a prior mask (Zhang et al., NeurIPS 2021, proposition 3).

    The divergence of N(λR + uμ, u²σ²) from N(λ_Gλ R + wμ, w²σ²), w = 1 - λ_Gλ, depends on q = u/w alone, and on R as B2 does
    on u: it is B2 at q. With v = 1 - λ_G, w = u + v - uv, which no cancellation touches (algorithms D6). q = u for v = 1, and
    1 (nothing to count) for v = 0 or u = 1.

    Args:
        u: 1 - λ (N, ...), held above 1e-7.
        hidden: v (N, ...) in [0, 1].
    """
    u = u.clamp_min(_SMALLEST)
    return u / (hidden + u * (1 - hidden))


def beyond_prior_slope(u: Tensor, hidden: Tensor) -> Tensor:
    """Return ∂q/∂u = v / (u + v - uv)² of what `beyond_prior` gives, for the same arguments."""
    return hidden / (hidden + u.clamp_min(_SMALLEST) * (1 - hidden)).square()


def noised_features(features: Tensor, u: Tensor, noise: Tensor) -> Tensor:
    """Return Z = R + u(ε - R): features (N, ...), u (N, ...), noise (copies, 1 or N, ...) give (copies, N, ...)."""
    return torch.lerp(features, noise, u)
