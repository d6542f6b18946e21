"""The optimisation of masks: many samples at once, memory bounded, the network run only behind the layer.

The objective of one sample is  mean over copies of loss(Z) + β · mean over features of the information  (algorithms
B5; this is the paper's β/k with the sum). Samples are independent: the loss of a batch is the sum of theirs and Adam
works element by element, so N samples together give what N single runs give. Each step draws one set of noise for all
samples, from the seed alone, so a sample's noise does not depend on the batch it is in.

Autograd sees the network only from Z on, and the mask only from u back. What a copy adds to the gradient of u is
∂loss/∂Z · (ε - R), summed over copies as they come, so memory does not grow with their number; what the information adds is
written out, in fewer operations than autograd would need.

With few copies most of that sum is chance: ε - R is (μ - R) + σn, and the second part, which is known to be
σ²u · ∂²loss/∂Z² on average, comes with the draw of every other feature in it. `averaged` leaves it out.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor

from bitlens.core.effort import FitSettings
from bitlens.core.family import Fitted, MaskFamily, Region
from bitlens.core.gaussian import NoiseModel, laid_out_like
from bitlens.core.layout import Layout
from bitlens.core.targets import Target
from bitlens.errors import FitError, NotFiniteError, TargetError

Run = Callable[..., Any]
"""z (copies * N, ...) → the network's output; with (n,) indices as a second argument z holds copies of these samples alone."""
Watch = Callable[[int, Tensor], None]


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
    weight: Tensor | None = None,
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
        weight: how many nats a unit of each sample's loss counts for (N,); one, if not given.
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
        slope = loss_gradient(run, target, used, u, noise_model, standard, copies, deeper, averaged=settings.averaged)
        if weight is not None:
            slope *= weight.reshape(each)
        slope.addcmul_(price, masks.information_slope(u))
        torch.autograd.backward([shares], [slope], inputs=[logits])
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        fitted = masks.at(logits.detach())
    reason = "the network's output or its gradient is not finite under noise"
    NotFiniteError.refuse("the mask", fitted.information, reason)
    return fitted


def loss_gradient(
    run: Run,
    target: Target,
    features: Tensor,
    u: Tensor,
    noise_model: NoiseModel,
    standard: Tensor,
    copies: int,
    deeper: DeeperLayers | None = None,
    *,
    averaged: bool = False,
) -> Tensor:
    """Return ∂/∂u of the sum over samples of the mean loss over copies: (N, ...); `averaged` as in `FitSettings`.

    u is (N, ...), the same for all copies, or (copies, N, ...), another for each.
    """
    gradient = torch.zeros_like(features)
    for chunk in chunks(len(standard), copies):
        towards = noise_model.sample(standard[chunk]) - features
        own = u[chunk] if u.dim() > features.dim() else u
        below = [own.detach().requires_grad_()] if deeper is not None else []
        z = torch.addcmul(features, own, towards).requires_grad_()
        restricted = z.clamp_min(0) if noise_model.clamp else z
        rows = restricted.flatten(0, 1)
        with deeper.restricted(below[0], len(towards)) if deeper is not None else nullcontext():
            loss = one_per_row(target.minimised(run(rows)), len(rows))
        if not loss.requires_grad:
            raise FitError("the loss has no gradient at the layer: the network or the target detaches it on the way")
        slope, *deep = torch.autograd.grad(loss.sum(), [z, *below])
        directions = (noise_model.mean * noise_model.active - features).expand_as(towards) if averaged else towards
        for copy, direction in zip(slope, directions, strict=True):
            gradient.addcmul_(copy, direction)
        for part in deep:
            gradient += part.sum(0) if part.dim() > features.dim() else part
    return gradient.div_(len(standard))


def one_per_row(values: Tensor, rows: int) -> Tensor:
    """Refuse what is not one number for each row.

    Raises:
        TargetError: if it is not.
    """
    if values.shape != (rows,):
        raise TargetError(f"the target must give one number per row, shape ({rows},); it gave {tuple(values.shape)}")
    return values
