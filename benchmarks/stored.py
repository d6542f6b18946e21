"""Rows of a benchmark in a folder, as `bitlens evaluate` writes them, so that the same tools pack and tell them."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from bitlens.evaluation.rows import Row, RowWriter
from bitlens.evaluation.store import RowStore


class Stored:
    """The rows of a folder; a benchmark that was cut short goes on with what is not there.

    Args:
        folder: made when the first rows are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "rows"
        series = RowStore(self.folder).series()
        self._known = {(method, int(index)) for (method, _), one in series.items() for index in one.index}

    def has(self, method: str, sample: int = 0) -> bool:
        """Whether a method was measured on a sample."""
        return (method, sample) in self._known

    def add(self, method: str, sample: int, found: Mapping[str, float], scale: float | None = None) -> None:
        """Keep what was found of a sample, by metric; with a scale the mean is one of ratios."""
        self._known.add((method, sample))
        with RowWriter(self.folder) as writer:
            writer.add(_rows(method, sample, found, scale))

    def add_all(self, method: str, found: Mapping[str, Tensor]) -> None:
        """Keep what was found of samples (n,), by metric."""
        with RowWriter(self.folder) as writer:
            for sample, values in enumerate(zip(*(one.double().tolist() for one in found.values()), strict=True)):
                writer.add(_rows(method, sample, dict(zip(found, values, strict=True)), None))
                self._known.add((method, sample))


def _rows(method: str, sample: int, found: Mapping[str, float], scale: float | None) -> Iterator[Row]:
    for metric, value in found.items():
        known = {"value": value, "scale": scale} if math.isfinite(value) else {}
        yield Row(sample, "", "", method, metric, **known)
