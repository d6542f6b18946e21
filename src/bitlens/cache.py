"""Statistics made once from a folder of photos, kept in the user's cache folder for the next time."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from bitlens.bottlenecks.per_sample import IBA
from bitlens.data.datasets import Sample, tensor_batches
from bitlens.errors import DataError
from bitlens.models.load import LoadedModel
from bitlens.statistics import FeatureStatistics, Granularity, weights_hash

__all__ = ["cache_folder", "statistics_from"]

_BATCH = 16


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
    progress: Callable[[int], None] | None = None,
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

    Returns:
        The statistics, and where they are kept (None without `keep`).
    """
    number = min(count, len(samples))
    chosen = [samples[i * len(samples) // number] for i in range(number)]
    key = [weights_hash(iba.model), iba.probe.name, str(iba.probe.call), str(iba.layout), granularity]
    key += [loaded.preprocess.description, *(sample.fingerprint for sample in chosen)]
    place = cache_folder() / "statistics" / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]}.safetensors"
    kept = _kept(place) if keep else None
    if kept is not None:
        iba.statistics = kept
        return kept, place

    def batches() -> Iterator[Tensor]:
        seen = 0
        for images, _ in tensor_batches(chosen, loaded.preprocess, _BATCH, on_error="skip"):
            seen += len(images)
            if progress is not None:
                progress(seen)
            yield images.to(iba.probe.device)

    iba.fit_statistics(
        batches(),
        count,
        granularity=granularity,
        data=f"{name} ({len(chosen)} photos)",
        preprocessing=loaded.preprocess.description,
    )
    iba.statistics = replace(iba.statistics, provenance=replace(iba.statistics.provenance, model=loaded.name))
    if not keep:
        return iba.statistics, None
    iba.statistics.save(place)
    return iba.statistics, place


def _kept(place: Path) -> FeatureStatistics | None:
    if not place.is_file():
        return None
    try:
        return FeatureStatistics.load(place)
    except DataError:
        return None  # damaged: they are made again and replace it
