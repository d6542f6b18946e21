"""What the numbers of stored statistics and analyses may be: types, shapes, ranges, and that the parts agree."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bitlens.core.layout import Layout
from bitlens.system.checks import array, exactly, finite, listed, mapping, number, text, texts, whole_number

_FLOATS = (torch.float32, torch.float64)
_ROUNDING = 1e-3
_CLOSE = 1e-6
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


def guarantee_parts(arrays: Mapping[str, Tensor], details: Mapping[str, Any]) -> dict[str, Any]:
    """Take what a guarantee was stored as.

    Raises:
        ValueError: if a part is missing, of another type or shape, not finite, out of range, or disagrees with the others.
    """
    exactly(arrays, ("budgets", "needed"), "the arrays")
    exactly(details, ("method", "settings", "noises", "asked", "inputs", "levels"), "the details")
    budgets = array(arrays, "budgets", torch.float64, (None,), least=0)
    if not len(budgets) or not bool((budgets > 0).all()) or not bool((budgets.diff() > 0).all()):
        raise ValueError("budgets do not rise from above 0")
    needed = array(arrays, "needed", torch.float64, (None,), least=0, most=len(budgets))
    if bool((needed != needed.round()).any()):
        raise ValueError("needed are no places of budgets")
    inputs = texts(details["inputs"], "inputs")
    if inputs and (len(inputs) != len(needed) or len(set(inputs)) != len(inputs)):
        raise ValueError(f"{len(inputs)} inputs are named for {len(needed)} numbers, or one of them twice")
    levels = tuple(_share(level, "a level") for level in listed(details["levels"], "levels"))
    if not levels:
        raise ValueError("levels are none")
    return {
        "method": text(details["method"], "method"),
        "settings": mapping(details["settings"], "settings"),
        "budgets": budgets,
        "needed": needed.long(),
        "noises": whole_number(details["noises"], "noises", least=1),
        "asked": text(details["asked"], "asked", ("predicted", "given")),
        "inputs": inputs,
        "levels": levels,
    }


def _share(value: Any, name: str) -> float:
    found = float(number(value, name))
    if not 0 < found < 1:
        raise ValueError(f"{name} is {value!r}, expected a share above 0 and below 1")
    return found


def all_finite(arrays: Mapping[str, Tensor]) -> None:
    """Refuse numbers that are not finite.

    Raises:
        ValueError: if there are some.
    """
    for name, tensor in arrays.items():
        finite(tensor, name)
