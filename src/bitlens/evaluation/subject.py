"""What the evaluation asks of a sample, a photo or a text, and of a map that is made when it is first looked at."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from torch import Tensor

from bitlens.evaluation.scored import Scored
from bitlens.methods.specs import Spec

T = TypeVar("T")


class Named(Protocol):
    """A sample of a data set."""

    @property
    def name(self) -> str:
        """Unique within its data set."""
        ...


class Subject(Protocol):
    """One sample as the network sees it."""

    @property
    def sample(self) -> Named:
        """Where it comes from."""
        ...

    @property
    def fingerprint(self) -> str:
        """Of its content, 16 hexadecimal digits."""
        ...

    @property
    def target(self) -> int:
        """The class that is asked about."""
        ...

    @property
    def predicted(self) -> int:
        """The class that the network names."""
        ...

    @property
    def probability(self) -> float:
        """Of the target."""
        ...


class CaseOf(ABC):
    """One sample and one method's map of it.

    Args:
        subject: the sample.
        known: the map without its first axis, if it is there already.
    """

    def __init__(self, subject: Subject, known: Tensor | None) -> None:
        self.subject = subject
        self.map_seconds: float | None = None
        self._shared: dict[str, Any] = {}
        self._map = known[None] if known is not None else None
        self._failure: Exception | None = None

    @abstractmethod
    def _explain(self) -> Tensor:
        """The map, (1, ...)."""

    @property
    def map(self) -> Tensor:
        """(1, ...), made the first time; whatever the method raised then, it raises every time."""
        if self._failure is not None:
            raise self._failure
        if self._map is None:
            start = time.perf_counter()
            try:
                self._map = self._explain()
            except Exception as error:
                self._failure = error
                raise
            self.map_seconds = time.perf_counter() - start
        return self._map

    @property
    def made_map(self) -> Tensor | None:
        """Without the first axis, if it was made just now."""
        return self._map[0] if self._map is not None and self.map_seconds is not None else None

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What several metrics read different numbers from, made the first time."""
        if name not in self._shared:
            self._shared[name] = make()
        shared: T = self._shared[name]
        return shared


class Planned(Protocol):
    """What is to be evaluated."""

    @property
    def methods(self) -> Mapping[str, Spec]:
        """By label."""
        ...

    @property
    def metrics(self) -> Mapping[str, Spec]:
        """By label."""
        ...


class Setup(Protocol):
    """What it takes to carry out a plan, for photos or for texts."""

    @property
    def plan(self) -> Planned:
        """What is to be evaluated."""
        ...

    @property
    def noun(self) -> str:
        """What many samples are called: "photos" or "texts"."""
        ...

    @property
    def samples(self) -> Sequence[Any]:
        """The data set."""
        ...

    @property
    def metrics(self) -> Mapping[str, Callable[[Any], Scored | None]]:
        """By label, ready to measure a case."""
        ...

    @property
    def maps(self) -> Path | None:
        """The folder where maps are kept, if they are."""
        ...

    def settings(self) -> dict[str, Any]:
        """Everything that decides the rows, as plain values."""
        ...

    def read(self, sample: Any) -> Subject:
        """A sample of the data set as the network sees it."""
        ...

    def fingerprint(self, sample: Any) -> str:
        """Of the content of a sample of the data set."""
        ...

    def case(self, subject: Any, method: str, known: Any = None) -> CaseOf:
        """One sample and one method; `known` is its map if it is there already."""
        ...
