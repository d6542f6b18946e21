"""The evaluation: samples one by one, all methods and metrics of each, into rows; what is there is not done again.

`evaluate_sample` needs a context and a task and gives rows, wherever it runs; `find_tasks` says what is missing, and
`carry_out` has it done and writes.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitlens.errors import BitlensError, DataError, SettingError
from bitlens.evaluation.case import CaseOf
from bitlens.evaluation.context import Context
from bitlens.evaluation.pinned import pin_settings
from bitlens.evaluation.rows import Row, RowWriter
from bitlens.evaluation.scored import Scored
from bitlens.evaluation.store import Done, RowStore
from bitlens.system.arrays import read_array
from bitlens.system.files import kept
from bitlens.view.heatmap import save_raw


@dataclass(frozen=True)
class Task:
    """Pairs of method and metric that are missing of one sample.

    Attributes:
        index: its position in the data set.
        wanted: labels of metrics by label of method.
    """

    index: int
    wanted: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Result:
    """Outcome of a task.

    Attributes:
        rows: one for each method and metric that was wanted.
        maps: (H, W) by label of method, those that were made and are to be kept.
    """

    rows: Sequence[Row]
    maps: Mapping[str, Tensor]


Engine = Callable[[Context, Iterable[Task]], Iterator[Result]]
"""Carries out tasks, in any order."""


def select_samples(count: int, part: tuple[int, int] = (1, 1), limit: int | None = None) -> list[int]:
    """Return positions of the samples to evaluate, in a fixed shuffled order.

    More of the same part always begins with the same samples: a larger limit adds to what is there.

    Args:
        count: how many samples there are.
        part: (k, n): the k-th of n parts, which share no sample.
        limit: at most how many.

    Raises:
        SettingError: if there is no such part, or nothing is left.
    """
    number, parts = part
    if not 1 <= number <= parts:
        raise SettingError(f"part {number}/{parts} does not exist: expected K/N with K from 1 to N")
    chosen = sorted(range(number - 1, count, parts), key=_shuffled)[:limit]
    if not chosen:
        raise SettingError(f"part {number}/{parts} of {count} samples, at most {limit}, is empty")
    return chosen


def _shuffled(index: int) -> bytes:
    return hashlib.sha256(str(index).encode()).digest()  # the same on every machine and in every version


def find_tasks(context: Context, folder: Path, indices: Sequence[int], *, retry_errors: bool = False) -> list[Task]:
    """Return what is missing in a folder, sample by sample; what the rows are going to be made with is pinned there.

    Args:
        context: what to evaluate with.
        folder: of the results.
        indices: positions of the samples.
        retry_errors: whether failures are tried again.

    Raises:
        SettingError: if the folder holds results made with other settings, or of other samples.
        DataError: if the folder cannot be read or written.
    """
    pin_settings(folder, context.settings())
    store = RowStore(folder / "rows", len(context.samples))
    _check_same_samples(store, context)
    done = store.done(failures=not retry_errors)
    return missing_tasks(done, indices, list(context.plan.methods), list(context.plan.metrics))


def missing_tasks(done: Done, indices: Sequence[int], methods: Sequence[str], metrics: Sequence[str]) -> list[Task]:
    """Return what is missing of samples, in their order; samples that lack nothing are left out.

    Args:
        done: what is there.
        indices: positions of the samples.
        methods: labels of those that are wanted.
        metrics: labels of those that are wanted.
    """
    chosen = np.asarray(indices, dtype=np.int64)
    lacking = np.stack([np.stack([done.lacks((method, metric), chosen) for metric in metrics]) for method in methods])
    whole = {method: list(metrics) for method in methods}  # one object for all: most samples lack everything
    tasks = []
    for place in np.flatnonzero(lacking.any((0, 1))):
        mine = lacking[..., place]
        wanted = {
            method: [metric for metric, lacks in zip(metrics, row, strict=True) if lacks]
            for method, row in zip(methods, mine, strict=True)
            if row.any()
        }
        tasks.append(Task(int(chosen[place]), whole if mine.all() else wanted))
    return tasks


def carry_out(
    context: Context,
    folder: Path,
    tasks: Iterable[Task],
    *,
    engine: Engine | None = None,
    every_seconds: float = 30.0,
    advance: Callable[[], Any] | None = None,
) -> None:
    """Evaluate samples into a folder.

    A run that is killed goes on where it was when the tasks are found anew. A sample that fails is recorded with its reason
    and does not stop the rest.

    Args:
        context: what to evaluate with.
        folder: of the results.
        tasks: see `find_tasks`.
        engine: carries out the tasks; by default this process, one after the other.
        every_seconds: how old rows may become before they are written.
        advance: called after each sample.

    Raises:
        DataError: if the folder cannot be written, or the disk is full.
    """
    with RowWriter(folder / "rows", every_seconds=every_seconds) as writer:
        for result in (engine or run_locally)(context, tasks):
            _keep(result, context)
            writer.add(result.rows)
            if advance is not None:
                advance()


def run_locally(context: Context, tasks: Iterable[Task]) -> Iterator[Result]:
    """Evaluate in one process, a sample after the other."""
    for task in tasks:
        yield evaluate_sample(context, task)


def evaluate_sample(context: Context, task: Task) -> Result:
    """Read one sample, and measure the maps that all wanted methods make of it.

    Whatever a sample, a method or a metric raises becomes the reason in its rows. A map is made when a metric first looks
    at it, once.
    """
    start = time.perf_counter()
    name = f"sample {task.index}"
    try:
        sample = context.samples[task.index]
        name = sample.name
        subject = context.read(sample)
    except Exception as error:  # one bad sample among thousands
        _refuse_to_hide(error)
        return failure(task, name, _reason(error), time.perf_counter() - start)
    rows, maps = [], {}
    for method, metrics in task.wanted.items():
        case = context.case(subject, method, _kept_map(context, method, task.index))
        rows += [_measured(context, case, task.index, method, metric) for metric in metrics]
        if context.maps is not None and case.made_map is not None:
            maps[method] = case.made_map
    return Result(rows, maps)


def failure(task: Task, name: str, reason: str, seconds: float | None = None) -> Result:
    """Return what became of a task that nothing could be measured for."""
    pairs = [(method, metric) for method, metrics in task.wanted.items() for metric in metrics]
    return Result([Row(task.index, name, "", *pair, error=reason, seconds=seconds) for pair in pairs], {})


def _measured(context: Context, case: CaseOf, index: int, method: str, metric: str) -> Row:
    start, made_before = time.perf_counter(), case.map_seconds
    scored, reason = None, None
    try:
        scored = context.metrics[metric](case)
    except Exception as error:  # what one method or metric cannot do must not stop the others
        _refuse_to_hide(error)
        reason = _reason(error)
    making = (case.map_seconds or 0.0) if made_before is None else 0.0
    applies = scored is not None and math.isfinite(scored.value)
    subject, found = case.subject, scored if applies and scored is not None else Scored(math.nan)
    return Row(
        index,
        subject.sample.name,
        subject.fingerprint,
        method,
        metric,
        target=subject.target if isinstance(subject.target, int) else None,
        predicted=subject.predicted,
        probability=subject.probability,
        error=reason,
        seconds=time.perf_counter() - start - making,
        map_seconds=case.map_seconds,
        **{**vars(found), "value": found.value if applies else None},
    )


def _refuse_to_hide(error: Exception) -> None:
    """Raise what is no fault of the sample: memory is full, or the device is lost for the rest of the process."""
    if isinstance(error, MemoryError | getattr(torch, "AcceleratorError", MemoryError)):
        raise error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text if isinstance(error, BitlensError) and text else f"{type(error).__name__}: {text}")[:500]


def _map_place(context: Context, method: str, index: int) -> Path | None:
    return context.maps / method / f"{index:08d}.npy" if context.maps is not None else None


def _kept_map(context: Context, method: str, index: int) -> Tensor | None:
    return kept(_map_place(context, method, index), lambda place: torch.from_numpy(read_array(place, "a map")))


def _keep(result: Result, context: Context) -> None:
    """Keep maps, which are written before the rows that were made from them."""
    for method, values in result.maps.items():
        place = _map_place(context, method, result.rows[0].index)
        if place is not None:
            save_raw(values, place)


def _check_same_samples(store: RowStore, context: Context) -> None:
    """Check one sample, which stands for all: data sets are replaced as a whole, or not at all."""
    known = store.first()
    if known is None:
        return
    try:
        sample = context.samples[known["index"]]
        now = (sample.name, context.fingerprint(sample))
    except DataError:
        return  # it cannot be read now: that will be recorded where it matters
    if now != (known["sample"], known["photo"]):
        raise SettingError(
            f"{store.folder.parent} holds results of other {context.noun}: sample {known['index']} was {known['sample']} "
            f"({known['photo']}) and is now {now[0]} ({now[1]}); use another --out"
        )
