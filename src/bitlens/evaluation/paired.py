"""Means with standard errors, and whether two methods differ on the same samples."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from bitlens.evaluation.store import Series


@dataclass(frozen=True)
class Mean:
    """A mean over samples.

    Attributes:
        mean: NaN where there is no sample.
        standard_error: over samples; NaN for fewer than two.
        count: how many samples have a value.
    """

    mean: float
    standard_error: float
    count: int


@dataclass(frozen=True)
class Comparison:
    """One method minus another, on the samples that both have.

    Attributes:
        difference: of the two means.
        standard_error: of the difference; NaN for fewer than two samples.
        count: how many samples both have.
        p: of a paired t-test, two-sided; NaN for fewer than two samples.
    """

    difference: float
    standard_error: float
    count: int
    p: float


def contributions(value: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (n,) what each sample adds to the result: their mean is the result, their standard error its.

    For metrics without a scale these are the values. Others are a ratio of two means (equation 9 of Schulz et al., where
    the scale is what the whole photo is worth to the network): a sample counts as ratio + (value - ratio · scale) / mean
    scale, the first-order effect of leaving it out (delta method).
    """
    if not len(value) or np.isnan(scale).all():
        return value
    if scale.mean() == 0:  # nothing of any photo is worth anything to the network: no share of that is known
        return np.full_like(value, np.nan)
    ratio = value.mean() / scale.mean()
    added: npt.NDArray[np.float64] = ratio + (value - ratio * scale) / scale.mean()
    return added


def mean_of(series: Series) -> Mean:
    """Return the result of one method in one metric."""
    known = ~np.isnan(series.value)
    return _mean(contributions(series.value[known], series.scale[known]))


def compare(one: Series, other: Series) -> Comparison:
    """Return one method minus another on common samples, with a paired t-test of the differences.

    That is their mean over its standard error, with n - 1 degrees of freedom. Where many pairs are tested at once, nothing is
    corrected for that.
    """
    _, mine, theirs = np.intersect1d(
        one.index[~np.isnan(one.value)], other.index[~np.isnan(other.value)], assume_unique=True, return_indices=True
    )
    parts = []
    for series, chosen in ((one, mine), (other, theirs)):
        known = np.flatnonzero(~np.isnan(series.value))[chosen]
        parts.append(contributions(series.value[known], series.scale[known]))
    found = _mean(parts[0] - parts[1])
    p = t_test_p(found.mean, found.standard_error, found.count - 1)
    return Comparison(found.mean, found.standard_error, found.count, p)


def t_test_p(mean: float, standard_error: float, freedom: int) -> float:
    """Return the two-sided p of a mean under the hypothesis that it is 0: P(|t| ≥ |mean / standard error|), Student's t."""
    if freedom < 1 or math.isnan(mean):
        return math.nan
    if standard_error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stdtr(freedom, -abs(mean / standard_error)))


def _mean(values: npt.NDArray[np.float64]) -> Mean:
    count = len(values)
    if count == 0:
        return Mean(math.nan, math.nan, 0)
    error = float(values.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan
    return Mean(float(values.mean()), error, count)
