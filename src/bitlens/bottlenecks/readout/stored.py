"""What the parts of a stored readout may be, and that they belong together."""

from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch import Tensor

from bitlens.bottlenecks.readout.network import Normaliser
from bitlens.bottlenecks.readout.reads import Reads
from bitlens.core.gaussian import NoiseMode
from bitlens.core.layout import named_layout
from bitlens.core.statistics import FeatureStatistics
from bitlens.system.checks import array, exactly, listed, number, text, whole_number, yes_or_no

_TINY = torch.finfo(torch.float32).tiny


def stored_reads(arrays: Mapping[str, Tensor], details: Mapping[str, Any]) -> Reads:
    """Take what a readout looks at.

    Raises:
        ValueError: if a part is missing, of another type or shape, not finite or out of range.
    """
    normalisers: dict[str, Normaliser] = {}
    for place, (name, layout) in enumerate(listed(details["reads"], "reads")):
        axes = named_layout(*layout)
        mean = array(arrays, f"read.{place}.mean", torch.float32, (None,) * (len(axes.places) + 1))
        std = array(arrays, f"read.{place}.std", torch.float32, tuple(mean.shape), least=_TINY)
        if text(name, "a layer that is read") in normalisers:
            raise ValueError(f"{name!r} is read twice")
        normalisers[name] = Normaliser(axes, mean, std)
    if not normalisers:
        raise ValueError("it reads nothing")
    classes = whole_number(details["classes"], "classes", least=1)
    return Reads(normalisers, classes, yes_or_no(details["conditional"], "conditional"))


def stored_network(
    arrays: Mapping[str, Tensor], reads: Reads, statistics: FeatureStatistics, settings: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Take the weights of a readout's network.

    Raises:
        ValueError: as `stored_reads`; if they do not fit what is read, the statistics, or the settings.
    """
    _check_settings(settings, reads)
    layout, shape = statistics.layout, tuple(statistics.mean.shape)
    out = shape[layout.channel] if statistics.granularity == "element" else shape[-1]
    hidden, middle = (len(arrays[f"network.{name}.bias"]) for name in ("first", "second"))
    if settings["hidden"] not in (None, hidden) or settings["middle"] not in (None, middle):
        raise ValueError(f"its layers have {hidden} and {middle} outputs, its settings say otherwise")
    widths = [sum(reads.channels.values()), hidden, middle, out]
    state: dict[str, Tensor] = {}
    for name, before, behind in zip(("first", "second", "last"), widths[:-1], widths[1:], strict=True):
        state[f"{name}.weight"] = array(arrays, f"network.{name}.weight", torch.float32, (behind, before))
        state[f"{name}.bias"] = array(arrays, f"network.{name}.bias", torch.float32, (behind,))
    known = [f"network.{name}" for name in state]
    known += [f"statistics.{name}" for name in ("mean", "squares", "nonzero")]
    known += [f"read.{place}.{name}" for place in range(len(reads.normalisers)) for name in ("mean", "std")]
    exactly(arrays, known, "the arrays")
    return {name.removeprefix("network."): arrays[name] for name in arrays if name.startswith("network.")}


def _check_settings(settings: Mapping[str, Any], reads: Reads) -> None:
    for name in ("beta", "smoothing", "min_std"):
        number(settings[name], name, least=0)
    number(settings["activity_threshold"], "activity_threshold", least=-1, most=1)
    for name, least in (("hidden", 1), ("middle", 1), ("call", 0)):
        if settings[name] is not None:
            whole_number(settings[name], name, least=least)
    text(settings["noise"], "noise", get_args(NoiseMode))
    if settings["layout"] is not None:
        text(settings["layout"], "layout")
    if yes_or_no(settings["conditional"], "conditional") != reads.conditional:
        raise ValueError("whether it is conditional is told in two ways")
