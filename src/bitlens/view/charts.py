"""What a plot shows, whoever draws it: as a figure (`curves`) or on a page (`plot_page`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """One line.

    Attributes:
        name: of what it belongs to; one name has one colour in all charts of a figure.
        x: (n,).
        y: (n,).
        error: (n,) standard error, drawn as a band; empty for none.
    """

    name: str
    x: Numbers
    y: Numbers
    error: Numbers


@dataclass(frozen=True, eq=False)
class Chart:
    """Lines over one pair of axes.

    Attributes:
        title: what it shows.
        curves: at least one.
        x_label: with its unit.
        y_label: with its unit.
        logarithmic: whether x is.
        x_names: in place of the numbers 0, 1, 2, … along x.
    """

    title: str
    curves: Sequence[Curve]
    x_label: str
    y_label: str
    logarithmic: bool = False
    x_names: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Dots:
    """One number with its standard error for each name.

    Attributes:
        title: what it is.
        better: "higher" or "lower"; an arrow behind the title says so.
        values: (names,), NaN where there is none.
        errors: (names,) standard errors, NaN where there is none.
    """

    title: str
    better: Literal["higher", "lower"]
    values: Numbers
    errors: Numbers


@dataclass(frozen=True, eq=False)
class Plot:
    """Charts with curves, or columns of dots, under one title.

    Attributes:
        stem: what files of it are called.
        title: what it shows.
        caption: what must be known to read it.
        names: of all curves, in the order of the legend and of the colours; or of the rows of dots.
        parts: one or two charts, or at least one column of dots.
    """

    stem: str
    title: str
    caption: str
    names: Sequence[str]
    parts: Sequence[Chart] | Sequence[Dots]


def common_range(charts: Sequence[Chart]) -> tuple[float, float]:
    """Return where a y axis of all charts begins and ends."""
    curves = [curve for chart in charts for curve in chart.curves]
    bands = [curve.y + sign * np.nan_to_num(curve.error) for curve in curves if len(curve.error) for sign in (-1, 1)]
    values = np.concatenate([curve.y for curve in curves] + bands)
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    margin = 0.04 * (high - low or 1.0)
    return low - margin, high + margin
