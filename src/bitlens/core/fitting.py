"""The optimisation of masks: many samples at once, memory bounded, the network run only behind the layer.

The objective of one sample is  mean over copies of loss(Z) + β · mean over features of the information  (algorithms
B5; this is the paper's β/k with the sum). Samples are independent: the loss of a batch is the sum of theirs and Adam
works element by element, so N samples together give what N single runs give. Each step draws one set of noise for all
samples, from the seed alone, so a sample's noise does not depend on the batch it is in.

Autograd sees the network only from Z on, and the mask only from u back. What a copy adds to the gradient of u is
∂loss/∂Z · (ε - R), summed over copies as they come, so memory does not grow with their number; what the information adds is
written out, in fewer operations than autograd would need.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from bitlens.core.gaussian import (
    NoiseModel,
    beyond_prior_slope,
    information,
    information_slope,
    laid_out_like,
    noised_features,
)
from bitlens.core.layout import Layout
from bitlens.core.masks import complement, smoothing_matrices
from bitlens.core.noise import NoisyCopies
from bitlens.core.targets import Target
from bitlens.errors import FitError, SettingError, TargetError, one_of

Run = Callable[[Tensor], Any]
Watch = Callable[[int, Tensor], None]
Readout = Literal["last_forward", "final"]
Quality = Literal["fast", "paper", "best"]


@dataclass(frozen=True)
class FitSettings:
    """How masks are optimised; the defaults are the paper's (table 2).

    Attributes:
        beta: weight of the mean information per feature, in nats; larger keeps less.
        steps: T, optimisation steps.
        noise_samples: B, noisy copies per step.
        rising: whether the first steps take one copy, the last `noise_samples`, and those between evenly more: at first the
            features have hardly changed and copies say the same, so passes are better spent late.
        learning_rate: of Adam.
        smoothing: σ of the blur of the mask in cells of the layer's grid; 0 for none.
        initial_logit: α at the start; 5 lets 99.3 % of each feature pass.
        antithetic: whether the second half of the copies uses the negative noise of the first: what the loss gradient
            owes to the noise in first order then cancels.
        readout: "last_forward" reports the mask of the last forward pass as the published code does (T - 1 updates),
            "final" the mask after all T updates (algorithms B7).
    """

    beta: float = 10.0
    steps: int = 10
    noise_samples: int = 10
    rising: bool = False
    learning_rate: float = 1.0
    smoothing: float = 1.0
    initial_logit: float = 5.0
    antithetic: bool = False
    readout: Readout = "last_forward"

    def __post_init__(self) -> None:
        for name in ("steps", "noise_samples"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("beta", "smoothing"):
            if not getattr(self, name) >= 0:
                raise SettingError(f"{name} must not be negative, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise SettingError(f"learning_rate must be positive, got {self.learning_rate}")
        one_of("readout", self.readout, {name: name for name in get_args(Readout)})

    @property
    def updates(self) -> int:
        """How often the logits change before they are reported. The published T-th pass changes nothing that is read."""
        return self.steps - 1 if self.readout == "last_forward" else self.steps

    def copies_at(self, step: int) -> int:
        """How many noisy copies a step (from 0) sends through the network."""
        return 1 + step * self.noise_samples // self.updates if self.rising else self.noise_samples

    @property
    def passes(self) -> int:
        """How many noisy copies go through the network, forward and backward, to fit one mask."""
        return sum(self.copies_at(step) for step in range(self.updates))


QUALITY: dict[str, FitSettings] = {
    "fast": FitSettings(noise_samples=3, rising=True, antithetic=True),
    "paper": FitSettings(),
    "best": FitSettings(noise_samples=30),
}
"""Named choices of how much work a map is worth; "paper" is table 2 of the paper."""


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
    """What of each sample's features is restricted, and by how many masks.

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
        """(N,) how many features of each sample are restricted, at least 1."""
        if self.restricted is None:
            return features.new_full((len(features),), float(features[0].numel()))
        return self.restricted.expand_as(features).flatten(1).sum(1).clamp_min(1)

    def copies(self, shape: torch.Size, seed: int, device: torch.device, *, antithetic: bool = False) -> NoisyCopies:
        """Noise for what has such features, from a seed alone."""
        return NoisyCopies(shape, seed, device, antithetic=antithetic, block=self.block, starts=self.starts)

    def of(self, values: Tensor) -> Tensor:
        """The values where features are restricted, zero elsewhere."""
        return values if self.restricted is None else values * self.restricted


class DeeperLayers(Protocol):
    """Layers behind the restricted one that the same mask restricts as well."""

    def restricted(self, u: Tensor, copies: int) -> AbstractContextManager[None]:
        """Within the block, passes of `copies` noisy copies mix u (N, ...) of fresh noise into these layers too."""
        ...


