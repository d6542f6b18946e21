"""How far masks can be closed before the target is lost: values under noise, the floor, and the fewest bits that hold.

Masks found at any price say where information is needed. How much of it may pass is then a question of one number for each
sample: what is added to all its logits, from everything (the clean value) to nothing but noise (the floor). What is kept of the
target between the two grows with it, so it is found by bracketing, with passes forward alone, under the same noise each time.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bitlens.core.family import MaskFamily
from bitlens.core.fitting import DeeperLayers, Run, chunks, one_per_row
from bitlens.core.gaussian import laid_out_like, noised_features
from bitlens.core.targets import Target

SEARCHED = 4  # noises under which masks are compared, two and their negatives
_STEPS = 8  # passes of these at most
_MARGIN = 0.01  # kept more than is asked for, so that other noise keeps it as well
_CLOSE = 0.03  # kept more than that needs fewer bits
_SLOPE, _LEAST = 0.6, 0.01  # e-folds of what is lost for each logit; what is not told from nothing
_STRIDE, _GROWTH = 2.0, 1.6  # logits: the farthest first step, and how much farther each may go than the one before
_NARROW = 0.3  # logits: closer than that masks hardly differ
FAR = 40.0  # logits below zero at which nothing passes


@dataclass(frozen=True, eq=False)
class Holding:
    """What the network says of the target under noise.

    Attributes:
        run: z (copies * N, ...) → the network's output.
        target: the question, one for each of the N samples.
        masks: of the samples' features.
        rows: how many rows go through the network at once.
        deeper: further layers that the same masks restrict.
    """

    run: Run
    target: Target
    masks: MaskFamily
    rows: int
    deeper: DeeperLayers | None = None

    def part(self, samples: Tensor) -> "Holding":
        """Return the same for some of the samples, by their indices; all of them where deeper layers are restricted, too."""
        if self.deeper is not None or len(samples) == len(self.masks.features):
            return self
        run = self.run
        return Holding(lambda z: run(z, samples), self.target.select(samples), self.masks.part(samples), self.rows)

    @torch.no_grad()
    def values(self, u: Tensor, count: int, seed: int, *, antithetic: bool = False) -> Tensor:
        """Return the target's value (count, N) at masks u (N, ...), under noise from a seed."""
        features, model = self.masks.features, self.masks.noise_model
        copies = max(1, self.rows // len(features))
        standard = self.masks.region.copies(features.shape[1:], seed, features.device)
        used, values = features * model.active, []
        noises = [standard.draw(1) for _ in range((count + 1) // 2 if antithetic else count)]
        noises += [-noise for noise in noises][: count - len(noises)]
        for chunk in chunks(count, copies):
            value = self.target.value(self.output(used, u, torch.cat(noises[chunk])))
            values.append(one_per_row(value, len(noises[chunk]) * len(features)).reshape(-1, len(features)))
        return torch.cat(values)

    def output(self, used: Tensor, u: Tensor, standard: Tensor) -> Any:
        """Return what the network says, of c copies of the samples.

        Args:
            used: (N, ...) features, those that count.
            u: (N, ...) masks.
            standard: normal noise, (c, 1, ...) the same for all samples, or (c, N, ...).
        """
        model = self.masks.noise_model
        z = noised_features(used, u, model.sample(laid_out_like(used, standard)))
        restricted = z.clamp_min(0) if model.clamp else z
        with self.deeper.restricted(u, len(standard)) if self.deeper is not None else nullcontext():
            return self.run(restricted.flatten(0, 1))

    def floor(self, count: int, seed: int) -> Tensor:
        """Return the target's value (count, N) with nothing but noise where features are restricted."""
        masks = self.masks
        nothing = masks.region.of(torch.ones_like(masks.features))
        return self.values(nothing, count, seed)


def mean_and_spread(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (N,) of values (count, N)."""
    return values.mean(0), values.std(0) if len(values) > 1 else torch.zeros_like(values[0])


def fewest_that_hold(kept_at: Callable[[Tensor, Tensor], Tensor], like: Tensor, keep: float, needed: Tensor) -> Tensor:
    """Return the shift of logits (N,) at which the target just holds.

    Args:
        kept_at: shifts (n,), of samples by their indices (n,) → share of the target that is kept (n,), under noise that is the
            same in every call.
        like: (N,) a tensor of the samples.
        keep: the share that is to be kept.
        needed: (N,) false where nothing of the input is needed: there nothing passes.
    """
    shift = torch.zeros_like(like)
    low, high = torch.full_like(shift, -FAR), torch.full_like(shift, FAR)
    low_lost, high_lost = torch.zeros_like(shift), torch.zeros_like(shift)
    wanted = keep + min(_MARGIN, (1 - keep) / 4)
    near = wanted + min(_CLOSE, (1 - keep) / 2)
    aim = _lost(torch.full_like(shift, (wanted + near) / 2))
    waiting, stride = needed.clone(), _STRIDE
    for _ in range(_STEPS):
        samples = waiting.nonzero().flatten()
        if not len(samples):
            break
        kept = torch.ones_like(shift).index_copy(0, samples, kept_at(shift[samples], samples))
        lost, holds = _lost(kept), kept >= wanted
        rises, falls = waiting & holds, waiting & ~holds
        high, high_lost = torch.where(rises, shift, high), torch.where(rises, lost, high_lost)
        low, low_lost = torch.where(falls, shift, low), torch.where(falls, lost, low_lost)
        waiting = waiting & ~(holds & (kept < near)) & ~(high - low < _NARROW)
        bracketed = (low > -FAR) & (high < FAR)
        part = (low_lost - aim) / (low_lost - high_lost).clamp_min(1e-6)
        between = low + (high - low) * part.clamp(0.3, 0.7)
        outside = shift + ((lost - aim) / _SLOPE).clamp(-stride, stride)
        stride *= _GROWTH
        shift = torch.where(waiting, torch.where(bracketed, between, outside), shift)
    return torch.where(needed, torch.where(high < FAR, high, shift + _STRIDE), -FAR)


def _lost(kept: Tensor) -> Tensor:
    """Return the logarithm of what is lost, which falls about evenly with the shift."""
    return (1 - kept).clamp_min(_LEAST).log()
