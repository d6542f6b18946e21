"""The optimisation of masks: many samples at once, memory bounded, the network run only behind the layer.

The objective of one sample is  mean over copies of loss(Z) + β · mean over features of the information  (algorithms
B5; this is the paper's β/k with the sum). Samples are independent: the loss of a batch is the sum of theirs and Adam
works element by element, so N samples together give what N single runs give. Each step draws one set of noise for all
samples, from the seed alone, so a sample's noise does not depend on the batch it is in.

Autograd sees the network only from Z on, and the mask only from u back. What a copy adds to the gradient of u is
∂loss/∂Z · (ε - R), summed over copies as they come, so memory does not grow with their number; what the information adds is
written out, in fewer operations than autograd would need.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from bitlens.core.family import Fitted, MaskFamily, Region
from bitlens.core.gaussian import NoiseModel, laid_out_like
from bitlens.core.layout import Layout
from bitlens.core.targets import Target
from bitlens.errors import FitError, NotFiniteError, SettingError, TargetError, one_of_literal

Run = Callable[..., Any]
"""z (copies * N, ...) → the network's output; with (n,) indices as a second argument z holds copies of these samples alone."""
Watch = Callable[[int, Tensor], None]
Readout = Literal["last_forward", "final"]
Quality = Literal["fast", "paper", "best"]


@dataclass(frozen=True)
class FitSettings:
    """Settings of the optimisation of masks; the defaults are the paper's (table 2).

    Attributes:
        beta: weight of the mean information per feature, in nats; larger keeps less.
        price: of each nat, in place of `beta` divided by the number of features, which makes it another for every network.
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
        closes: whether masks that hold clearly more than is asked for are closed until they just do.
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
    price: float | None = None
    closes: bool = True

    def __post_init__(self) -> None:
        for name in ("steps", "noise_samples"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("beta", "smoothing"):
            if not getattr(self, name) >= 0:
                raise SettingError(f"{name} must not be negative, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise SettingError(f"learning_rate must be positive, got {self.learning_rate}")
        one_of_literal("readout", self.readout, Readout)

    def plain(self) -> dict[str, Any]:
        """Return the settings by name, without a price that is not set and, where one is, without the weight it replaces."""
        left_out = {"price" if self.price is None else "beta"} | ({"closes"} if self.closes else set())
        return {name: value for name, value in asdict(self).items() if name not in left_out}

    @property
    def updates(self) -> int:
        """Return how often the logits change before they are reported. The published T-th pass changes nothing that is read."""
        return self.steps - 1 if self.readout == "last_forward" else self.steps

    def copies_at(self, step: int) -> int:
        """Return how many noisy copies a step (from 0) sends through the network."""
        return 1 + step * self.noise_samples // self.updates if self.rising else self.noise_samples

    @property
    def passes(self) -> int:
        """Return how many noisy copies go through the network, forward and backward, to fit one mask."""
        return sum(self.copies_at(step) for step in range(self.updates))


QUALITY: dict[str, FitSettings] = {
    "fast": FitSettings(noise_samples=3, rising=True, antithetic=True),
    "paper": FitSettings(),
    "best": FitSettings(noise_samples=30),
}
"""Named choices of how much work a map is worth; "paper" is table 2 of the paper."""

_SHORT = FitSettings(
    price=1e-4, initial_logit=3.0, steps=7, noise_samples=2, rising=True, antithetic=True, readout="final"
)
HOLDING: dict[str, FitSettings] = {
    "fast": replace(_SHORT, closes=False),
    "paper": _SHORT,
    "best": FitSettings(price=1e-4, initial_logit=3.0, noise_samples=8, antithetic=True, readout="final"),
}
"""The same where what is kept decides how much passes, and not a price: they need to find where, not how much."""


class DeeperLayers(Protocol):
    """Layers behind the restricted one that the same mask restricts as well."""

    def restricted(self, u: Tensor, copies: int) -> AbstractContextManager[None]:
        """Mix u (N, ...) of fresh noise into these layers too in passes of `copies` noisy copies within the block."""
        ...

    def restart(self, seed: int) -> None:
        """Draw the noise of these layers anew, from another seed."""
        ...


def chunks(count: int, size: int) -> Iterator[slice]:
    """Cut a count into pieces of at most so many."""
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
    masks = MaskFamily.of(features, noise_model, layout, region, settings.smoothing)
    noise_model = masks.noise_model
    noise = region.copies(features.shape[1:], seed, features.device, antithetic=settings.antithetic)
    each = (-1, *[1] * (features.dim() - 1))
    counts = region.counts(features)
    nat = settings.beta / counts if settings.price is None else torch.full_like(counts, settings.price)
    price = masks.active * nat.reshape(each)
    used = features * noise_model.active
    first = features.select(layout.channel + 1, 0).unsqueeze(layout.channel + 1) if region.shared else features
    logits = torch.full_like(first, settings.initial_logit, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=settings.learning_rate, fused=features.device.type in ("cpu", "cuda"))
    for step in range(settings.updates):
        shares = masks.share_of_noise(logits)
        u = shares.detach()
        if watch is not None:
            watch(step, masks.information(u))
        standard = laid_out_like(features, noise.draw(settings.copies_at(step)))
        slope = _loss_gradient(run, target, used, u, noise_model, standard, copies, deeper)
        slope.addcmul_(price, masks.information_slope(u))
        torch.autograd.backward([shares], [slope], inputs=[logits])
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        fitted = masks.at(logits.detach())
    reason = "the network's output or its gradient is not finite under noise"
    NotFiniteError.refuse("the mask", fitted.information, reason)
    return fitted


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
    """Return ∂/∂u of the sum over samples of the mean loss over copies: (N, ...)."""
    gradient = torch.zeros_like(features)
    below = [u.detach().requires_grad_()] if deeper is not None else []
    for chunk in chunks(len(standard), copies):
        towards = noise_model.sample(standard[chunk]) - features
        z = torch.addcmul(features, u, towards).requires_grad_()
        restricted = z.clamp_min(0) if noise_model.clamp else z
        rows = restricted.flatten(0, 1)
        with deeper.restricted(below[0], len(towards)) if deeper is not None else nullcontext():
            loss = one_per_row(target.loss(run(rows)), len(rows))
        if not loss.requires_grad:
            raise FitError("the loss has no gradient at the layer: the network or the target detaches it on the way")
        slope, *deep = torch.autograd.grad(loss.sum(), [z, *below])
        for copy, direction in zip(slope, towards, strict=True):
            gradient.addcmul_(copy, direction)
        for part in deep:
            gradient += part
    return gradient.div_(len(standard))


def one_per_row(values: Tensor, rows: int) -> Tensor:
    """Refuse what is not one number for each row.

    Raises:
        TargetError: if it is not.
    """
    if values.shape != (rows,):
        raise TargetError(f"the target must give one number per row, shape ({rows},); it gave {tuple(values.shape)}")
    return values
