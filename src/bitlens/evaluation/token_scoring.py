"""How one text and one map become a number: the functions of `bitlens.metrics.token_removal`, fitted to a single sample."""

from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch

from bitlens.baselines.changes import Removal
from bitlens.core.passes import Precision
from bitlens.evaluation.case import TextCase
from bitlens.evaluation.scored import Scored, kept_curve
from bitlens.explaining.text import Unit
from bitlens.metrics.conciseness import effective_complexity
from bitlens.metrics.insertion_deletion import InsertionDeletion
from bitlens.metrics.token_removal import (
    share_sets,
    token_degradation,
    token_insertion_deletion,
    token_sensitivity_n,
    token_single_deletion,
)

_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def removal(
    case: TextCase,
    *,
    mode: Removal = "delete",
    unit: Unit = "token",
    points: int = 10,
    normalise: Literal["none", "set"] = "none",
    precision: Precision = "auto",
) -> Scored:
    """Return area between the curves; with normalise="set" over the drop from the text to nothing, a ratio of means (equation 9).

    Without tokens a classifier falls back to whatever class it likes best, so that drop is small for half the texts, and no
    measure of what there is to lose: by default areas stay probabilities.
    """
    settings: dict[str, Any] = {"mode": mode, "points": points, **case.run}
    found = token_degradation(*case.asked("value", unit, precision), case.map, **settings)
    curves = (kept_curve(values) for values in (found.removed, found.lerf[0], found.morf[0]))
    return Scored(float(found.areas()), float(found.drop) if normalise == "set" else None, *curves)


def _area_under(
    which: Literal["insertion", "deletion"],
    case: TextCase,
    *,
    unit: Unit = "token",
    points: int = 10,
    step: int | None = None,
    limit: float = 1.0,
    precision: Precision = "auto",
) -> Scored:
    """Return area under the curve of tokens that appear, or are replaced; both are measured at once."""
    found = _both_curves(case, unit, precision, points=points, step=step, limit=limit)
    area_of = getattr(found, f"{which}_areas")
    return Scored(float(area_of()), None, kept_curve(found.share[0]), kept_curve(getattr(found, which)[0]))


insertion = partial(_area_under, "insertion")
deletion = partial(_area_under, "deletion")


def complexity(
    case: TextCase, *, keep: float = 0.9, unit: Unit = "token", points: int = 10, precision: Precision = "auto"
) -> Scored:
    """Return the smallest share of the highest tokens with which the network says nearly the same."""
    found = _both_curves(case, unit, precision, points=points, step=None, limit=1.0)
    return Scored(float(effective_complexity(found, keep)))


def _both_curves(case: TextCase, unit: Unit, precision: Precision, **steps: Any) -> InsertionDeletion:
    settings: dict[str, Any] = {**steps, **case.run}
    return case.once(
        f"insertion and deletion {unit} {precision} {settings}",
        lambda: token_insertion_deletion(*case.asked("value", unit, precision), case.map, **settings),
    )


def sensitivity(case: TextCase, *, unit: Unit = "token", sets: int = 100, precision: Precision = "float32") -> Scored:
    """Return correlation of summed relevance with the drop of the score, mean over the shares of the text."""
    text = case.text
    answer, units = case.asked("score", unit, precision)
    nothing = torch.zeros(text.batch.real.shape, device=text.batch.real.device, dtype=torch.float32)
    # What the network loses without a set does not depend on the map: one measurement for all methods
    measured = text.once(
        f"sensitivity-n {unit} {sets} {precision}",
        lambda: token_sensitivity_n(answer, units, nothing, shares=_SHARES, sets=sets, **case.run),
    )
    relevance = units.sums(case.map)[0].cpu()
    count = len(relevance)
    attributed = torch.stack([share_sets(count, share, sets, case.seed).double() @ relevance for share in _SHARES])
    found = replace(measured, attributed=attributed[None])
    return Scored(float(found.means()), None, kept_curve(found.sizes), kept_curve(found.correlations()[0]))


def single_deletion(
    case: TextCase, *, mode: Removal = "replace", unit: Unit = "token", precision: Precision = "float32"
) -> Scored:
    """Return rank correlation of each token's relevance with what the score loses without the token alone."""
    text = case.text
    answer, units = case.asked("score", unit, precision)
    nothing = torch.zeros(text.batch.real.shape, device=text.batch.real.device, dtype=torch.float32)
    # What the network loses without a token does not depend on the map: one measurement for all methods
    measured = text.once(
        f"single deletion {mode} {unit} {precision}",
        lambda: token_single_deletion(answer, units, nothing, mode=mode, rows=case.rows),
    )
    return Scored(float(replace(measured, attributed=units.sums(case.map).cpu()).correlations()))
