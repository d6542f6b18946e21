"""Rank correlation against SciPy's, ties among the values."""

import numpy as np
import torch
from scipy.stats import rankdata, spearmanr

from bitlens.metrics.rank_correlation import midranks, spearman


def test_ranks_and_correlations_are_those_of_scipy():
    values = torch.from_numpy(np.random.default_rng(0).integers(0, 6, (2, 3, 20))).double()
    np.testing.assert_array_equal(midranks(values).numpy(), rankdata(values.numpy(), axis=-1))
    for a, b, found in zip(*values.unbind(0), spearman(*values.unbind(0)), strict=True):
        np.testing.assert_allclose(found, spearmanr(a, b).statistic, atol=1e-12)


def test_what_is_constant_has_no_order():
    assert spearman(torch.ones(1, 5), torch.arange(5.0)[None]).isnan().all()
