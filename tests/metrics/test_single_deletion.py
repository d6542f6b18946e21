"""Single deletion: linear networks, the authors' procedure in plain loops, and what says nothing."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from bitlens.core.inputs import ModelInputs
from bitlens.errors import InputError, SettingError
from bitlens.metrics import SingleDeletion, single_deletion
from bitlens.metrics.single_deletion import cell_numbers, cell_sums
from networks import model_state, noise_images, quadrant_images, quadrant_net, small_net


def test_cells_share_the_places_of_any_number_of_axes():
    assert cell_numbers((4, 4), 2).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert cell_numbers((7,), 3).tolist() == [0, 0, 0, 1, 1, 2, 2]
    volume = cell_numbers((4, 6, 8), 2)
    assert volume.flatten().bincount().tolist() == [2 * 3 * 4] * 8
    assert (volume[0, 0, 7], volume[0, 5, 0], volume[3, 0, 0]) == (1, 2, 4)
    maps = torch.randn(3, 8, 8)
    sums = cell_sums(maps, cell_numbers((8, 8), 4))
    torch.testing.assert_close(sums[:, 6], maps[:, 2:4, 4:6].sum((1, 2)).double())
    for wrong in (1, 9):
        with pytest.raises(SettingError, match="cells must be at"):
            cell_numbers((8, 8), wrong)


def test_exact_relevance_of_a_linear_network_is_perfect():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4)).eval()
    images = noise_images(3)
    maps = (images * model[1].weight[2].view(3, 16, 16)).sum(1).detach()
    assert single_deletion(model, images, 2, maps).correlations().tolist() == pytest.approx([1] * 3)
    assert single_deletion(model, images, 2, -maps).score().value == pytest.approx(-1)


@pytest.mark.parametrize("replacement", ["zero", "mean"])
def test_against_the_authors_procedure(replacement):
    """As in their `single_deletion.py`: cells by slices, a pass for each, SciPy's rank correlation."""
    model, images, maps, labels = small_net(), noise_images(2), torch.randn(2, 16, 16), [1, 3]
    before = model_state(model)
    found = single_deletion(model, images, labels, maps, replacement=replacement)
    assert model_state(model) == before
    for sample, label in enumerate(labels):
        image = images[sample]
        fill = torch.zeros(3, 1, 1) if replacement == "zero" else image.mean((1, 2), keepdim=True)
        sums, drops = [], []
        for row in range(0, 16, 4):
            for column in range(0, 16, 4):
                without = image.clone()
                without[:, row : row + 4, column : column + 4] = fill
                with torch.no_grad():
                    drops.append((model(image[None]) - model(without[None]))[0, label].item())
                sums.append(maps[sample, row : row + 4, column : column + 4].sum().item())
        np.testing.assert_allclose(found.dropped[sample], drops, atol=1e-5)
        assert found.correlations()[sample].item() == pytest.approx(spearmanr(sums, drops).statistic)


def test_the_object_orders_cells_better_than_chance():
    images, classes = quadrant_images(12)
    model = quadrant_net()
    maps = torch.zeros(12, 16, 16)
    for one, quadrant in zip(maps, classes.tolist(), strict=True):
        one[8 * (quadrant // 2) + 2 : 8 * (quadrant // 2) + 6, 8 * (quadrant % 2) + 2 : 8 * (quadrant % 2) + 6] = 1
    assert single_deletion(model, images, classes, maps).score().value > 0.4
    random = single_deletion(model, images, classes, torch.randn(12, 16, 16)).score()
    assert abs(random.value) < 4 * 12**-0.5 * 15**-0.5


def test_what_says_nothing():
    images = noise_images(2)
    assert single_deletion(small_net(), images, 1, torch.ones(2, 16, 16)).correlations().tolist() == [0, 0]
    blind = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4)).eval()
    nn.init.zeros_(blind[1].weight)
    assert single_deletion(blind, images, 1, torch.randn(2, 16, 16)).correlations().isnan().all()
    with pytest.raises(InputError, match="cells"):
        SingleDeletion(torch.ones(2, 16), torch.ones(2, 9), torch.ones(2), torch.arange(16))


@pytest.mark.parametrize(("shape", "cells"), [((2, 12), 4), ((2, 4, 6, 2), 8), ((6,), 6)])
def test_series_volumes_and_tables(shape, cells):
    """Windows, blocks and single features of linear networks: what is exact is perfect."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 3)).eval()
    inputs = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    worth = inputs * model[1].weight[1].detach().view(shape)
    axes = {1: "D", 2: "CT", 4: "CDHW"}[len(shape)]
    maps = worth if axes == "D" else worth.sum(1)
    found = single_deletion(model, ModelInputs.of(inputs, axes=axes), 1, maps, 2 if axes == "CDHW" else 4)
    assert found.attributed.shape == (2, cells)
    assert found.correlations().tolist() == pytest.approx([1, 1])
