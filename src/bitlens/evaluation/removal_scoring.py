"""Scores by what the network loses where it sees what it knows: one cell gone, pixels imputed or adversarial, noise at a layer.

As in `scoring`, each takes a case and settings, and gives the score or None.
"""

from typing import Any, Literal

import torch

from bitlens.bottlenecks.per_sample import IBA
from bitlens.core.passes import Precision
from bitlens.evaluation.case import Case
from bitlens.evaluation.scored import Scored, kept_curve
from bitlens.metrics.adversarial import adversarial
from bitlens.metrics.conciseness import effective_complexity
from bitlens.metrics.degradation import degradation
from bitlens.metrics.insertion_deletion import insertion_deletion
from bitlens.metrics.kept_per_bit import kept_per_bit
from bitlens.metrics.road import road
from bitlens.metrics.single_deletion import single_deletion


def single_deletion_score(
    case: Case,
    *,
    cells: int = 4,
    replacement: Literal["zero", "mean", "blur"] = "zero",
    precision: Precision = "float32",
) -> Scored:
    """Return rank correlation of each cell's sum with what the score loses without the cell."""
    nothing = torch.zeros_like(case.map)
    settings: dict[str, Any] = {"replacement": replacement, "precision": precision}
    # What the network loses without a cell does not depend on the map: one measurement for all methods
    measured = case.photo.once(
        f"single deletion {cells} {settings}", lambda: single_deletion(*case.asked, nothing, cells, **settings)
    )
    return Scored(float(measured.of(case.map).correlations()))


def road_score(case: Case, *, noise: float = 0.01, precision: Precision = "auto") -> Scored:
    """Return area between the curves of the target's probability, lowest and highest pixels imputed first."""
    found = road(*case.asked, case.map, noise=noise, **case.run(precision))
    curves = (kept_curve(values) for values in (found.removed, found.lerf[0], found.morf[0]))
    return Scored(float(found.areas()), None, *curves)


def adversarial_masking(
    case: Case,
    *,
    radius: float = 8 / 255,
    steps: int = 10,
    tile: int = 1,
    points: int = 21,
    precision: Precision = "auto",
) -> Scored:
    """Return area between the curves as adversarial pixels take their places, over the drop: a ratio of means."""
    other = case.photo.once(
        f"adversarial {radius} {steps}", lambda: adversarial(*case.asked, radius=radius, steps=steps)
    )
    found = degradation(*case.asked, case.map, tile, points=points, replacement=other, **case.run(precision))
    curves = (kept_curve(values) for values in (found.removed, found.lerf[0], found.morf[0]))
    return Scored(float(found.areas()), float(found.drop), *curves)


def complexity(
    case: Case,
    *,
    keep: float = 0.9,
    points: int = 224,
    start: Literal["blur", "zero", "mean"] = "blur",
    precision: Precision = "auto",
) -> Scored:
    """Return the smallest share of the highest pixels with which the network says nearly the same."""
    settings: dict[str, Any] = {"points": points, "step": None, "start": start, "replacement": "zero"}
    found = case.once(
        f"insertion and deletion {settings} {precision}",
        lambda: insertion_deletion(*case.asked, case.map, **settings, **case.run(precision)),
    )
    return Scored(float(effective_complexity(found, keep)))


def kept_per_bit_score(
    case: Case, *, layer: str = "", points: int = 16, noise_samples: int = 8, precision: Precision = "auto"
) -> Scored:
    """Return area under the kept share against log bits, as a layer's places open in the order of the map."""
    place = layer or case.layer()
    run, photo = case.run(precision), case.photo
    run["output"] = case.network.output
    bottleneck = IBA(case.network.model, place, **run)
    found = kept_per_bit(bottleneck, photo.image, [photo.target], case.map, points=points, noise_samples=noise_samples)
    x, y = found.bits[0].clamp_min(1e-3), found.kept[0]
    return Scored(float(found.areas()), None, kept_curve(x), kept_curve(y))
