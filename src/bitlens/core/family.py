"""What logits mean for the features of some samples: how much noise, and how much information passes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bitlens.core.gaussian import NoiseModel, beyond_prior_slope, information, information_slope
from bitlens.core.layout import Layout
from bitlens.core.masks import complement, smoothing_matrices
from bitlens.core.noise import NoisyCopies

_FAR = 40.0  # logits: what passes there is rounding, or everything
_HALVINGS = 30
_CLOSE, _TINY = 1e-4, 1e-30
_GENTLE, _STEEP = 0.02, 4.0  # e-folds of information for each logit


@dataclass(frozen=True)
class Fitted:
    """Masks and what passes them.

    Attributes:
        logits: α (N, ...).
        u: 1 - λ (N, ...).
        information: nats of each feature (N, ...).
    """

    logits: Tensor
    u: Tensor
    information: Tensor


@dataclass(frozen=True)
class Region:
    """Part of each sample's features that is restricted, and by how many masks.

    Attributes:
        restricted: 1.0 where a feature is restricted and counts, 0.0 where it passes as it is and counts nothing (padding),
            broadcastable to the features (N, ...); a sample's information is averaged over its own restricted features.
            None: everything is restricted.
        shared: whether all channels of a place share one mask.
        block: see `NoisyCopies`.
        starts: likewise.
    """

    restricted: Tensor | None = None
    shared: bool = False
    block: int | None = None
    starts: Tensor | None = None

    def counts(self, features: Tensor) -> Tensor:
        """Return (N,) how many features of each sample are restricted, at least 1."""
        if self.restricted is None:
            return features.new_full((len(features),), float(features[0].numel()))
        return self.restricted.expand_as(features).flatten(1).sum(1).clamp_min(1)

    def copies(self, shape: torch.Size, seed: int, device: torch.device, *, antithetic: bool = False) -> NoisyCopies:
        """Return noise for what has such features, from a seed alone."""
        return NoisyCopies(shape, seed, device, antithetic=antithetic, block=self.block, starts=self.starts)

    def of(self, values: Tensor) -> Tensor:
        """Return the values where features are restricted, zero elsewhere."""
        return values if self.restricted is None else values * self.restricted


@dataclass(frozen=True, eq=False)
class MaskFamily:
    """All masks of some samples.

    Attributes:
        features: R (N, ...), float32.
        noise_model: μ, σ and activity, in memory as the features are.
        layout: how the features' axes are meant.
        region: what is restricted.
        matrices: of the blur.
        squared_score: ((R - μ) / σ)².
        active: 1.0 where a feature is restricted and counts.
    """

    features: Tensor
    noise_model: NoiseModel
    layout: Layout
    region: Region
    matrices: Sequence[Tensor]
    squared_score: Tensor
    active: Tensor

    @classmethod
    def of(
        cls, features: Tensor, noise_model: NoiseModel, layout: Layout, region: Region, smoothing: float
    ) -> "MaskFamily":
        """Make ready what all masks of these features share; `smoothing` is σ of their blur in cells, 0 for none."""
        found = smoothing_matrices(layout, tuple(features.shape[1:]), smoothing)
        matrices = [matrix.to(features.device) for matrix in found]
        model = noise_model.laid_out_like(features)
        return cls(features, model, layout, region, matrices, model.squared_score(features), region.of(model.active))

    def part(self, samples: Tensor) -> "MaskFamily":
        """Return the same for some of the samples, by their indices."""
        count = len(self.features)

        def chosen(values: Tensor) -> Tensor:
            one_each = values.dim() == self.features.dim() and len(values) == count
            return values[samples] if one_each else values

        region = self.region
        starts = region.starts[samples] if region.starts is not None else None
        restricted = chosen(region.restricted) if region.restricted is not None else None
        return replace(
            self,
            features=self.features[samples],
            noise_model=self.noise_model.each(chosen),
            region=replace(region, restricted=restricted, starts=starts),
            squared_score=self.squared_score[samples],
            active=chosen(self.active),
        )

    def share_of_noise(self, logits: Tensor) -> Tensor:
        """Return u of every feature (N, ...), zero where nothing is restricted."""
        return self.region.of(complement(logits, self.layout, self.matrices)).expand_as(self.features)

    def information(self, u: Tensor) -> Tensor:
        """Return the nats of each feature (N, ...) that pass."""
        return information(self.noise_model.counted(u), self.squared_score, self.active)

    def information_slope(self, u: Tensor) -> Tensor:
        """Return ∂/∂u of the information that is counted, of each feature (N, ...)."""
        hidden = self.noise_model.hidden
        if hidden is None:
            return information_slope(u, self.squared_score)
        slope = information_slope(self.noise_model.counted(u), self.squared_score)
        return slope * beyond_prior_slope(u, hidden)

    def at(self, logits: Tensor) -> Fitted:
        """Return the masks that logits mean, and what passes them."""
        u = self.share_of_noise(logits)
        return Fitted(logits, u, self.information(u))

    def shifted(self, logits: Tensor, shift: Tensor) -> Fitted:
        """Return the masks where each sample's logits are raised by its own number (N,): the higher, the more passes."""
        return self.at(logits + shift.reshape(-1, *[1] * (logits.dim() - 1)))

    def shift_to(self, logits: Tensor, nats: Tensor) -> Tensor:
        """Return the shift (N,) at which so many nats (N,) pass each sample, to 0.1 %, by bisection; no pass of the network.

        More than can pass, or less than nothing, gives the end of the range.
        """
        low, high = torch.full_like(nats, -_FAR), torch.full_like(nats, _FAR)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            much = self.shifted(logits, middle).information.flatten(1).sum(1) > nats
            low, high = torch.where(much, low, middle), torch.where(much, middle, high)
        return (low + high) / 2

    def near(self, logits: Tensor, nats: Tensor, shift: Tensor) -> tuple[Tensor, Fitted]:
        """Return what `shift_to` does, to 0.01 %, and the masks there, from shifts (N,) that are not far from it.

        Each step follows the slope of the logarithm between the last two shifts: a few take the place of thirty halvings.
        """
        low, high = torch.full_like(nats, -_FAR), torch.full_like(nats, _FAR)
        slope, before, error_before = torch.ones_like(nats), shift, torch.zeros_like(nats)
        for step in range(_HALVINGS):
            found = self.shifted(logits, shift)
            error = (found.information.flatten(1).sum(1).clamp_min(_TINY) / nats).log()
            low, high = torch.where(error > 0, low, shift), torch.where(error > 0, shift, high)
            if bool(((error.abs() < _CLOSE) | (high - low < _CLOSE**2)).all()):
                break
            if step:
                moved = shift - before
                rise = (error - error_before) / torch.where(moved == 0, torch.ones_like(moved), moved)
                slope = torch.where(moved == 0, slope, rise.clamp(_GENTLE, _STEEP))
            before, error_before = shift, error
            following = shift - error / slope
            inside = (following > low) & (following < high)
            following = torch.where(inside, following, (low + high) / 2)
            shift = torch.where(error.abs() < _CLOSE, shift, following)
        return shift, found
