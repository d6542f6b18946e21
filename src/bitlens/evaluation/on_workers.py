"""An evaluation on the workers of a cluster; what is there, what is missing and the rows stay here.

Network, list of samples and all that was learnt travel to each machine once; then positions go out and rows come back. Only
the photos must lie at the same place everywhere.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bitlens.errors import BitlensError
from bitlens.evaluation.context import Context, make_context
from bitlens.evaluation.learning import Learner
from bitlens.evaluation.plan import Plan
from bitlens.evaluation.run import Engine, Result, Task, evaluate_sample, failure
from bitlens.models.loaded import Loaded
from bitlens.system.files import write_bytes
from bitlens.workers import Lost, Workers


def evaluates_on(workers: Workers) -> Engine:
    """Have samples evaluated by workers; rows come in any order.

    A sample that ends its worker's process again and again is a failure with that reason.
    """

    def engine(context: Context, tasks: Iterable[Task]) -> Iterator[Result]:
        waiting = list(tasks)
        if not waiting:
            return
        context.learn_all()
        learnt = {path.name: path.read_bytes() for path in context.learner.folder.glob("[!.]*")}
        prepare = partial(_evaluator, context.plan, context.loaded, context.samples, learnt, context.maps)
        for position, answer in workers.carry_out(prepare, waiting, places=_places(context.plan.data)):
            yield _given_up(context, waiting[position], answer) if isinstance(answer, Lost) else answer

    return engine


def _evaluator(
    plan: Plan, loaded: Loaded, samples: Sequence[Any], learnt: Mapping[str, bytes], maps: Path | None, device: str
) -> Callable[[Task], Result]:
    """Return what evaluates a sample in a worker, with the context that the run began with."""
    loaded.model.to(device)
    kept = TemporaryDirectory(prefix="bitlens-")
    for name, content in learnt.items():
        write_bytes(Path(kept.name) / name, content)
    learner = Learner(plan, Path(kept.name), samples, lambda *_: None)
    context = make_context(plan, loaded, samples, learner, maps)

    def evaluated(task: Task, _kept: object = kept) -> Result:  # the folder lives as long as the function
        return evaluate_sample(context, task)

    return evaluated


def _given_up(context: Context, task: Task, lost: Lost) -> Result:
    try:
        name = context.samples[task.index].name
    except BitlensError:
        name = f"sample {task.index}"
    return failure(task, name, lost.reason)


def _places(data: str) -> list[Path]:
    """Return the file or folder that the name of a data set names, if it does."""
    kind, colon, place = data.partition(":")
    if colon and kind in ("folder", "csv", "imagenet", "jsonl", "tsv"):
        return [Path(place).expanduser()]
    return [] if kind == "builtin" else [Path(data).expanduser()]