def _chunks(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def fit_masks(
    run: Run,
    target: Target,
    features: Tensor,
    noise_model: NoiseModel,
    layout: Layout,
    settings: FitSettings,
    *,
    seed: int = 0,
    rows: int = 16,
    region: Region | None = None,
    deeper: DeeperLayers | None = None,
    watch: Watch | None = None,
) -> Fitted:
    """Find, for each sample, the mask that lets the least information pass while the target holds.

    Args:
        run: z (copies * N, ...) → the network's output.
        target: the question, one for each of the N samples.
        features: R (N, ...), float32.
        noise_model: μ, σ and activity of the layer, of all samples or (N, ...) of each.
        layout: how the features' axes are meant.
        settings: of the optimisation.
        seed: of the noise.
        rows: how many noisy copies (of all samples) go through the network at once; bounds the memory.
        region: what is restricted; everything, each feature by a mask of its own, if not given.
        deeper: further layers that the same mask restricts; their information is not counted again.
        watch: called before each step with the number of steps done and the information so far, nats (N, ...).

    Raises:
        FitError: if the loss or its gradient was not finite, or the loss does not depend on the features.
        TargetError: if the target does not give one number per row.
    """
    copies = max(1, rows // len(features))
    region = region or Region()
    size = tuple(features.shape[1:])
    matrices = [matrix.to(features.device) for matrix in smoothing_matrices(layout, size, settings.smoothing)]
    noise = region.copies(features.shape[1:], seed, features.device, antithetic=settings.antithetic)
    noise_model = noise_model.laid_out_like(features)
    squared_score, active = noise_model.squared_score(features), region.of(noise_model.active)
    price = active * (settings.beta / region.counts(features)).reshape(-1, *(1 for _ in size))
    used = features * noise_model.active
    first = features.select(layout.channel + 1, 0).unsqueeze(layout.channel + 1) if region.shared else features
    logits = torch.full_like(first, settings.initial_logit, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=settings.learning_rate, fused=features.device.type in ("cpu", "cuda"))
    for step in range(settings.updates):
        shares = _share_of_noise(logits, layout, matrices, region, features)
        u = shares.detach()
        if watch is not None:
            watch(step, information(noise_model.counted(u), squared_score, active))
        standard = laid_out_like(features, noise.draw(settings.copies_at(step)))
        slope = _loss_gradient(run, target, used, u, noise_model, standard, copies, deeper)
        slope.addcmul_(price, _information_slope(noise_model, u, squared_score))
        torch.autograd.backward([shares], [slope], inputs=[logits])
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        u = _share_of_noise(logits, layout, matrices, region, features)
        passed = information(noise_model.counted(u), squared_score, active)
    if not bool(torch.isfinite(passed).all()):
        raise FitError("the optimisation gave NaN: the network's output or its gradient is not finite under noise")
    return Fitted(logits.detach(), u, passed)


def _share_of_noise(
    logits: Tensor, layout: Layout, matrices: Sequence[Tensor], region: Region, features: Tensor
) -> Tensor:
    """U of every feature (N, ...), zero where nothing is restricted."""
    return region.of(complement(logits, layout, matrices)).expand_as(features)


def _information_slope(noise_model: NoiseModel, u: Tensor, squared_score: Tensor) -> Tensor:
    """∂/∂u of the information that is counted, of each feature (N, ...)."""
    if noise_model.hidden is None:
        return information_slope(u, squared_score)
    return information_slope(noise_model.counted(u), squared_score) * beyond_prior_slope(u, noise_model.hidden)


def _loss_gradient(
    run: Run,
    target: Target,
    features: Tensor,
    u: Tensor,
    noise_model: NoiseModel,
    standard: Tensor,
    copies: int,
    deeper: DeeperLayers | None = None,
) -> Tensor:
    """∂/∂u of the sum over samples of the mean loss over copies: (N, ...)."""
    gradient = torch.zeros_like(features)
    below = [u.detach().requires_grad_()] if deeper is not None else []
    for chunk in _chunks(len(standard), copies):
        towards = noise_model.sample(standard[chunk]) - features
        z = torch.addcmul(features, u, towards).requires_grad_()
        restricted = z.clamp_min(0) if noise_model.clamp else z
        rows = restricted.flatten(0, 1)
        with deeper.restricted(below[0], len(towards)) if deeper is not None else nullcontext():
            loss = _one_per_row(target.loss(run(rows)), len(rows))
        if not loss.requires_grad:
            raise FitError("the loss has no gradient at the layer: the network or the target detaches it on the way")
        slope, *deep = torch.autograd.grad(loss.sum(), [z, *below])
        for copy, direction in zip(slope, towards, strict=True):
            gradient.addcmul_(copy, direction)
        for part in deep:
            gradient += part
    return gradient.div_(len(standard))


def _one_per_row(values: Tensor, rows: int) -> Tensor:
    if values.shape != (rows,):
        raise TargetError(f"the target must give one number per row, shape ({rows},); it gave {tuple(values.shape)}")
    return values


@torch.no_grad()
def measure_under_noise(
    run: Run,
    target: Target,
    features: Tensor,
    u: Tensor,
    noise_model: NoiseModel,
    *,
    noise_samples: int = 32,
    seed: int = 0,
    rows: int = 16,
    block: int | None = None,
    starts: Tensor | None = None,
    deeper: DeeperLayers | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (N,) of the target's value over fresh noise at fixed masks u (N, ...)."""
    copies = max(1, rows // len(features))
    standard = Region(block=block, starts=starts).copies(features.shape[1:], seed, features.device)
    noise_model = noise_model.laid_out_like(features)
    used = features * noise_model.active
    values = []
    for chunk in _chunks(noise_samples, copies):
        noise = noise_model.sample(
            laid_out_like(features, torch.cat([standard.draw(1) for _ in range(chunk.stop - chunk.start)]))
        )
        z = noised_features(used, u, noise)
        restricted = z.clamp_min(0) if noise_model.clamp else z
        with deeper.restricted(u, len(noise)) if deeper is not None else nullcontext():
            value = target.value(run(restricted.flatten(0, 1)))
        values.append(_one_per_row(value, z.shape[0] * z.shape[1]).reshape(-1, len(features)))
    all_values = torch.cat(values)
    spread = all_values.std(0) if noise_samples > 1 else torch.zeros_like(all_values[0])
    return all_values.mean(0), spread
