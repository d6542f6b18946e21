"""How one photo and one map become a number: the functions of `bitlens.metrics`, fitted to a single sample.

Each takes a case and the settings that a person may choose, and gives the score, or None where the metric does not apply
to the photo or the method.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bitlens.bottlenecks.at_layer import LayerBottleneck
from bitlens.core.passes import Precision
from bitlens.evaluation.case import Case
from bitlens.evaluation.scored import Scored, kept_curve
from bitlens.explaining.photo import ObjectShape
from bitlens.metrics import localization
from bitlens.metrics.degradation import Integral, TileSchedule, degradation
from bitlens.metrics.insertion_deletion import Area, insertion_deletion
from bitlens.metrics.ranking import Tiles
from bitlens.metrics.restricted_accuracy import restricted_accuracy
from bitlens.metrics.sensitivity_n import Draw, Sizes, random_sets, sensitivity_n
from bitlens.metrics.ssim import is_flat, ssim


def _inside(
    measure: Callable[..., Tensor], case: Case, *, region: ObjectShape = "mask", max_area: float = 1.0, **settings: Any
) -> Scored | None:
    inside = case.photo.inside(region, max_area)
    return Scored(float(measure(case.map, inside, **settings))) if inside is not None else None


mass_inside = partial(_inside, localization.mass_inside)
rank_auc = partial(_inside, localization.rank_auc)


def bounding_box(case: Case, *, region: ObjectShape = "boxes", max_area: float = 0.33) -> Scored | None:
    """Return the share of the highest pixels that lie inside."""
    return _inside(localization.bounding_box_ratio, case, region=region, max_area=max_area, seed=case.seed)


def effective_heat(
    case: Case,
    *,
    region: ObjectShape = "boxes",
    max_area: float = 0.33,
    scale: localization.HeatScale = "maximum",
    base_threshold: float = 0.1,
    cap: float = 0.99,
    weighted: bool = True,
) -> Scored | None:
    """Return the share of the heat that lies inside, over all thresholds."""
    settings = {"scale": scale, "base_threshold": base_threshold, "cap": cap, "weighted": weighted}
    return _inside(localization.effective_heat_ratio, case, region=region, max_area=max_area, **settings)


def pointing_game(
    case: Case, *, region: ObjectShape = "mask", max_area: float = 1.0, tolerance: int = 0
) -> Scored | None:
    """Return whether the highest pixel lies inside."""
    return _inside(localization.pointing_game, case, region=region, max_area=max_area, tolerance=tolerance)


def degradation_score(
    case: Case,
    *,
    tile: int = 14,
    points: int = 100,
    schedule: TileSchedule = "full",
    replacement: Literal["mean", "zero", "blur"] = "mean",
    integral: Integral = "trapezoid",
    precision: Precision = "auto",
) -> Scored:
    """Return area between the curves, over the drop from the photo to everything replaced: a ratio of means."""
    settings: dict[str, Any] = {"points": points, "schedule": schedule, "replacement": replacement}
    found = degradation(*case.asked, case.map, tile, **settings, **case.run(precision))
    curves = (kept_curve(values) for values in (found.removed, found.lerf[0], found.morf[0]))
    return Scored(float(found.areas(integral)), float(found.drop), *curves)


def _area_under(
    which: Literal["insertion", "deletion"],
    case: Case,
    *,
    points: int = 224,
    step: int | None = None,
    start: Literal["blur", "zero", "mean"] = "blur",
    replacement: Literal["zero", "mean", "blur"] = "zero",
    area: Area = "trapezoid",
    precision: Precision = "auto",
) -> Scored:
    """Return area under the curve of pixels that appear, or vanish; both are measured at once."""
    settings: dict[str, Any] = {"points": points, "step": step, "start": start, "replacement": replacement}
    found = case.once(
        f"insertion and deletion {settings} {precision}",
        lambda: insertion_deletion(*case.asked, case.map, **settings, **case.run(precision)),
    )
    area_of = getattr(found, f"{which}_areas")
    return Scored(float(area_of(area)), None, kept_curve(found.share[0]), kept_curve(getattr(found, which)[0]))


insertion = partial(_area_under, "insertion")
deletion = partial(_area_under, "deletion")


def sensitivity(
    case: Case,
    *,
    tile: int = 8,
    sizes: Sizes = "iba",
    sets: int = 100,
    draw: Draw = "without",
    replacement: Literal["zero", "mean", "blur"] = "zero",
    precision: Precision = "float32",
) -> Scored:
    """Return correlation of summed relevance with the drop of the score, mean over the sizes of the sets."""
    settings: dict[str, Any] = {"sizes": sizes, "sets": sets, "draw": draw, "replacement": replacement}
    nothing = torch.zeros_like(case.map)
    # What the network loses without a set does not depend on the map: one measurement for all methods
    measured = case.photo.once(
        f"sensitivity-n {tile} {settings} {precision}",
        lambda: sensitivity_n(*case.asked, nothing, tile, **settings, **case.run(precision)),
    )
    tiles = Tiles.over(case.network.prepared(case.photo.image).placed("sensitivity-n"), tile)
    relevance = tiles.sums(case.map)
    members = (random_sets(tiles.count, int(size), sets, case.seed, draw) for size in measured.sizes)
    attributed = torch.stack([relevance @ chosen.T.double() for chosen in members], 1)
    found = replace(measured, attributed=attributed)
    return Scored(
        float(found.means()),
        None,
        kept_curve(found.sizes * math.prod(tiles.sides)),
        kept_curve(found.correlations()[0]),
    )


def _restricted(number: str, case: Case, *, noise_samples: int = 32) -> Scored | None:
    """Return one number of `RestrictedAccuracy`. Only bottlenecks restrict; the mask is fitted once for all of them."""
    iba, photo = case.method, case.photo
    if not isinstance(iba, LayerBottleneck):
        return None
    found = case.once(
        f"restricted {noise_samples}",
        lambda: restricted_accuracy(iba, photo.image, [photo.target], noise_samples=noise_samples),
    )
    return Scored(float(getattr(found, number)))


top1 = partial(_restricted, "top1")
top5 = partial(_restricted, "top5")
information = partial(_restricted, "information")


def sanity(
    case: Case,
    *,
    layers: str = "",
    initialiser: Literal["default", "inputiba"] = "default",
    window: int = 5,
    percentiles: Literal["1-99", "0-100"] = "1-99",
    either_sign: bool = False,
) -> Scored | None:
    """Return likeness of the maps of ever more random networks to the trained one's, step by step; their mean.

    A map that is the same everywhere has nothing that another could be like: such a step does not count, and nothing is
    measured where the trained network's own is one, or all others are.
    """
    low, high = map(float, percentiles.split("-"))
    maps = (
        [case.map_of(method) for method in case.randomised(layers, initialiser)] if not bool(is_flat(case.map)) else []
    )
    likeness = [
        math.nan if bool(is_flat(one))
        else float(ssim(case.map, one, window=window, percentiles=(low, high), either_sign=either_sign))
        for one in maps
    ]  # fmt: skip
    if all(map(math.isnan, likeness)):
        return None
    curve = np.array([1.0, *likeness], np.float32)
    return Scored(float(np.nanmean(likeness)), None, np.arange(len(curve), dtype=np.float32), curve)


def sanity_steps(settings: Mapping[str, Any]) -> Sequence[str]:
    """Return what stands along the curve: the layers down to which the network was random."""
    return ("trained", *str(settings["layers"]).split("+"))
