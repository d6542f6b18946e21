"""The optimisation of masks: many samples at once, memory bounded, the network run only behind the layer.

The objective of one sample is  mean over copies of loss(Z) + β · mean over features of the information  (algorithms
B5; this is the paper's β/k with the sum). Samples are independent: the loss of a batch is the sum of theirs and Adam
works element by element, so N samples together give what N single runs give. Each step draws one set of noise for all
samples, from the seed alone, so a sample's noise does not depend on the batch it is in.

Autograd sees the network only from Z on. What a copy adds to the gradient of u is  ∂loss/∂Z · (ε - R), summed over copies
as they come, so memory does not grow with their number.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from bitlens.errors import FitError, SettingError, TargetError, one_of
from bitlens.gaussian import NoiseModel, information, noised_features
from bitlens.layout import Layout
from bitlens.masks import complement, smoothing_matrices
from bitlens.targets import Target

__all__ = ["QUALITY", "FitSettings", "Fitted", "NoisyCopies", "fit_masks", "measure_under_noise"]

Run = Callable[[Tensor], Any]
Readout = Literal["last_forward", "final"]
Quality = Literal["fast", "paper", "best"]


@dataclass(frozen=True)
class FitSettings:
    """How masks are optimised; the defaults are the paper's (table 2).

    Attributes:
        beta: weight of the mean information per feature, in nats; larger keeps less.
        steps: T, optimisation steps.
        noise_samples: B, noisy copies per step.
        learning_rate: of Adam.
        smoothing: σ of the blur of the mask in cells of the layer's grid; 0 for none.
        initial_logit: α at the start; 5 lets 99.3 % of each feature pass.
        antithetic: whether the second half of the copies uses the negative noise of the first: what the loss gradient
            owes to the noise in first order then cancels.
        warm_up: during this many first steps the loss gradient of a single copy, taken at the first of them, serves; the
            features have hardly begun to change by then. 0 for none.
        readout: "last_forward" reports the mask of the last forward pass as the published code does (T - 1 updates),
            "final" the mask after all T updates (algorithms B7).
    """

    beta: float = 10.0
    steps: int = 10
    noise_samples: int = 10
    learning_rate: float = 1.0
    smoothing: float = 1.0
    initial_logit: float = 5.0
    antithetic: bool = False
    warm_up: int = 0
    readout: Readout = "last_forward"

    def __post_init__(self) -> None:
        for name in ("steps", "noise_samples"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("beta", "smoothing", "warm_up"):
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
        """How many noisy copies a step (from 0) sends through the network; 0: the last loss gradient serves again."""
        if step >= self.warm_up:
            return self.noise_samples
        return 1 if step == 0 else 0

    @property
    def passes(self) -> int:
        """How many noisy copies go through the network, forward and backward, to fit one mask."""
        return sum(self.copies_at(step) for step in range(self.updates))


QUALITY: dict[str, FitSettings] = {
    "fast": FitSettings(noise_samples=2, antithetic=True),
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


class NoisyCopies:
    """Standard normal noise for copies of a layer's features, the same for every sample, from a seed alone.

    Args:
        shape: of one sample's features.
        seed: where the stream begins.
        device: where the noise is needed; a seed gives other numbers on another kind of device.
        antithetic: the second half of each draw is the negative of the first.
    """

    def __init__(self, shape: torch.Size, seed: int, device: torch.device, *, antithetic: bool = False) -> None:
        self._shape, self._device, self._antithetic = shape, device, antithetic
        self._generator = torch.Generator(device).manual_seed(seed)

    def draw(self, count: int) -> Tensor:
        """The next (count, 1, ...) noise."""
        independent = (count + 1) // 2 if self._antithetic else count
        size = (independent, 1, *self._shape)
        noise = torch.randn(size, generator=self._generator, device=self._device, dtype=torch.float32)
        return torch.cat([noise, -noise[: count - independent]]) if self._antithetic else noise


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
) -> Fitted:
    """Find, for each sample, the mask that lets the least information pass while the target holds.

    Args:
        run: z (copies * N, ...) → the network's output.
        target: the question, one for each of the N samples.
        features: R (N, ...), float32.
        noise_model: μ, σ and activity of the layer.
        layout: how the features' axes are meant.
        settings: of the optimisation.
        seed: of the noise.
        rows: how many noisy copies (of all samples) go through the network at once; bounds the memory.

    Raises:
        FitError: if the loss or its gradient was not finite, or the loss does not depend on the features.
        TargetError: if the target does not give one number per row.
    """
    copies = max(1, rows // len(features))
    matrices = [
        matrix.to(features.device)
        for matrix in smoothing_matrices(layout, tuple(features.shape[1:]), settings.smoothing)
    ]
    noise = NoisyCopies(features.shape[1:], seed, features.device, antithetic=settings.antithetic)
    squared_score, active = noise_model.squared_score(features), noise_model.active
    used = features * active
    logits = torch.full_like(features, settings.initial_logit, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=settings.learning_rate, fused=features.device.type in ("cpu", "cuda"))
    per_feature = settings.beta / features[0].numel()
    slope = torch.zeros_like(features)
    for step in range(settings.updates):
        u = complement(logits, layout, matrices)
        penalty = per_feature * information(u, squared_score, active).sum()
        drawn = settings.copies_at(step)
        if drawn:
            slope = _loss_gradient(run, target, used, u.detach(), noise_model, noise.draw(drawn), copies)
        torch.autograd.backward([u, penalty], [slope, None], inputs=[logits])
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        u = complement(logits, layout, matrices)
        passed = information(u, squared_score, active)
    if not bool(torch.isfinite(passed).all()):
        raise FitError("the optimisation gave NaN: the network's output or its gradient is not finite under noise")
    return Fitted(logits.detach(), u, passed)


def _loss_gradient(
    run: Run, target: Target, features: Tensor, u: Tensor, noise_model: NoiseModel, standard: Tensor, copies: int
) -> Tensor:
    """∂/∂u of the sum over samples of the mean loss over copies: (N, ...)."""
    gradient = torch.zeros_like(u)
    for chunk in _chunks(len(standard), copies):
        noise = noise_model.sample(standard[chunk])
        z = noised_features(features, u, noise).requires_grad_()
        restricted = z.clamp_min(0) if noise_model.clamp else z
        rows = restricted.flatten(0, 1)
        loss = _one_per_row(target.loss(run(rows)), len(rows))
        if not loss.requires_grad:
            raise FitError("the loss has no gradient at the layer: the network or the target detaches it on the way")
        (slope,) = torch.autograd.grad(loss.sum(), z)
        gradient += (slope * (noise - features)).sum(0)
    return gradient / len(standard)


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
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (N,) of the target's value over fresh noise at fixed masks u (N, ...)."""
    copies = max(1, rows // len(features))
    standard = NoisyCopies(features.shape[1:], seed, features.device)
    used = features * noise_model.active
    values = []
    for chunk in _chunks(noise_samples, copies):
        noise = noise_model.sample(torch.cat([standard.draw(1) for _ in range(chunk.stop - chunk.start)]))
        z = noised_features(used, u, noise)
        restricted = z.clamp_min(0) if noise_model.clamp else z
        value = target.value(run(restricted.flatten(0, 1)))
        values.append(_one_per_row(value, z.shape[0] * z.shape[1]).reshape(-1, len(features)))
    all_values = torch.cat(values)
    spread = all_values.std(0) if noise_samples > 1 else torch.zeros_like(all_values[0])
    return all_values.mean(0), spread
