"""What the numbers of stored statistics and attributions may be: types, shapes, ranges, and that the parts agree."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bitlens.core.layout import Layout
from bitlens.system.checks import array, exactly, finite, mapping, number, text, texts, whole_number, yes_or_no

_FLOATS = (torch.float32, torch.float64)
_ROUNDING = 1e-3
_CLOSE = 1e-6
_CURVE = ("curve.kept", "curve.bits", "curve.maps")
_SPREAD = ("spread.std", "spread.agreed")
_ENTRIES = ("mean", "squares", "nonzero")


def statistics_parts(
    arrays: Mapping[str, Tensor], details: Mapping[str, Any], layout: Layout, prefix: str = ""
) -> dict[str, Any]:
    """Take the numbers of statistics as they were stored.

    Args:
        arrays: `mean`, `squares` and `nonzero`, each called so after the prefix.
        details: `samples`, `observations` and `granularity`.
        layout: of the layer.
        prefix: of the arrays' names.

    Raises:
        ValueError: if a part is missing, of another type or shape, not finite, out of range, or disagrees with the others.
    """
    samples = whole_number(details["samples"], "samples", least=1)
    observations = whole_number(details["observations"], "observations", least=1)
    granularity = text(details["granularity"], "granularity", ("element", "channel"))
    if granularity == "element":
        shape: tuple[int | None, ...] = (None,) * (len(layout.places) + 1)
    else:
        shape = (layout.extra + 1, None) if layout.extra else (None,)
    mean = array(arrays, f"{prefix}mean", torch.float64, shape)
    squares, nonzero = (array(arrays, f"{prefix}{n}", torch.float64, tuple(mean.shape), least=0) for n in _ENTRIES[1:])
    counts = torch.full(mean.shape[:1], float(observations), dtype=torch.float64)
    if granularity == "channel" and layout.extra:
        counts[:-1] = samples
    counts = counts.reshape(-1, *[1] * (mean.dim() - 1))
    if not mean.numel() or bool((nonzero > counts).any()) or bool((nonzero != nonzero.round()).any()):
        raise ValueError(f"{prefix}nonzero are no counts of {observations} observations")
    # Σx is over the values that are not zero: (Σx)² <= nonzero · Σx², by Cauchy and Schwarz
    total = squares + counts * mean.square()
    if bool(((counts * mean).square() > nonzero * total * (1 + _CLOSE)).any()):
        raise ValueError(f"{prefix}mean, squares and nonzero cannot belong to the same values")
    return {
        **{name: arrays[f"{prefix}{name}"] for name in _ENTRIES},
        "samples": samples,
        "observations": observations,
        "granularity": granularity,
        "layout": layout,
    }


def attribution_parts(
    arrays: Mapping[str, Tensor], details: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, dict[str, Any] | None]]:
    """Take an attribution's fields as they were stored, and those of its evidence, curve and spread, None where it has none.

    Raises:
        ValueError: if a part is missing, of another type or shape, not finite, out of range, or disagrees with the others.
    """
    words = {name: text(details[name], name) for name in ("unit", "method", "model", "layer", "version")}
    targets, settings = texts(details["targets"], "targets"), mapping(details["settings"], "settings")
    spread = ("spread",) if "spread" in details else ()
    exactly(details, (*words, "targets", "settings", "evidence", *spread), "the details")
    count, unit = len(targets), words["unit"]
    least = -torch.inf if unit == "score" else -_ROUNDING
    tensors = {"map": array(arrays, "map", _FLOATS, least=least, most=1 + _ROUNDING if unit == "mask" else torch.inf)}
    if not count or not tensors["map"].numel() or not 2 <= tensors["map"].dim() <= 4:
        raise ValueError(f"map has the shape {tuple(tensors['map'].shape)}, expected (samples, places)")
    others = arrays.keys() - {"map"} - {name for name in arrays if name.startswith("evidence.")}
    exactly(
        {name for name in others if name.startswith("curve.")}, _CURVE if "curve.kept" in others else (), "the curve"
    )
    exactly({name for name in others if name.startswith("spread.")}, _SPREAD if spread else (), "the spread")
    for name in sorted(others):
        if name not in ("total_bits", "extra_bits", "cells", "capacity", *_CURVE, *_SPREAD):
            raise ValueError(f"an array {name!r} belongs to no attribution")
        most = 1 + _ROUNDING if name == "spread.agreed" else torch.inf
        tensors[name] = array(arrays, name, _FLOATS, least=-_ROUNDING if name != "cells" else least, most=most)
    dimensions_of = {"total_bits": 1, "extra_bits": 2, "curve.kept": 2, "curve.bits": 2, "spread.agreed": 1}
    for name, dimensions in dimensions_of.items():
        if name in tensors and tensors[name].dim() != dimensions:
            raise ValueError(f"{name} has the shape {tuple(tensors[name].shape)}")
    wrong = [name for name, tensor in tensors.items() if not tensor.dim() or len(tensor) != count]
    if wrong:
        raise ValueError(f"there are {count} targets, but {wrong[0]} has the shape {tuple(tensors[wrong[0]].shape)}")
    curve: dict[str, Any] = {name.partition(".")[2]: tensors.pop(name) for name in _CURVE if name in tensors}
    differs: dict[str, Any] = {name.partition(".")[2]: tensors.pop(name) for name in _SPREAD if name in tensors}
    if spread:
        if differs["std"].shape != tensors["map"].shape:
            raise ValueError(
                f"spread.std has the shape {tuple(differs['std'].shape)}, the map {tuple(tensors['map'].shape)}"
            )
        differs |= _of_spread(mapping(details["spread"], "spread"))
    parts = {
        "evidence": _evidence(arrays, details["evidence"], count),
        "curve": curve or None,
        "spread": differs or None,
    }
    return {**tensors, **words, "targets": targets, "settings": settings}, parts


def _of_spread(details: Mapping[str, Any]) -> dict[str, Any]:
    exactly(details, ("seeds", "top"), "the details of the spread")
    top = float(number(details["top"], "top", least=0))
    if not 0 < top < 1:
        raise ValueError(f"top is {top}, expected a share above 0 and below 1")
    return {"seeds": whole_number(details["seeds"], "seeds", least=2), "top": top}


def _evidence(arrays: Mapping[str, Tensor], details: Any, count: int) -> dict[str, Any] | None:
    names = ("before", "under_noise", "under_noise_std")
    held = {name.removeprefix("evidence.") for name in arrays if name.startswith("evidence.")}
    if details is None:
        exactly(held, (), "the numbers of the evidence")
        return None
    known = mapping(details, "evidence")
    floor = ("floor", "floor_std") if "floor_samples" in known else ()  # version 0.1 did not measure it
    exactly(held, (*names, *floor), "the numbers of the evidence")
    allowed = "bypass_allowed" in known and yes_or_no(known["bypass_allowed"], "bypass_allowed")
    further = [name for name in ("floor_samples", "bypass_allowed") if name in known]  # either only where there is one
    exactly(known, ("measure", "noise_samples", *further), "the details of the evidence")
    measure = text(known["measure"], "measure", ("probability", "score"))
    low, high = (-_ROUNDING, 1 + _ROUNDING) if measure == "probability" else (-torch.inf, torch.inf)
    bounds = {
        **{"before": (low, high), "under_noise": (low, high), "under_noise_std": (0.0, high)},
        **({"floor": (low, high), "floor_std": (0.0, high)} if floor else {}),
    }
    proof = {
        name: array(arrays, f"evidence.{name}", _FLOATS, (count,), least=least, most=most)
        for name, (least, most) in bounds.items()
    }
    return {
        **proof,
        "measure": measure,
        "noise_samples": whole_number(known["noise_samples"], "noise_samples", least=1),
        "floor_samples": whole_number(known["floor_samples"], "floor_samples", least=1) if floor else 0,
        "bypass_allowed": allowed,
    }


def analysis_parts(arrays: Mapping[str, Tensor], details: Mapping[str, Any]) -> dict[str, Any]:
    """Take what an analysis of layers was stored as.

    Raises:
        ValueError: if a part is missing, of another type or shape, not finite, out of range, or disagrees with the others.
    """
    layers, targets = texts(details["layers"], "layers"), texts(details["targets"], "targets")
    betas = tuple(float(number(beta, "beta", least=0)) for beta in details["betas"])
    measure = text(details["measure"], "measure", ("probability", "score"))
    exactly(details, ("layers", "betas", "targets", "measure", "settings", "model"), "the details")
    exactly(arrays, ("maps", "kept", "spread", "before"), "the arrays")
    low, high = (-_ROUNDING, 1 + _ROUNDING) if measure == "probability" else (-torch.inf, torch.inf)
    each = (len(betas), len(layers), len(targets))
    return {
        "layers": layers,
        "betas": betas,
        "targets": targets,
        "measure": measure,
        "settings": mapping(details["settings"], "settings"),
        "model": text(details["model"], "model"),
        "maps": array(arrays, "maps", _FLOATS, (*each, None), least=-_ROUNDING),
        "kept": array(arrays, "kept", _FLOATS, each, least=low, most=high),
        "spread": array(arrays, "spread", _FLOATS, each, least=0),
        "before": array(arrays, "before", _FLOATS, (len(targets),), least=low, most=high),
    }


def all_finite(arrays: Mapping[str, Tensor]) -> None:
    """Refuse numbers that are not finite.

    Raises:
        ValueError: if there are some.
    """
    for name, tensor in arrays.items():
        finite(tensor, name)
