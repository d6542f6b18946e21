"""An evaluation and its statistics on the workers of a cluster; what is there, what is missing and the rows stay here.

Network, list of samples and all that was learnt travel to each machine once; then positions go out and rows come back. Only
the photos must lie at the same place everywhere.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from bitlens.bottlenecks.per_sample import IBA
from bitlens.core.layout import Layout
from bitlens.core.statistics import FeatureStatistics, Granularity
from bitlens.data.datasets import Sample
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import BitlensError, ClusterError, DataError
from bitlens.evaluation.context import Context, make_context
from bitlens.evaluation.learning import Learner
from bitlens.evaluation.plan import Plan
from bitlens.evaluation.run import Engine, Result, Task, evaluate_sample, failure
from bitlens.methods.lessons import Collect, Progress, collect_here
from bitlens.models.loaded import Loaded
from bitlens.system.files import write_bytes
from bitlens.workers import Lost, Workers

__all__ = ["evaluates_on", "summarises_on"]

_CHUNK = 64  # photos whose statistics go on their way together


def evaluates_on(workers: Workers) -> Engine:
    """An engine that has samples evaluated by workers; rows come in any order.

    A sample that ends its worker's process again and again is a failure with that reason.
    """

    def engine(context: Context, tasks: Iterable[Task]) -> Iterator[Result]:
        waiting = list(tasks)
        if not waiting:
            return
        context.learn_all()
        prepare = partial(_evaluator, _Parcel.of(context))
        for position, answer in workers.carry_out(prepare, waiting, places=_places(context.plan.data)):
            yield _given_up(context, waiting[position], answer) if isinstance(answer, Lost) else answer

    return engine


def summarises_on(workers: Workers) -> Collect:
    """Statistics over photos by workers, each a part of them, merged here in the order of the photos.

    So they do not depend on the number of workers, and are those of one process but for the rounding of sums.
    """

    def collect(
        iba: IBA, samples: Sequence[Sample], preprocess: Preprocessing, granularity: Granularity, progress: Progress
    ) -> FeatureStatistics:
        starts = range(0, len(samples), _CHUNK)
        chunks = [samples[start : start + _CHUNK] for start in starts]
        layer = _Layer(iba.model, iba.probe.name, iba.probe.call, iba.layout)
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


@dataclass(frozen=True)
class _Parcel:
    """What a worker needs to have the context that the run began with."""

    plan: Plan
    loaded: Loaded
    samples: Sequence[Sample]
    learnt: Mapping[str, bytes]
    maps: Path | None

    @classmethod
    def of(cls, context: Context) -> "_Parcel":
        learnt = {path.name: path.read_bytes() for path in context.learner.folder.glob("[!.]*")}
        return cls(context.plan, context.loaded, context.samples, learnt, context.maps)


def _evaluator(parcel: _Parcel, device: str) -> Callable[[Task], Result]:
    """What evaluates a sample in a worker."""
    parcel.loaded.model.to(device)
    kept = TemporaryDirectory(prefix="bitlens-")
    for name, content in parcel.learnt.items():
        write_bytes(Path(kept.name) / name, content)
    learner = Learner(parcel.plan, Path(kept.name), parcel.samples, lambda *_: None)
    context = make_context(parcel.plan, parcel.loaded, parcel.samples, learner, parcel.maps)

    def evaluated(task: Task, _kept: object = kept) -> Result:  # the folder lives as long as the function
        return evaluate_sample(context, task)

    return evaluated


@dataclass(frozen=True)
class _Layer:
    """Where statistics are made, told without a bottleneck: that holds what cannot travel."""

    model: nn.Module
    name: str
    call: int | None
    layout: Layout | None


def _summariser(
    layer: _Layer, preprocess: Preprocessing, granularity: Granularity, device: str
) -> Callable[[Sequence[Sample]], FeatureStatistics | None]:
    """What makes statistics of some photos in a worker, or nothing of photos that cannot be read."""
    iba = IBA(layer.model.to(device), layer.name, call=layer.call)
    iba.layout = layer.layout

    def summarised(samples: Sequence[Sample]) -> FeatureStatistics | None:
        try:
            return collect_here(iba, samples, preprocess, granularity, lambda _: None)
        except DataError:
            return None  # a warning of each is on its way

    return summarised


def _given_up(context: Context, task: Task, lost: Lost) -> Result:
    try:
        name = context.samples[task.index].name
    except BitlensError:
        name = f"sample {task.index}"
    return failure(task, name, lost.reason)


def _folder_of(samples: Sequence[Sample]) -> list[Path]:
    """Where the first photo lies, if it is a file that can be read."""
    try:
        place = samples[0].path
    except DataError:
        return []
    return [place.parent] if place is not None else []


def _places(data: str) -> list[Path]:
    """The file or folder that the name of a data set names, if it does."""
    kind, colon, place = data.partition(":")
    if colon and kind in ("folder", "csv", "imagenet", "jsonl", "tsv"):
        return [Path(place).expanduser()]
    return [] if kind == "builtin" else [Path(data).expanduser()]
