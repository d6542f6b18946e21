"""Sparseness and effective complexity: closed forms, and Quantus."""

import numpy as np
import pytest
import torch

from bitlens.errors import InputError, SettingError
from bitlens.metrics import InsertionDeletion, effective_complexity, sparseness


def test_the_gini_index_of_known_distributions():
    count = 100
    one = torch.zeros(count)
    one[7] = -3
    exponential = -torch.log1p(-(torch.arange(count) + 0.5) / count)
    maps = torch.stack([torch.ones(count), torch.zeros(count), one, torch.arange(count) + 1.0, exponential])
    found = sparseness(maps).tolist()
    assert found[:4] == pytest.approx([0, 0, 1 - 1 / count, (count - 1) / (3 * count)])
    assert found[4] == pytest.approx(0.5, abs=0.01)  # of an exponential distribution: 1/2
    assert sparseness(7 * maps.flip(1)).tolist() == pytest.approx(found)


def test_against_quantus():
    quantus = pytest.importorskip("quantus")
    maps = torch.rand(3, 8, 8) ** 3
    metric = quantus.Sparseness(disable_warnings=True, normalise=False, abs=True)
    theirs = metric(None, maps[:, None].numpy(), np.zeros(3, int), a_batch=maps[:, None].double().numpy())
    np.testing.assert_allclose(sparseness(maps), theirs, rtol=1e-5)
    with pytest.raises(InputError, match="NaN"):
        sparseness(torch.full((1, 3), torch.nan))


def test_the_first_share_that_is_enough():
    share = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64).expand(3, -1)
    insertion = torch.tensor([[0.1, 0.73, 0.2, 0.8], [0.75, 0.1, 0.9, 0.8], [0.0, 0.1, 0.2, 0.8]])
    found = InsertionDeletion(share, insertion, insertion)
    assert effective_complexity(found).tolist() == [0.25, 0.0, 1.0]
    assert effective_complexity(found, keep=1.0).tolist() == [1.0, 0.5, 1.0]
    for wrong in (0, 1.5):
        with pytest.raises(SettingError, match="keep"):
            effective_complexity(found, keep=wrong)
