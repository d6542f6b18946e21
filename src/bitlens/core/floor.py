"""How much of a target a map holds, between what the network says and what it says without seeing anything."""

import math
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    Values = TypeVar("Values", Tensor, npt.NDArray[Any])

_ROUNDING = 2.0**-23  # of float32, in which values were measured: a share of them, whatever their unit


def share_kept(
    before: "Values",
    under: "Values",
    floor: "Values",
    error: "Values",
    spreads: "tuple[Values, Values] | None" = None,
) -> "Values":
    """Return (under - floor) / (before - floor), NaN where that is not above what chance makes of the floor (2 `error`).

    Of tensors or of arrays: what reads a file does not wait for torch.

    Args:
        before: (N,) clean values.
        under: (N,) means under noise.
        floor: (N,) means with nothing but noise.
        error: (N,) standard errors of these.
        spreads: standard deviations (N,) under noise and of the floor, of a value that is to stay as it is, so that more of it is
            as far off as less. Then what is kept is one minus the distance (`span`) under noise over that of the floor.
    """
    wide = span(before, floor, spreads and spreads[1])
    wide[~(wide > 2 * error.clip(_ROUNDING * abs(before).clip(abs(floor))))] = math.nan
    kept: Values = (under - floor) / wide if spreads is None else 1 - span(before, under, spreads[0]) / wide
    return kept


def span(before: "Values", values: "Values", spread: "Values | None" = None) -> "Values":
    """Return how far values fall below the clean ones; with their spread, the root mean square distance to either side."""
    far: Values = before - values if spread is None else ((before - values) ** 2 + spread**2) ** 0.5
    return far


def share_error(wide: "Values", kept: "Values", under_error: "Values", floor_error: "Values") -> "Values":
    """Return the standard error of what is kept, from those of the mean under noise and of the floor; NaN where nothing is.

    Args:
        wide: (N,) the `span` of the floor.
        kept: (N,) the shares.
        under_error: (N,) of the mean under noise.
        floor_error: (N,) of the floor.
    """
    error: Values = (under_error**2 + ((1 - kept) * floor_error) ** 2) ** 0.5 / wide
    return error
