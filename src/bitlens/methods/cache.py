"""What methods learn from a folder of photos once, kept in the user's cache folder for the next time."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from bitlens.baselines.pattern_attribution import PatternAttribution
from bitlens.baselines.patterns import Patterns
from bitlens.bottlenecks.per_sample import IBA
from bitlens.bottlenecks.readout.readout import ReadoutIBA
from bitlens.bottlenecks.readout.weights import ReadoutWeights
from bitlens.core.statistics import FeatureStatistics, Granularity, Provenance, warn_if_few
from bitlens.data.datasets import Sample, tensor_batches
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import DataError
from bitlens.models.load import LoadedModel
from bitlens.probe.collecting import summarise, summarise_layers
from bitlens.probe.fingerprint import weights_hash
from bitlens.training.examples import Photos
from bitlens.training.settings import TrainingSettings
from bitlens.version import __version__

__all__ = [
    "Collect",
    "Progress",
    "cache_folder",
    "collect_here",
    "layer_statistics_from",
    "patterns_from",
    "statistics_from",
    "weights_from",
]

_BATCH = 16
Learnt = TypeVar("Learnt")
Progress = Callable[[int], None]
Collect = Callable[[IBA, Sequence[Sample], Preprocessing, Granularity, Progress], FeatureStatistics]
"""Statistics of a bottleneck's layer over photos; told of the photos seen. What cannot be read is left out with a warning."""


