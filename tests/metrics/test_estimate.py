"""Means and standard errors."""

import math

import pytest
import torch

from bitlens.metrics.estimate import Estimate


def test_against_the_formula_and_without_nan():
    estimate = Estimate.of(torch.tensor([1.0, 2.0, math.nan, 6.0]))
    assert (estimate.value, estimate.count) == (3.0, 3)
    assert estimate.standard_error == pytest.approx(math.sqrt((4 + 1 + 9) / 2 / 3))


def test_too_few_samples():
    one, none = Estimate.of(torch.tensor([2.0])), Estimate.of(torch.tensor([math.nan]))
    assert one.value == 2.0
    assert math.isnan(one.standard_error)
    assert none.count == 0
    assert math.isnan(none.value)
