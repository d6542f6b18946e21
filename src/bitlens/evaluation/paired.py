"""Means with standard errors, and whether two methods differ on the same samples."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitlens.evaluation.store import Series

__all__ = ["Comparison", "Mean", "compare", "contributions", "mean_of", "t_test_p"]

_SMALL = 1e-300


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
    """(n,) what each sample adds to the result: their mean is the result, their standard error its.

    For metrics without a scale these are the values. Others are a ratio of two means (equation 9 of Schulz et al., where
    the scale is what the whole photo is worth to the network): a sample counts as ratio + (value - ratio · scale) / mean
    scale, the first-order effect of leaving it out (delta method).
    """
    if not len(value) or np.isnan(scale).all():
        return value
    ratio = value.mean() / scale.mean()
    added: npt.NDArray[np.float64] = ratio + (value - ratio * scale) / scale.mean()
    return added


def mean_of(series: Series) -> Mean:
    """The result of one method in one metric."""
    known = ~np.isnan(series.value)
    return _mean(contributions(series.value[known], series.scale[known]))


def compare(one: Series, other: Series) -> Comparison:
    """One method minus another on common samples, with a paired t-test of the differences.

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
    return Comparison(
        found.mean, found.standard_error, found.count, t_test_p(found.mean, found.standard_error, found.count - 1)
    )


def t_test_p(mean: float, standard_error: float, freedom: int) -> float:
    """Two-sided p of a mean under the hypothesis that it is 0: P(|t| ≥ |mean / standard error|).

    Student's t, by the regularised incomplete beta function I_x(ν/2, 1/2) at x = ν / (ν + t²).
    """
    if freedom < 1 or math.isnan(mean):
        return math.nan
    if standard_error == 0:
        return 1.0 if mean == 0 else 0.0
    t2 = (mean / standard_error) ** 2
    return _incomplete_beta(freedom / (freedom + t2), t2 / (freedom + t2), freedom / 2, 0.5)


def _mean(values: npt.NDArray[np.float64]) -> Mean:
    count = len(values)
    if count == 0:
        return Mean(math.nan, math.nan, 0)
    error = float(values.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan
    return Mean(float(values.mean()), error, count)


def _incomplete_beta(x: float, rest: float, a: float, b: float) -> float:
    """I_x(a, b), with rest = 1 - x given exactly, so that neither tail loses digits."""
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _incomplete_beta(rest, x, b, a)
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest)
    return math.exp(logarithm) / a / _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of I_x(a, b), DLMF 8.17.22, from the front (modified Lentz)."""
    value, c, d = 1.0, 1.0, 0.0
    for step in range(1, 100_000):
        m = step // 2
        if step % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1.0 / ((1.0 + term * d) or _SMALL)
        c = (1.0 + term / c) or _SMALL
        value *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return value
