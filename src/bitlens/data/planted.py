"""Generated inputs whose class depends on known places: what is common to signals, volumes and rows of a table.

Each is drawn from (seed, split, index) alone: the same bytes for the same arguments, in any order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from bitlens.data.numbers import Numbers
from bitlens.errors import DataError

Split: TypeAlias = Literal["train", "test"]
Array: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]
SPLITS: dict[str, int] = {"train": 0, "test": 1}


@dataclass(frozen=True, eq=False)
class Planted:
    """One labelled input with the places that its class depends on.

    Attributes:
        numbers: the input.
        label: index of its class.
        mask: True at the places that decide: (T,), (D, H, W), or (D,) of a row.
    """

    numbers: Numbers
    label: int
    mask: Mask


Draw: TypeAlias = Callable[[np.random.Generator], Planted]


class PlantedSet(Sequence[Planted]):
    """The first `count` inputs of a split, drawn when asked for."""

    def __init__(self, draw: Draw, split: Split = "test", count: int = 1000, seed: int = 0) -> None:
        """Take how one is drawn; `count` is the length, 0 or more, and another seed, 0 or more, gives another set.

        Raises:
            DataError: an argument is out of its range.
        """
        if split not in SPLITS:
            raise DataError(f"split={split!r} is unknown: choose one of {', '.join(SPLITS)}")
        if count < 0 or seed < 0:
            raise DataError(f"count={count}, seed={seed}: expected 0 or more")
        self._length, self._draw, self.split, self.seed = count, draw, split, seed

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Planted: ...
    @overload
    def __getitem__(self, index: slice) -> list[Planted]: ...
    def __getitem__(self, index: int | slice) -> Planted | list[Planted]:
        """Return the input at `index`, negative counting from the end; IndexError past the end."""
        if isinstance(index, slice):
            return [self[i] for i in range(self._length)[index]]
        chosen = range(self._length)[index]
        return self._draw(np.random.default_rng((self.seed, SPLITS[self.split], chosen)))
