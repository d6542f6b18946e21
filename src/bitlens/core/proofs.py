"""How sure it is what a map keeps: the standard error of few noises, and as many noises as it takes.

Maps are looked at under pairs of a noise and its negative, a few at first, and again under as many as there were where these
leave open how much is kept. Samples that need few take few.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

MOST = 64  # noises under which masks are judged
DOUBLINGS = 5  # of the noises, until they are so many
_KNOWN = 0.07  # standard error of a share that needs no more of them
_UNSEEN = 0.04  # standard deviation, in shares of the target, that few noises which agree may not have shown
_NORMAL = 1.959964  # within so many standard deviations lie 95 % of a normal distribution
_STREAM = 17  # turn of the noises that follow the first


def mean_and_error(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, standard deviation and standard error of the mean (N,) of values (count, N), those that are there."""
    count = values.isfinite().sum(0)
    mean = values.nanmean(0)
    spread = ((values - mean).square().nansum(0) / (count - 1).clamp_min(1)).sqrt()
    return mean, spread, spread / count.sqrt()


def doubt(values: Tensor, span: Tensor) -> Tensor:
    """Return the standard error (N,) of the mean of values (count, N): twice it is right about 19 times of 20, of few as well.

    To the spread comes what few noises that agree may not have shown, and twice the error is what Student's t asks for. How often
    it is right is measured by `benchmarks/proofs.py`.

    Args:
        values: under noise, those that are there, at least two of each.
        span: of the target (N,), between its clean value and the floor.
    """
    count = values.isfinite().sum(0)
    _, spread, _ = mean_and_error(values)
    return _student(count - 1) / 2 * ((spread.square() + (_UNSEEN * span).square()) / count).sqrt()


def _student(freedom: Tensor) -> Tensor:
    """Return within what Student's t lies with 95 %, by degrees of freedom (N,), to a hundredth.

    That is exact for one and two; for more it is the expansion of Abramowitz & Stegun, 26.7.5.
    """
    z, f = _NORMAL, freedom.float()
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    few = torch.where(freedom == 1, math.tan(0.475 * math.pi), 0.95 / math.sqrt(2 * 0.975 * 0.025))
    return torch.where(freedom < 3, few, z + first / f + second / f**2 + third / f**3)


Look = Callable[[Tensor, Tensor, int, int], Tensor]
"""Shifts (n,) of the logits of samples (n,), a number of noises, and a turn that has noise of its own → values (count, n)."""

Share = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Values (count, n) of samples by their indices (n,) → the share of the target that is kept (n,), and its standard error."""


def proven(look: Look, share: Share, shift: Tensor, proof: int, most: int = MOST) -> Tensor:
    """Look at masks under so many noises, and under more where these leave open how much is kept.

    Args:
        look: as in `fewest_that_hold`.
        share: of the target that is kept.
        shift: of each sample's logits (N,).
        proof: under how many noises masks are judged, at least.
        most: and at most.

    Returns:
        The values (count, N), NaN where other samples took more noises.
    """
    samples = torch.arange(len(shift), device=shift.device)
    values = shift.new_full((max(most, proof), len(shift)), math.nan)
    values[:proof] = look(shift, samples, proof, 0)
    until_sure(look, share, shift, samples, values, proof, _STREAM, _KNOWN)
    return values[: int(values.isfinite().sum(0).max())]


def until_sure(
    look: Look,
    share: Share,
    shift: Tensor,
    samples: Tensor,
    values: Tensor,
    count: int,
    stream: int,
    sure: float,
    keep: float | None = None,
) -> Tensor:
    """Fill values until errors of shares are small, or the shares clear of what is asked for; each time with as many again.

    Args:
        look: at the masks of some samples.
        share: of the target that is kept.
        shift: of each sample's logits (n,).
        samples: their indices (n,).
        values: room for so many noises (most, n).
        count: how many are there.
        stream: turn of the first that follow.
        sure: standard error of a share that needs no more.
        keep: the share that is asked for, if one is.

    Returns:
        The shares (n,).
    """
    kept, error = share(values[:count], samples)
    for more in range(DOUBLINGS):
        unsure = error > sure
        if keep is not None:
            unsure &= (kept >= keep) & (kept - 2 * error < keep)
        open_ = unsure.nonzero().flatten()
        if not len(open_) or count >= len(values):
            break
        rows = slice(count, min(2 * count, len(values)))
        values[rows, open_] = look(shift[open_], samples[open_], rows.stop - count, stream + more)
        kept[open_], error[open_] = share(values[: rows.stop, open_], samples[open_])
        count = rows.stop
    return kept
