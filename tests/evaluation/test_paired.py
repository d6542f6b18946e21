"""Means, standard errors and paired tests, against SciPy and against simulations."""

import math

import numpy as np
import pytest
from scipy import stats

from bitlens.evaluation.paired import compare, contributions, mean_of, t_test_p
from bitlens.evaluation.store import Series


def series(value, scale=None, index=None):
    value = np.asarray(value, float)
    index = np.arange(len(value)) if index is None else np.asarray(index)
    scale = np.full(len(value), np.nan) if scale is None else np.asarray(scale, float)
    return Series(index, value, scale, np.ones(len(value)), np.ones(len(value), bool))


@pytest.mark.parametrize("freedom", [1, 2, 3, 7, 30, 199, 49_999])
@pytest.mark.parametrize("t", [0.0, 1e-6, 0.3, 1.0, 2.5, 8.0, 30.0])
def test_p_is_that_of_students_t(freedom, t):
    assert t_test_p(t, 1.0, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-9)
    assert t_test_p(-t, 1.0, freedom) == t_test_p(t, 1.0, freedom)


def test_p_at_the_edges():
    assert math.isnan(t_test_p(1.0, 1.0, 0))
    assert t_test_p(0.0, 0.0, 5) == 1
    assert t_test_p(1.0, 0.0, 5) == 0


def test_mean_and_standard_error_leave_out_what_does_not_apply():
    found = mean_of(series([1, np.nan, 2, 6]))
    assert found.mean == 3
    assert found.standard_error == pytest.approx(stats.sem([1, 2, 6]))
    assert found.count == 3
    assert math.isnan(mean_of(series([4])).standard_error)
    assert mean_of(series([])).count == 0
    assert math.isnan(mean_of(series([np.nan])).mean)


def test_compare_is_the_paired_t_test_on_common_samples():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.3, 1, (2, 40))
    one = series(np.r_[a, 100], index=np.r_[np.arange(40) * 2, 1])
    other = series(np.r_[b, np.nan, -100], index=np.r_[np.arange(40) * 2, 1, 3])
    order = np.argsort(one.index)
    one = series(one.value[order], index=one.index[order])
    order = np.argsort(other.index)
    other = series(other.value[order], index=other.index[order])
    found = compare(one, other)
    assert found.count == 40
    assert found.difference == pytest.approx((a - b).mean())
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert compare(one, one).p == 1
    assert math.isnan(compare(series([1]), series([2])).p)
    assert compare(series([1], index=[0]), series([2], index=[1])).count == 0


def test_a_ratio_of_means_is_that_and_not_a_mean_of_ratios():
    value, scale = np.array([1.0, 0.0, 3.0]), np.array([2.0, 0.5, 4.0])
    assert contributions(value, scale).mean() == pytest.approx(value.mean() / scale.mean())
    assert mean_of(series(value, scale)).mean == pytest.approx(4 / 6.5)


def test_the_standard_error_of_a_ratio_is_its_spread_over_data_sets():
    rng = np.random.default_rng(1)
    ratios, errors = [], []
    for _ in range(2000):
        scale = rng.uniform(0.1, 1, 60)
        found = mean_of(series(scale * rng.uniform(0, 1, 60), scale))
        ratios.append(found.mean)
        errors.append(found.standard_error)
    assert np.mean(errors) == pytest.approx(np.std(ratios), rel=0.06)


def test_paired_differences_of_ratios_are_tested_at_their_level():
    rng = np.random.default_rng(2)
    p = []
    for _ in range(1000):
        scale = rng.uniform(0.1, 1, 40)
        shared = rng.uniform(0, 1, 40)
        one, other = (series(scale * (shared + rng.normal(0, 0.1, 40)), scale) for _ in range(2))
        p.append(compare(one, other).p)
    assert 0.03 < np.mean(np.array(p) < 0.05) < 0.07


def test_where_nothing_is_worth_anything_no_share_of_it_is_known() -> None:
    nothing = np.zeros(3)
    assert np.isnan(contributions(nothing, nothing)).all()
