"""How much of what was found passes in the end: as it is, so many bits, or as few as hold a share of the target; the proof."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bitlens.bottlenecks.recorded import Recorded
from bitlens.core.effort import FitSettings
from bitlens.core.evidence import Evidence
from bitlens.core.family import Fitted, MaskFamily
from bitlens.core.floor import share_kept, span
from bitlens.core.holding import IMAGES, ROWS, SEARCHED, TEXTS, Cliff, Holding, fewest_that_hold
from bitlens.core.proofs import MOST, Look, Share, doubt, mean_and_error, proven
from bitlens.core.told import LEVELS
from bitlens.errors import NotFiniteError

_LOOK, _FLOOR, _CURVE = 0x2545F491, 0x1B873593, 0x27D4EB2F  # streams of noise; fits and proofs have others
_FLOOR_SAMPLES, _FLOOR_OF_TEXTS = 2, 24  # noises of the floor; a text's label is there or not, and few agree by chance
_MORE = (6, 24, 96)  # more where it is not low, more where nothing may be needed, and most where that is not clear then
_LOW = 0.05  # of the clean value
_CLEAR = 4.0  # standard errors of the floor, by which the clean value is above it where something surely is
_ALONG = (-4.0, -2.5, -1.5, -0.75, 0.0, 0.75, 2.0, 4.0)  # logits beside the masks found, where a curve is measured


@dataclass(frozen=True, eq=False)
class Settled:
    """Masks with what they are known to do.

    Attributes:
        fitted: the masks.
        evidence: None if nobody wants it.
        path: masks at each of `LEVELS`, None if nobody wants them.
        met: (N, L) the share that each of them was measured to keep: not the level where that was out of reach.
    """

    fitted: Fitted
    evidence: Evidence | None = None
    path: Sequence[Fitted] | None = None
    met: Tensor | None = None


@dataclass(frozen=True, eq=False)
class _Scale:
    """The way from the floor to the clean value, on which values under noise lie.

    Attributes:
        before: (N,) the clean values.
        floor: (N,) means with nothing but noise.
        floor_std: (N,) standard deviations of these.
        error: (N,) and their standard errors.
        two_sided: whether values are to stay as they are, so that more is as far off as less.
    """

    before: Tensor
    floor: Tensor
    floor_std: Tensor
    error: Tensor
    two_sided: bool

    @property
    def wide(self) -> Tensor:
        """Return how far it is (N,)."""
        return span(self.before, self.floor, self.floor_std if self.two_sided else None)

    @property
    def needed(self) -> Tensor:
        """Return of which samples something of the input is needed (N,)."""
        return self.share(self.before, torch.zeros_like(self.before)).isfinite()

    def share(self, mean: Tensor, spread: Tensor, samples: Tensor | slice = slice(None)) -> Tensor:
        """Return how much of the target is kept, from means and standard deviations under noise, all (n,)."""
        spreads = (spread, self.floor_std[samples]) if self.two_sided else None
        return share_kept(self.before[samples], mean, self.floor[samples], self.error[samples], spreads)

    def judge(self, *, capped: bool = False) -> Share:
        """Return what says how much is kept, and its standard error.

        Args:
            capped: whether no value counts for more than the clean one: where a share must hold, a rise under one noise makes no
                fall good. Of two sides neither does.
        """

        def judged(values: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
            if capped and not self.two_sided:
                values = values.minimum(self.before[samples])
            mean, spread, error = mean_and_error(values)
            kept = self.share(mean, spread, samples)
            return kept, torch.where(kept.isnan(), kept, error / self.wide[samples])

        return judged


@torch.no_grad()
def settle(recorded: Recorded, fitted: Fitted, fit: FitSettings, keep: float | None, bits: float | None) -> Settled:
    """Bring masks to a number of bits, or to the fewest that hold a share of the target, and measure what they keep.

    Args:
        recorded: the samples, ready to run behind the layer.
        fitted: masks that say where information is needed.
        fit: how they were found.
        keep: the share to hold, or None.
        bits: how many may pass, or None.
    """
    wanted = recorded.group.wanted
    masks = MaskFamily.of(recorded.features, recorded.noise, recorded.layout, recorded.region, fit.smoothing)
    held = Holding(recorded.run, recorded.target, masks, recorded.group.rows, recorded.deeper)
    if bits is not None:
        nats = recorded.features.new_full((len(recorded.features),), bits * math.log(2))
        fitted = masks.shifted(fitted.logits, masks.shift_to(fitted.logits, nats))
    if keep is None and not wanted.evidence_samples and not wanted.curve:
        return Settled(fitted)
    before, two_sided = recorded.target.value(recorded.output).detach().float(), recorded.target.two_sided
    seed = recorded.evidence_seed + _FLOOR
    few = _FLOOR_OF_TEXTS if recorded.group.kinds.shape[1] or two_sided else _FLOOR_SAMPLES
    floor, floor_std, error = mean_and_error(_floors(held, before, seed, few))
    rounded = held.rounding(recorded.dtype, before, floor)
    held = replace(held, rounded=rounded)
    scale = _Scale(before, floor + rounded, floor_std, error.maximum(rounded.abs()), two_sided)
    look, found, values = _looking(held, fitted.logits, recorded.evidence_seed), fitted, before[None]
    proof = wanted.evidence_samples
    if keep is not None:
        shift, values = fewest_that_hold(
            look, scale.judge(capped=True), keep, scale.needed, proof=proof or SEARCHED, closes=fit.closes,
            cliff=_cliff(recorded),
        )  # fmt: skip
        found = masks.shifted(fitted.logits, shift)
    elif proof:
        most = MOST if wanted.more_evidence else proof
        values = proven(look, scale.judge(), torch.zeros_like(before), proof, most)
    under, spread, _ = mean_and_error(values)
    evidence = None
    if proof:
        evidence = Evidence(
            before.cpu(), under.cpu(), spread.cpu(), recorded.target.measure, proof,
            scale.floor.cpu(), floor_std.cpu(), scale.error.cpu(),
            doubt(values, scale.wide).cpu() if proof > 1 else None,  # one noise says nothing of others
            two_sided=two_sided,
        )  # fmt: skip
    if not wanted.curve:
        return Settled(found, evidence)
    return Settled(found, evidence, *_path(held, masks, found.logits, scale, recorded.evidence_seed + _CURVE))


def _floors(held: Holding, before: Tensor, seed: int, few: int) -> Tensor:
    """Return values (count, N) with nothing but noise, NaN where a sample needs no more of them.

    There are more where they are no small part of the clean value. That nothing is needed is said of a few noises last: where
    each of them answers yes or no, some agree by chance. Each sample is asked for itself, whatever others are in its group.
    """
    values = held.floor(few, seed)
    NotFiniteError.refuse("the network's answer to nothing but noise", values.T)
    waiting = (values.mean(0) > _LOW * before) | (before <= 0)
    for turn, more in enumerate(_MORE):
        samples = waiting.nonzero().flatten()
        if not len(samples):
            break
        part = held.part(samples)
        found = part.floor(more, seed + 1 + turn)
        NotFiniteError.refuse("the network's answer to nothing but noise", found.T)
        rows = values.new_full((more, len(before)), torch.nan)
        rows[:, samples] = found if part is not held else found[:, samples]
        values = torch.cat([values, rows])
        floor, _, error = mean_and_error(values)
        above = before - floor
        waiting = waiting & (above <= _CLEAR * error)
        if turn:
            waiting = waiting & (above > 0)
    return values


def _finite(values: Tensor) -> Tensor:
    NotFiniteError.refuse("the network's answer under noise", values.T)
    return values


def _looking(held: Holding, logits: Tensor, seed: int) -> Look:
    """Return what asks the network about samples, with their logits shifted, under pairs of a noise and its negative."""

    def look(shift: Tensor, samples: Tensor, count: int, turn: int) -> Tensor:
        part, stream = held.part(samples), seed + _LOOK * turn
        if len(part.masks.features) == len(samples):
            return _finite(part.values(part.masks.shifted(logits[samples], shift).u, count, stream, antithetic=True))
        everywhere = shift.new_zeros(len(logits)).index_copy(0, samples, shift)  # where samples cannot be taken apart
        return _finite(
            held.values(held.masks.shifted(logits, everywhere).u, count, stream, antithetic=True)[:, samples]
        )

    return look


def _cliff(recorded: Recorded) -> Cliff:
    if recorded.rows_of_tables:
        return ROWS
    return TEXTS if recorded.group.kinds.shape[1] else IMAGES


def _path(held: Holding, masks: MaskFamily, logits: Tensor, scale: "_Scale", seed: int) -> tuple[list[Fitted], Tensor]:
    """Return masks at each of `LEVELS`, from shares measured along the way, and what they keep (N, L).

    A level that was not met has the nearest that was, with its own share; where nothing is needed everything is kept.
    """
    offsets = torch.tensor(_ALONG, device=logits.device)
    measured = []
    for offset in offsets:
        u = masks.shifted(logits, offset.expand(len(logits))).u
        mean, spread, _ = mean_and_error(held.values(u, SEARCHED, seed, antithetic=True))
        measured.append(scale.share(mean, spread))
    kept = torch.stack(measured).nan_to_num(1.0).cummax(0).values  # more bits keep no less
    path, met = [], []
    for level in LEVELS:
        above = (kept >= level).float().argmax(0)  # the first that keeps so much, 0 if none does
        above = torch.where((kept >= level).any(0), above, len(offsets) - 1)
        below = (above - 1).clamp_min(0)
        high, low = kept.gather(0, above[None])[0], kept.gather(0, below[None])[0]
        part = ((level - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
        path.append(masks.shifted(logits, offsets[below] + (offsets[above] - offsets[below]) * part))
        met.append(low + (high - low) * part)
    return path, torch.stack(met, 1)
