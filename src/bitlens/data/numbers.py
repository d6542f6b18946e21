"""Inputs that are numbers with axes: a signal, a volume, a row of a table, with what is known of their axes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bitlens.data.kinds import Form
from bitlens.errors import DataError

MOST = 1 << 28
"""So many numbers are read of one input at most: a gigabyte as float32."""
Array: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.float32]
AXES: dict[Form, str] = {
    "photo": "(C, H, W)",
    "signal": "(C, T)",
    "volume": "(C, D, H, W)",
    "table": "(D,)",
    "file": "(C, H, W) or (C, T) or (C, D, H, W) or (D,)",
}
"""How one input of each form is laid out, channels first."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """One input that is no photo and no text.

    Attributes:
        values: float32: (C, T) of a signal, (C, D, H, W) of a volume, (D,) of a row of a table.
        form: which of them it is.
        names: of the channels, or of a row's features; empty where unknown.
        rate: samples per second of a signal, None where unknown.
        spacing: millimetres between voxels along D, H and W, None where unknown.
    """

    values: Floats
    form: Form
    names: tuple[str, ...] = ()
    rate: float | None = None
    spacing: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        """Refuse what is empty, not finite, or has other axes.

        Raises:
            DataError: says which of it.
        """
        shape, expected = self.values.shape, AXES[self.form]
        if len(shape) != len(expected.strip("(),").split(",")) or not self.values.size:
            raise DataError(f"a {self.form} has shape {shape}: expected {expected}, with something in it")
        if not np.isfinite(self.values).all():
            bad = int((~np.isfinite(self.values)).sum())
            raise DataError(
                f"the {self.form} holds {bad} values that are NaN or infinite: leave them out, or fill them in"
            )
        if self.names and len(self.names) != shape[0]:
            raise DataError(
                f"the {self.form} has {shape[0]} rows of values and {len(self.names)} names: expected one for each"
            )

    def columns(self, names: Sequence[str]) -> "Numbers":
        """Return a row's features of these names, in their order.

        Raises:
            DataError: if one is missing.
        """
        missing = [name for name in names if name not in self.names]
        if missing:
            known = ", ".join(self.names) or "no names"
            raise DataError(f"the feature {missing[0]!r}, which the network reads, is missing: found {known}")
        return replace(self, values=self.values[[self.names.index(name) for name in names]], names=tuple(names))


def as_floats(values: Array) -> Floats:
    """Return what a file holds as float32, contiguous.

    Raises:
        ValueError: if it holds no real numbers, or some that are not finite.
    """
    if values.dtype.kind not in "fiub":
        raise ValueError(f"it holds {values.dtype}, expected real numbers")
    found = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(found).all():
        raise ValueError(
            f"it holds {int((~np.isfinite(found)).sum())} values that are NaN or infinite, or too large for float32"
        )
    return found
