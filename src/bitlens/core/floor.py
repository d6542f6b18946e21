"""How much of a target a map holds, between what the network says and what it says without seeing anything."""

import math
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    Values = TypeVar("Values", Tensor, npt.NDArray[Any])

_ROUNDING = 2.0**-23  # of float32, in which values were measured


def share_kept(before: "Values", under: "Values", floor: "Values", error: "Values") -> "Values":
    """Return (under - floor) / (before - floor), NaN where that is not above what chance makes of the floor (2 `error`).

    Of tensors or of arrays: what reads a file does not wait for torch.
    """
    span = before - floor
    span[~(span > 2 * error.clip(_ROUNDING))] = math.nan
    kept: Values = (under - floor) / span
    return kept


def share_error(
    before: "Values", kept: "Values", under_error: "Values", floor: "Values", floor_error: "Values"
) -> "Values":
    """Return the standard error of what is kept, from those of the mean under noise and of the floor; NaN where nothing is."""
    error: Values = (under_error**2 + ((1 - kept) * floor_error) ** 2) ** 0.5 / (before - floor)
    return error