def cache_folder() -> Path:
    """BITLENS_CACHE, or `bitlens` in the user's cache folder (XDG_CACHE_HOME, ~/.cache)."""
    own = os.environ.get("BITLENS_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bitlens"


def statistics_from(
    samples: Sequence[Sample],
    name: str,
    loaded: LoadedModel,
    iba: IBA,
    count: int,
    granularity: Granularity,
    *,
    keep: bool = True,
    progress: Progress | None = None,
    collect: Collect | None = None,
) -> tuple[FeatureStatistics, Path | None]:
    """Statistics of a bottleneck's layer over photos, from the cache if the very same were made before.

    Photos that cannot be read are left out, with a warning each.

    Args:
        samples: the photos; spread over the whole set if there are more than `count`.
        name: what the set is called in the provenance.
        loaded: the network and its preprocessing.
        iba: the bottleneck; it is given the statistics.
        count: how many photos.
        granularity: "element" or "channel".
        keep: whether to look into the cache and to keep the result there.
        progress: called with the number of photos seen.
        collect: runs the photos through the network; by default this process.

    Returns:
        The statistics, and where they are kept (None without `keep`).
    """
    chosen = _spread(samples, count)
    place = _statistics_place(iba, granularity, loaded, chosen)
    kept = _kept(place, FeatureStatistics.load) if keep else None
    if kept is not None:
        iba.statistics = kept
        return kept, place

    made = (collect or collect_here)(iba, chosen, loaded.preprocess, granularity, progress or (lambda _: None))
    warn_if_few(made)
    iba.statistics = replace(made, provenance=_provenance(iba, name, loaded, chosen))
    if not keep:
        return iba.statistics, None
    iba.statistics.save(place)
    return iba.statistics, place


def layer_statistics_from(
    samples: Sequence[Sample],
    name: str,
    loaded: LoadedModel,
    bottlenecks: Sequence[IBA],
    count: int,
    granularity: Granularity,
    *,
    progress: Progress | None = None,
) -> None:
    """Give bottlenecks at several layers of one network their statistics: each photo passes the network once for all of them.

    What `statistics_from` keeps for one layer serves here, and the other way round.

    Args:
        samples: the photos; spread over the whole set if there are more than `count`.
        name: what the set is called in the provenance.
        loaded: the network and its preprocessing.
        bottlenecks: at least one.
        count: how many photos.
        granularity: "element" or "channel".
        progress: called with the number of photos seen.
    """
    chosen = _spread(samples, count)
    missing: dict[Path, IBA] = {}
    for iba in bottlenecks:
        place = _statistics_place(iba, granularity, loaded, chosen)
        kept = _kept(place, FeatureStatistics.load)
        if kept is not None:
            iba.statistics = kept
        else:
            missing[place] = iba
    if not missing:
        return
    made = summarise_layers(
        [iba.probe for iba in missing.values()],
        _told_batches(chosen, loaded.preprocess, bottlenecks[0].probe.device, progress or (lambda _: None)),
        max_samples=len(chosen),
        granularity=granularity,
        layouts=[iba.layout for iba in missing.values()],
    )
    for (place, iba), found in zip(missing.items(), made, strict=True):
        warn_if_few(found)
        iba.statistics = replace(found, provenance=_provenance(iba, name, loaded, chosen))
        iba.statistics.save(place)


def collect_here(
    iba: IBA, samples: Sequence[Sample], preprocess: Preprocessing, granularity: Granularity, progress: Progress
) -> FeatureStatistics:
    """Statistics of a bottleneck's layer over photos, in this process; see `Collect`."""
    batches = _told_batches(samples, preprocess, iba.probe.device, progress)
    return summarise(iba.probe, batches, max_samples=len(samples), granularity=granularity, layout=iba.layout)


def _told_batches(
    samples: Sequence[Sample], preprocess: Preprocessing, device: torch.device, progress: Progress
) -> Iterator[Tensor]:
    seen = 0
    for images, _ in tensor_batches(samples, preprocess, _BATCH, on_error="skip"):
        seen += len(images)
        progress(seen)
        yield images.to(device)


def _statistics_place(iba: IBA, granularity: Granularity, loaded: LoadedModel, chosen: Sequence[Sample]) -> Path:
    key = [weights_hash(iba.model), iba.probe.name, str(iba.probe.call), str(iba.layout), granularity]
    return _place("statistics", key, loaded, chosen)


def _provenance(iba: IBA, name: str, loaded: LoadedModel, chosen: Sequence[Sample]) -> Provenance:
    return Provenance(
        loaded.name,
        weights_hash(iba.model),
        iba.probe.name,
        f"{name} ({len(chosen)} photos)",
        loaded.preprocess.description,
        __version__,
    )


def patterns_from(
    samples: Sequence[Sample],
    name: str,
    loaded: LoadedModel,
    method: PatternAttribution,
    count: int,
    *,
    keep: bool = True,
    progress: Callable[[int], None] | None = None,
) -> tuple[Patterns, Path | None]:
    """Patterns of a network over photos, as `statistics_from` makes statistics.

    Args:
        samples: the photos; spread over the whole set if there are more than `count`.
        name: what the set is called in the provenance.
        loaded: the network and its preprocessing.
        method: it is given the patterns.
        count: how many photos.
        keep: whether to look into the cache and to keep the result there.
        progress: called with the number of photos seen.

    Returns:
        The patterns, and where they are kept (None without `keep`).
    """
    chosen = _spread(samples, count)
    place = _place("patterns", [weights_hash(method.model)], loaded, chosen)
    kept = _kept(place, Patterns.load) if keep else None
    if kept is not None:
        method.patterns = kept
        return kept, place
    method.fit_patterns(
        tensor_batches(chosen, loaded.preprocess, _BATCH, on_error="skip"),
        len(chosen),
        data=f"{name} ({len(chosen)} photos)",
        preprocessing=loaded.preprocess.description,
        progress=progress,
    )
    if not keep:
        return method.patterns, None
    method.patterns.save(place)
    return method.patterns, place


def weights_from(
    samples: Sequence[Sample],
    name: str,
    loaded: LoadedModel,
    readout: ReadoutIBA,
    count: int,
    granularity: Granularity,
    *,
    keep: bool = True,
    progress: Progress | None = None,
) -> tuple[ReadoutWeights, Path | None]:
    """A readout trained on photos with usual settings, as `statistics_from` makes statistics; a photo that cannot be read raises.

    Args:
        samples: the photos; spread over the whole set if there are more than `count`.
        name: what the set is called in the provenance.
        loaded: the network and its preprocessing.
        readout: it is given the weights.
        count: how many photos.
        granularity: of the statistics, "element" or "channel".
        keep: whether to look into the cache and to keep the result there.
        progress: called with the number of photos seen, over all epochs.

    Returns:
        The weights, and where they are kept (None without `keep`).
    """
    chosen = _spread(samples, count)
    settings = TrainingSettings(batch=min(16, max(1, len(chosen) // 2)))
    key = [weights_hash(readout.model), readout.probe.name, granularity, json.dumps(readout.choices), repr(settings)]
    place = _place("readouts", key, loaded, chosen)
    kept = _kept(place, ReadoutWeights.load) if keep else None
    if kept is not None:
        readout.weights = kept
        return kept, place
    data, how = f"{name} ({len(chosen)} photos)", loaded.preprocess.description
    batches = (images for images, _ in tensor_batches(chosen, loaded.preprocess, _BATCH))
    readout.fit_statistics(batches, len(chosen), granularity=granularity, data=data, preprocessing=how)
    told = progress or (lambda _: None)
    readout.fit_weights(
        Photos(chosen, loaded.preprocess),
        settings,
        progress=lambda now: told(
            ((now.epoch - 1) * now.steps + now.step) * len(chosen) // (now.steps * settings.epochs)
        ),
        data=data,
        preprocessing=how,
    )
    if not keep:
        return readout.weights, None
    readout.save(place)
    return readout.weights, place


def _spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most `count` samples, spread over the whole set."""
    number = min(count, len(samples))
    return [samples[i * len(samples) // number] for i in range(number)]


def _place(kind: str, key: list[str], loaded: LoadedModel, chosen: Sequence[Sample]) -> Path:
    """The file for what was learnt from the very same photos, prepared the same way."""
    whole = [*key, loaded.preprocess.description, *(sample.fingerprint for sample in chosen)]
    return cache_folder() / kind / f"{hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:24]}.safetensors"


def _kept(place: Path, load: Callable[[Path], Learnt]) -> Learnt | None:
    if not place.is_file():
        return None
    try:
        return load(place)
    except DataError:
        return None  # damaged: it is made again and replaced
