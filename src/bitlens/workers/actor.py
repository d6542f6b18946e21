"""What runs in the processes that do the work: one actor each, and one that remembers what they are at."""

import os
import pickle
import socket
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitlens.errors import BitlensError, BitlensWarning, ClusterError
from bitlens.system.memory import keep_freed_memory
from bitlens.version import __version__

TRIES = 3
"""Processes that an item may take along."""


@dataclass(frozen=True)
class Lost:
    """Stands for the answer to an item whose process died, again and again."""

    tries: int

    @property
    def reason(self) -> str:
        """Return what a person reads."""
        return f"the process that worked on it died, {self.tries} times: out of memory, or a crash in native code"


@dataclass(frozen=True)
class Raised:
    """Stands for an answer: what a worker raised."""

    error: BitlensError | RuntimeError


@dataclass(frozen=True)
class Home:
    """Places that a worker must have in common with the process that asks."""

    folder: Path
    places: tuple[Path, ...]
    version: str

    def move_in(self) -> None:
        """Be where relative paths mean the same, and refuse to work where results would be of something else."""
        here = socket.gethostname()
        if self.version != __version__:
            raise ClusterError(
                f"{here} has bitlens {__version__}, this process {self.version}: install the same on both"
            )
        if self.folder.is_dir():
            os.chdir(self.folder)
        for place in self.places:
            if not place.exists():
                raise ClusterError(f"there is no {place} on {here}: it must lie at the same place on every machine")


class Ledger:
    """Record of the items that were begun and not ended, and how often."""

    def __init__(self) -> None:
        self._open: dict[int, int] = {}

    def begin(self, position: int) -> int:
        """Note an item down; say how often it was begun in vain before."""
        before = self._open.get(position, 0)
        self._open[position] = before + 1
        return before

    def end(self, position: int) -> None:
        """Note that an item has an answer."""
        self._open.pop(position, None)


class Worker:
    """Worker that runs in each process."""

    def __init__(self, sent: Any, ledger: Any, home: Home, device: str) -> None:
        import ray

        keep_freed_memory()
        self._ray, self._sent, self._ledger, self._home, self._device = ray, sent, ledger, home, device
        self._answer: Callable[[Any], Any] | None = None

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[Any]]]:
        """Answer some items."""
        for position, item in zip(batch["position"].tolist(), batch["item"], strict=True):
            tries = self._ray.get(self._ledger.begin.remote(position))
            if tries >= TRIES:  # it stays in the ledger: another item of this batch may take the process along next
                answer, told = Lost(TRIES), list[str]()
            else:
                answer, told = self._answered(item)
                self._ray.get(self._ledger.end.remote(position))
            yield {"position": [position], "answer": [pickle.dumps((answer, told))]}

    def _answered(self, item: bytes) -> tuple[Any, list[str]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default", BitlensWarning)
            try:
                if self._answer is None:
                    self._home.move_in()
                    self._answer = self._ray.get(self._sent)(self._device)
                answer = self._answer(pickle.loads(item))
            except BitlensError as error:
                answer = Raised(error)
            except Exception as error:
                if isinstance(error, (MemoryError, *_lost_device())):
                    os._exit(1)  # this process is of no use any more: Ray starts another
                answer = Raised(
                    RuntimeError(f"{type(error).__name__}: {error}, in a worker:\n{traceback.format_exc()}")
                )
        return answer, [str(one.message) for one in caught if issubclass(one.category, BitlensWarning)]


def _lost_device() -> tuple[type[Exception], ...]:
    """Return what PyTorch raises for it, where it is in use and new enough."""
    found = getattr(sys.modules.get("torch"), "AcceleratorError", None)
    return (found,) if found is not None else ()
