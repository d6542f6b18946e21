"""What a metric says of one map, of a photo or of a text."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bitlens.errors import NotFiniteError

if TYPE_CHECKING:
    from torch import Tensor

_MOST_POINTS = 201  # of a curve that is kept


@dataclass(frozen=True)
class Scored:
    """Value that a metric gives to one map.

    Attributes:
        value: the number; of a ratio of means the numerator.
        scale: of a ratio of means the denominator.
        x: where the curves were measured.
        upper: the curve, or of two curves the one that should be high.
        lower: of two curves the other one.
    """

    value: float
    scale: float | None = None
    x: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    upper: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    lower: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))

    def __post_init__(self) -> None:
        """Refuse a score that is infinite, or whose divisor is no number; NaN says that the metric does not apply.

        Raises:
            NotFiniteError: if it is.
        """
        if math.isinf(self.value) or not (self.scale is None or math.isnan(self.value) or math.isfinite(self.scale)):
            raise NotFiniteError("the score", -1, "the network's answers are too large to be compared")


def kept_curve(values: "Tensor") -> npt.NDArray[np.float32]:
    """Return a curve as it is kept: at most 201 points, the first and the last among them."""
    chosen = np.linspace(0, len(values) - 1, min(len(values), _MOST_POINTS)).round().astype(int)
    kept: npt.NDArray[np.float32] = values.detach().cpu().float().numpy()[chosen]
    return kept
