"""How much of what was found passes in the end: as it is, so many bits, or as few as hold a share of the target; the proof."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bitlens.bottlenecks.recorded import Recorded
from bitlens.core.evidence import LEVELS, Evidence
from bitlens.core.family import Fitted, MaskFamily
from bitlens.core.floor import share_kept
from bitlens.core.holding import SEARCHED, Holding, fewest_that_hold, mean_and_spread

_SEARCH, _FLOOR, _CURVE = 0x2545F491, 0x1B873593, 0x27D4EB2F  # streams of noise; fits and proofs have others
_FLOOR_SAMPLES = 4
PROVEN = 8  # noises under which masks that hold are proven, unless somebody says otherwise
_ALONG = (-4.0, -2.5, -1.5, -0.75, 0.0, 0.75, 2.0, 4.0)  # logits beside the masks found, where a curve is measured
_ROUNDS, _MORE = 3, 0.7  # how often masks that do not hold are opened, and by how many logits
_TOLERATED = 0.02  # of what is to be kept: chance in the proof's few noises


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


@torch.no_grad()
def settle(recorded: Recorded, fitted: Fitted, smoothing: float, keep: float | None, bits: float | None) -> Settled:
    """Bring masks to a number of bits, or to the fewest that hold a share of the target, and measure what they keep.

    Args:
        recorded: the samples, ready to run behind the layer.
        fitted: masks that say where information is needed.
        smoothing: σ of their blur.
        keep: the share to hold, or None.
        bits: how many may pass, or None.
    """
    wanted = recorded.group.wanted
    masks = MaskFamily.of(recorded.features, recorded.noise, recorded.layout, recorded.region, smoothing)
    held = Holding(recorded.run, recorded.target, masks, recorded.group.rows, recorded.deeper)
    if bits is not None:
        nats = recorded.features.new_full((len(recorded.features),), bits * math.log(2))
        fitted = masks.shifted(fitted.logits, masks.shift_to(fitted.logits, nats))
    if keep is None and not wanted.evidence_samples and not wanted.curve:
        return Settled(fitted)
    before = recorded.target.value(recorded.output).detach().float()
    found, under, spread = fitted, before, torch.zeros_like(before)
    if keep is None and wanted.evidence_samples:
        under, spread = mean_and_spread(held.values(found.u, wanted.evidence_samples, recorded.evidence_seed))
    count = _FLOOR_SAMPLES if keep is not None else max(_FLOOR_SAMPLES, wanted.evidence_samples // 4)
    floor, floor_std = mean_and_spread(held.floor(count, recorded.evidence_seed + _FLOOR))

    def share(under: Tensor, samples: Tensor | slice = slice(None)) -> Tensor:
        return share_kept(before[samples], under, floor[samples], floor_std[samples] / count**0.5)

    if keep is not None:
        needed = share(before).isfinite()
        found, under, spread = _kept(held, recorded, fitted.logits, keep, needed, share)
    evidence = None
    if wanted.evidence_samples:
        evidence = Evidence(
            before.cpu(), under.cpu(), spread.cpu(), recorded.target.measure, wanted.evidence_samples,
            floor.cpu(), floor_std.cpu(), count,
        )  # fmt: skip
    if not wanted.curve:
        return Settled(found, evidence)
    return Settled(found, evidence, *_path(held, masks, found.logits, share, recorded.evidence_seed + _CURVE))


def _kept(
    held: Holding, recorded: Recorded, logits: Tensor, keep: float, needed: Tensor, share: Callable[..., Tensor]
) -> tuple[Fitted, Tensor, Tensor]:
    """The masks with the fewest bits that hold, and mean and spread of the target under noise that they were not found with.

    Masks that turn out not to hold are opened further, and measured under other noise.
    """
    seed, count = recorded.evidence_seed, recorded.group.wanted.evidence_samples or PROVEN

    def searched(shift: Tensor, samples: Tensor) -> Tensor:
        part = held.part(samples)
        u = part.masks.shifted(logits[samples], shift).u if part is not held else _all(shift, samples)
        values = part.values(u, SEARCHED, seed + _SEARCH, antithetic=True).mean(0)
        return share(values if part is not held else values[samples], samples)

    def _all(shift: Tensor, samples: Tensor) -> Tensor:
        return held.masks.shifted(logits, torch.zeros_like(needed, dtype=shift.dtype).index_copy(0, samples, shift)).u

    shift = fewest_that_hold(searched, logits.new_zeros(len(logits)), keep, needed)
    values = torch.zeros(count, len(logits), device=logits.device)
    waiting = torch.arange(len(logits), device=logits.device)
    for turn in range(_ROUNDS):
        part = held.part(waiting)
        chosen = waiting if part is not held else torch.arange(len(logits), device=logits.device)
        u = part.masks.shifted(logits[chosen], shift[chosen]).u
        values[:, chosen] = part.values(u, count, seed + turn, antithetic=True)
        short = needed & (share(values.mean(0)) < keep - _TOLERATED)
        waiting = short.nonzero().flatten()
        if not len(waiting) or turn == _ROUNDS - 1:
            break
        shift[waiting] += _MORE
    return held.masks.shifted(logits, shift), *mean_and_spread(values)


def _path(
    held: Holding, masks: MaskFamily, logits: Tensor, share: Callable[[Tensor], Tensor], seed: int
) -> tuple[list[Fitted], Tensor]:
    """Masks at each of `LEVELS`, from shares measured along the way, and what they keep (N, L).

    A level that was not met has the nearest that was, with its own share; where nothing is needed everything is kept.
    """
    offsets = torch.tensor(_ALONG, device=logits.device)
    measured = []
    for offset in offsets:
        u = masks.shifted(logits, offset.expand(len(logits))).u
        measured.append(share(held.values(u, SEARCHED, seed, antithetic=True).mean(0)))
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
