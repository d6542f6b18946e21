"""Statistics made by the workers of a cluster, each of a part of the photos, which lie at the same place everywhere."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from torch import nn

from bitlens.bottlenecks.per_sample import IBA
from bitlens.core.layout import Layout
from bitlens.core.statistics import FeatureStatistics, Granularity
from bitlens.data.datasets import Sample
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import ClusterError, DataError
from bitlens.methods.lessons import Collect, OnSeen, collect_here
from bitlens.workers import Lost, Workers

_CHUNK = 64  # photos whose statistics go on their way together


def summarises_on(workers: Workers) -> Collect:
    """Return statistics over photos by workers, each a part of them, merged here in the order of the photos.

    So they do not depend on the number of workers, and are those of one process but for the rounding of sums.
    """

    def collect(
        iba: IBA, samples: Sequence[Sample], preprocess: Preprocessing, granularity: Granularity, progress: OnSeen
    ) -> FeatureStatistics:
        starts = range(0, len(samples), _CHUNK)
        chunks = [samples[start : start + _CHUNK] for start in starts]
        layer = (iba.model, iba.probe.name, iba.probe.call, iba.layout)
        prepare = partial(_summariser, layer, preprocess, granularity)
        total: FeatureStatistics | None = None
        seen = 0
        for position, answer in workers.carry_out(prepare, chunks, places=_folder_of(samples), in_order=True):
            if isinstance(answer, Lost):
                raise ClusterError(
                    f"no statistics of photos {starts[position]} to {starts[position] + _CHUNK}: {answer.reason}"
                )
            if answer is not None:
                total = total.merge(answer) if total is not None else answer
            seen += len(chunks[position])
            progress(seen)
        if total is None:
            raise DataError(f"none of the {len(samples)} samples could be read")
        return total

    return collect


def _summariser(
    layer: tuple[nn.Module, str, int | None, Layout | None],
    preprocess: Preprocessing,
    granularity: Granularity,
    device: str,
) -> Callable[[Sequence[Sample]], FeatureStatistics | None]:
    """Return what makes statistics of some photos in a worker, or nothing of photos that cannot be read."""
    model, name, call, layout = layer  # a bottleneck holds what cannot travel
    iba = IBA(model.to(device), name, call=call)
    iba.layout = layout

    def summarised(samples: Sequence[Sample]) -> FeatureStatistics | None:
        try:
            return collect_here(iba, samples, preprocess, granularity, lambda _: None)
        except DataError:
            return None  # a warning of each is on its way

    return summarised


def _folder_of(samples: Sequence[Sample]) -> list[Path]:
    """Return where the first photo lies, if it is a file that can be read."""
    try:
        place = samples[0].path
    except DataError:
        return []
    return [place.parent] if place is not None else []
