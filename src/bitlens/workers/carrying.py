"""Items out, answers back: Ray Data carries them, this file says how."""

import pickle
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitlens.errors import BitlensWarning, ClusterError
from bitlens.system.optional import need
from bitlens.version import __version__
from bitlens.workers.actor import TRIES, Home, Ledger, Lost, Raised, Worker

Prepare = Callable[[str], Callable[[Any], Any]]
"""Called once in each worker with the device it has; gives what answers an item there."""

_BATCHES = 16  # for each worker at least, so that none waits long for another's last one
_LARGEST_BATCH = 16


@dataclass(frozen=True)
class Workers:
    """Processes that wait for work.

    Attributes:
        count: how many.
        cores: of each, and so many threads; 0 where cores are not counted.
        device: that each has for itself, "cpu" or "cuda".
        client: whether this process only talks to the cluster and is no part of it (`ray://`).
    """

    count: int
    cores: int
    device: str
    client: bool = False

    def carry_out(
        self, prepare: Prepare, items: Sequence[Any], *, places: Sequence[Path] = (), in_order: bool = False
    ) -> Iterator[tuple[int, Any]]:
        """Have every item answered.

        What is on its way is bounded: workers wait where answers are not taken. An exception in a worker ends it all, but
        for a full memory and a lost device: they end the worker, as a crash does, and the item is tried elsewhere.

        Args:
            prepare: sent to each machine once, with all that it holds.
            items: anything that can be pickled, functions included.
            places: files and folders that every machine must have. Relative paths mean there what they mean here, where the
                current folder exists there, too.
            in_order: give the answers in the order of the items; by default as they come.

        Yields:
            Positions of items and their answers; `Lost` in place of the answer to an item that ended its process, again
            and again.

        Raises:
            ClusterError: the cluster is lost, or the first items all ended their processes.
            BitlensError: that a worker raised.
        """
        ray = load_ray()
        _send_along_user_files(ray)
        ledger = ray.remote(Ledger).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
        sent = ray.put(prepare)  # one copy for each machine
        home = Home(Path.cwd(), tuple(places), __version__)
        answered, held = False, list[tuple[int, Lost]]()
        try:
            pickled = [ray.cloudpickle.dumps(item) for item in items]
            for position, content in self._contents(ray, (sent, ledger, home), pickled, in_order):
                answer = _opened(content)
                if isinstance(answer, Lost) and not answered:
                    held.append((position, answer))
                    _check_any_hope(held, self.count)
                    continue
                yield from held
                answered, held = True, []
                yield position, answer
            yield from held
        except ray.exceptions.RayError as error:
            raise ClusterError(f"the cluster failed: {first_line(error)}") from error

    def _contents(
        self, ray: Any, about: tuple[Any, ...], items: Sequence[bytes], in_order: bool
    ) -> Iterator[tuple[int, bytes]]:
        if not self.client:
            yield from _stream(self, about, items, in_order)
            return
        # Ray Data cannot be driven from outside a cluster: an actor inside does it
        driver = ray.remote(_Driver).options(num_cpus=0).remote(self, about, items, in_order)
        while (content := ray.get(driver.next.remote())) is not None:
            yield content


class _Driver:
    """Drives Ray Data within the cluster for a process outside."""

    def __init__(self, workers: Workers, about: tuple[Any, ...], items: Sequence[bytes], in_order: bool) -> None:
        self._contents = _stream(workers, about, items, in_order)

    def next(self) -> tuple[int, bytes] | None:
        """Return the next answer, None when all were given."""
        return next(self._contents, None)


def _stream(
    workers: Workers, about: tuple[Any, ...], items: Sequence[bytes], in_order: bool
) -> Iterator[tuple[int, bytes]]:
    data = need("ray.data", "cluster")
    size = max(1, min(_LARGEST_BATCH, len(items) // (_BATCHES * workers.count)))
    rows = [{"position": position, "item": item} for position, item in enumerate(items)]
    batches = -(-len(rows) // size)
    # Nothing waits in line at a worker: behind a slow item it would wait long
    pool = data.ActorPoolStrategy(size=min(workers.count, batches), max_tasks_in_flight_per_actor=1)
    answers = data.from_items(rows, override_num_blocks=batches).map_batches(
        Worker,
        fn_constructor_args=(*about, workers.device),
        batch_size=size,
        batch_format="numpy",
        compute=pool,
        num_cpus=workers.cores,
        num_gpus=1 if workers.device == "cuda" else None,
    )
    answers.context.enable_progress_bars = False
    answers.context.execution_options.preserve_order = in_order
    for batch in answers.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=1):
        yield from zip(batch["position"].tolist(), batch["answer"], strict=True)


def _opened(content: bytes) -> Any:
    answer, told = pickle.loads(content)
    for text in told:
        warnings.warn(text, BitlensWarning, stacklevel=3)
    if isinstance(answer, Raised):
        raise answer.error
    return answer


def _check_any_hope(held: Sequence[Any], most: int) -> None:
    if len(held) > most:
        raise ClusterError(
            f"the first {len(held)} samples each ended {TRIES} worker processes: a worker's memory is too small for this "
            "network, or its device is broken; fewer --workers leave more memory to each"
        )


def _send_along_user_files(ray: Any) -> None:
    """Send the code of a network out of FILE.py along with it: it is of a module that no worker can import."""
    for name, module in list(sys.modules.items()):
        if name.startswith("bitlens_file_"):
            ray.cloudpickle.register_pickle_by_value(module)


def load_ray() -> Any:
    """Import Ray, with Ray Data.

    Raises:
        DependencyError: if it is not installed.
    """
    need("ray.data", "cluster")
    return sys.modules["ray"]


def first_line(error: BaseException) -> str:
    """Return what an error of Ray's says first, and not the pages that follow."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:300]
