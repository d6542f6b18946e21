"""How far masks can be closed before the target is lost: values under noise, the floor, and the fewest bits that hold.

Masks found at any price say where information is needed. How much of it may pass is then a question of one number for each
sample: what is added to all its logits, from everything (the clean value) to nothing but noise (the floor). What is kept of the
target between the two grows with it, so it is found by bracketing, with passes forward alone, under new noise each time.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bitlens.core.family import MaskFamily
from bitlens.core.fitting import DeeperLayers, Run, chunks, one_per_row
from bitlens.core.gaussian import laid_out_like, noised_features
from bitlens.core.proofs import DOUBLINGS, MOST, Look, Share, until_sure
from bitlens.core.targets import Target

SEARCHED = 4  # noises of one look, two and their negatives
_LOOKS = 8  # at each sample at most
_SURE = 0.05  # standard error of a share that needs no more noises
_PRIOR = 2.0  # noises that this is worth
_MARGIN = (
    0.9  # log-odds kept more than is asked for, so that other noise keeps it as well; twice that could pass fewer bits
)
_ENDS = (0.02, 0.998)  # shares beyond these do not say how far away the cliff is
_LEAST, _MOST = 0.72, 4.8  # over the slope, in logits: the smallest and the largest first step
_LEAP = 0.6  # from the smallest step to the largest, where the cliff is out of sight
_CLOSED = 1  # looks at which all that was looked at has held: what holds then is good enough
_GROWTH = 1.8  # by which each grows with the next
_NARROW = 1.8  # over the slope, in logits: closer than that masks hardly differ
FAR = 40.0  # logits below zero at which nothing passes


@dataclass(frozen=True)
class Cliff:
    """The place where masks that are closed lose the target, as far as it is known of a kind of inputs.

    Attributes:
        centre: shift of the logits at which about half is kept.
        slope: how steeply the log-odds of what is kept rise there, by logit.
    """

    centre: float
    slope: float


IMAGES, TEXTS, ROWS = Cliff(-0.75, 6.0), Cliff(-1.75, 1.75), Cliff(-2.4, 1.6)
"""As measured: a few words carry a text's label, and noise at each of them says something by itself; so do a row's features."""


@dataclass(frozen=True, eq=False)
class Holding:
    """Answers of the network about the target under noise.

    Attributes:
        run: z (copies * N, ...) → the network's output.
        target: the question, one for each of the N samples.
        masks: of the samples' features.
        rows: how many rows go through the network at once.
        deeper: further layers that the same masks restrict.
        rounded: (N,) what a lower precision takes from values, which is given back to them, see `rounding`.
    """

    run: Run
    target: Target
    masks: MaskFamily
    rows: int
    deeper: DeeperLayers | None = None
    rounded: Tensor | float = 0.0

    def part(self, samples: Tensor) -> "Holding":
        """Return the same for some of the samples, by their indices; all of them where deeper layers are restricted, too."""
        if self.deeper is not None or len(samples) == len(self.masks.features):
            return self
        run, rounded = self.run, self.rounded
        return Holding(
            lambda z: run(z, samples),
            self.target.select(samples),
            self.masks.part(samples),
            self.rows,
            rounded=rounded[samples] if isinstance(rounded, Tensor) else rounded,
        )

    @torch.no_grad()
    def values(self, u: Tensor, count: int, seed: int, *, antithetic: bool = False) -> Tensor:
        """Return the target's value (count, N) at masks u (N, ...), under noise from a seed."""
        return self._told(self.target.value, u, count, seed, antithetic=antithetic) + self.rounded

    def _told(
        self, read: Callable[[Any], Tensor], u: Tensor, count: int, seed: int, *, antithetic: bool = False
    ) -> Tensor:
        features, model = self.masks.features, self.masks.noise_model
        copies = max(1, self.rows // len(features))
        standard = self.masks.region.copies(features.shape[1:], seed, features.device)
        used, values = features * model.active, []
        noises = [standard.draw(1) for _ in range((count + 1) // 2 if antithetic else count)]
        noises += [-noise for noise in noises][: count - len(noises)]
        for chunk in chunks(count, copies):
            told = read(self.output(used, u, torch.cat(noises[chunk])))
            rows = one_per_row(told, len(noises[chunk]) * len(features))
            values.append(rows.float().reshape(-1, len(features)))
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
        return self.values(self._nothing, count, seed)

    @torch.no_grad()
    def lost(self, count: int, seed: int) -> Tensor:
        """Return the target's loss (count, N) there."""
        return self._told(self.target.minimised, self._nothing, count, seed)

    @property
    def _nothing(self) -> Tensor:
        return self.masks.region.of(torch.ones_like(self.masks.features))

    def rounding(self, dtype: torch.dtype | None, before: Tensor, floor: Tensor) -> Tensor:
        """Return what a lower precision takes from each clean value (N,), where the floor is near; 0 elsewhere.

        There it is much of what lies between the two, and no mask could hold it: it is no decision. Where the floor is far it
        does not matter, and is not measured.

        Args:
            dtype: the lower precision of `run`, None for the network's own.
            before: (N,) the clean values, in the network's own.
            floor: (N,) the mean with nothing but noise where features are restricted.
        """
        near = (before - floor).abs() < before.abs() / 2
        if dtype is None or not bool(near.any()):
            return torch.zeros_like(before)
        clean = self.values(torch.zeros_like(self.masks.features), 1, 0)[0]
        return torch.where(near, before - clean, 0.0)


def fewest_that_hold(
    look: Look,
    share: Share,
    keep: float,
    needed: Tensor,
    *,
    proof: int,
    closes: bool = True,
    cliff: Cliff = IMAGES,
) -> tuple[Tensor, Tensor]:
    """Find the shift of each sample's logits at which the target just holds.

    Networks lose a target within about one logit. So each look, under noise of its own, says about where that is; what all looks
    together say is where to look next. Masks that hold are looked at again, until the proof has all its noises, and where those
    leave it open, up to `MOST`.

    Args:
        look: at the masks of some samples.
        share: of the target that is kept.
        keep: the share that is to be kept.
        needed: (N,) false where nothing of the input is needed: there nothing passes.
        proof: under how many noises masks are judged in the end, at least; never fewer than those of one look.
        closes: whether masks that keep clearly more are closed until they just hold.
        cliff: where to look first.

    Returns:
        The shifts (N,), and the values (count, N) there, NaN where other samples took more noises.
    """
    aim = math.log(keep / (1 - keep)) + _MARGIN
    enough = 1 / (1 + math.exp(-aim - _MARGIN))
    known, proof = _Known.of(needed, cliff, aim, enough), max(proof, SEARCHED)
    values = known.shift.new_full((max(MOST, proof), len(needed)), math.nan)
    waiting = needed.clone()
    for turn in range(_LOOKS):
        samples = waiting.nonzero().flatten()
        if not len(samples):
            break
        here, seen = known.shift[samples], look(known.shift[samples], samples, SEARCHED, 2 * turn)
        kept, _ = share(seen, samples)
        settled = kept >= keep
        if closes:
            settled &= (kept <= enough) | known.narrow(samples) | (known.held(samples) & (turn >= _CLOSED))
        chosen = settled.nonzero().flatten()
        if len(chosen):
            seen_more, kept[chosen] = _proved(
                look, share, here[chosen], samples[chosen], seen[:, chosen], keep, proof, turn
            )
            settled[chosen] = kept[chosen] >= keep
            values[:, samples[chosen]] = seen_more
        waiting[samples] = ~settled
        known.learn(samples, kept, keep)
        known.shift[samples] = torch.where(settled, here, known.following(samples, kept, keep, turn))
    left = (waiting | ~needed).nonzero().flatten()
    shift = torch.where(waiting & (known.high < FAR), known.high, known.shift)  # what held, where anything did
    shift = torch.where(needed, shift, -FAR)
    if len(left):
        values[:, left] = math.nan
        values[:proof, left] = look(shift[left], left, proof, 2 * _LOOKS)
    return shift, values[: int(values.isfinite().sum(0).max())]


def _proved(
    look: Look,
    share: Share,
    shift: Tensor,
    samples: Tensor,
    seen: Tensor,
    keep: float,
    proof: int,
    turn: int,
) -> tuple[Tensor, Tensor]:
    """Look again at masks that hold, under so many noises, and under more where the share may by chance be above what is asked.

    A share is sure as soon as its error is small, or it lies clear of what is asked for.

    Returns:
        The values, `MOST` or more of each (count, n), NaN where there was no need of them, and the shares (n,).
    """
    values = seen.new_full((max(MOST, proof), len(samples)), math.nan)
    values[:SEARCHED] = seen
    if proof > SEARCHED:
        values[SEARCHED:proof] = look(shift, samples, proof - SEARCHED, 2 * turn + 1)
    stream = 2 * _LOOKS + 1 + DOUBLINGS * turn
    return values, until_sure(look, share, shift, samples, values, proof, stream, _SURE, keep)


@dataclass(frozen=True, eq=False)
class _Known:
    """Knowledge, from looks, of the place where each of N samples loses the target.

    Attributes:
        shift: where to look next (N,).
        low: the highest shift that did not hold (N,).
        high: the lowest that did (N,).
        weight: of all that was said, in noises (N,).
        moment: the sum of the places that were said, each by its weight (N,).
        slope: of the cliff, see `Cliff`.
        aim: log-odds that are to be kept.
        enough: share that is clearly more than is to be kept.
    """

    shift: Tensor
    low: Tensor
    high: Tensor
    weight: Tensor
    moment: Tensor
    slope: float
    aim: float
    enough: float

    @classmethod
    def of(cls, samples: Tensor, cliff: Cliff, aim: float, enough: float) -> "_Known":
        """Begin with what is known of a kind of inputs."""
        each = torch.zeros(samples.shape, device=samples.device)
        weight, moment = each + _PRIOR, each + _PRIOR * cliff.centre
        return cls(
            each + cliff.centre + aim / cliff.slope, each - FAR, each + FAR, weight, moment, cliff.slope, aim, enough
        )

    def narrow(self, samples: Tensor) -> Tensor:
        """Say of which samples masks that hold and masks that do not hardly differ."""
        return self.shift[samples] - self.low[samples] < _NARROW / self.slope

    def held(self, samples: Tensor) -> Tensor:
        """Say of which samples no mask was seen that does not hold."""
        return self.low[samples] <= -FAR

    def learn(self, samples: Tensor, kept: Tensor, keep: float) -> None:
        """Take in what was kept at the shifts of samples (n,)."""
        here, holds = self.shift[samples], kept >= keep
        self.high[samples] = torch.where(holds, here.minimum(self.high[samples]), self.high[samples])
        self.low[samples] = torch.where(holds, self.low[samples], here.maximum(self.low[samples]))
        worth = torch.where((kept > 1 - keep) & (kept < self.enough), 1.0, 0.75) * SEARCHED  # an end tells less
        self.weight[samples] += worth
        self.moment[samples] += worth * (here - kept.clamp(*_ENDS).logit() / self.slope)

    def following(self, samples: Tensor, kept: Tensor, keep: float, turn: int) -> Tensor:
        """Return where to look at samples next: where the cliff should be, not too near or far, between what held and did not."""
        here, below, above, holds = self.shift[samples], self.low[samples], self.high[samples], kept >= keep
        least, most = (step / self.slope * _GROWTH**turn for step in (_LEAST, _MOST))
        there = self.moment[samples] / self.weight[samples] + self.aim / self.slope
        down = torch.where(
            kept > _ENDS[1], least + _LEAP * (most - least), least
        )  # all is kept: it is farther than that
        there = torch.where(
            holds, there.clamp(here - most).minimum(here - down), there.clamp(here + least, here + most)
        )
        part = ((there - below) / (above - below)).clamp(0.3, 0.7)
        return torch.where((below > -FAR) & (above < FAR), below + (above - below) * part, there)
