"""Noisy linear imputation: what harmonic images keep, SciPy's and Quantus's solutions; and the curves over it."""

import numpy as np
import pytest
import torch
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve
from torch import nn

from bitlens.core.inputs import ModelInputs
from bitlens.errors import InputError, SettingError
from bitlens.metrics import degradation, road
from bitlens.metrics.imputation import imputed
from networks import model_state, noise_images, quadrant_images, quadrant_net, small_net

WEIGHTS = {(i, j): 1 / 6 if i == 0 or j == 0 else 1 / 12 for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)}


def solved(image, gone):
    """The paper's equations for one image (C, H, W), one by one, solved exactly."""
    places = [tuple(place) for place in gone.nonzero().tolist()]
    number = {place: row for row, place in enumerate(places)}
    system, right = lil_matrix((len(places), len(places))), np.zeros((len(places), len(image)))
    for (y, x), row in number.items():
        for (dy, dx), weight in WEIGHTS.items():
            other = (y + dy, x + dx)
            if not (0 <= other[0] < gone.shape[0] and 0 <= other[1] < gone.shape[1]):
                continue
            system[row, row] += weight
            if other in number:
                system[row, number[other]] -= weight
            else:
                right[row] += weight * image[:, other[0], other[1]].numpy()
    found = image.clone()
    values = torch.from_numpy(spsolve(system.tocsc(), right)).float().reshape(len(places), len(image))
    found[:, gone] = values.T
    return found


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_imputation_solves_the_papers_equations(share):
    images = noise_images(3, size=(24, 20))
    gone = torch.rand(3, 24, 20, generator=torch.Generator().manual_seed(1)) < share
    found = imputed(images, gone)
    for image, own, mine in zip(images, gone, found, strict=True):
        torch.testing.assert_close(mine, solved(image, own), atol=1e-5, rtol=0)
        assert torch.equal(mine[:, ~own], image[:, ~own])


def test_a_slope_is_told_exactly_by_what_is_around_it():
    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(20.0), indexing="ij")
    slope = torch.stack([rows + 2 * columns, 3 - rows])[None]
    gone = torch.zeros(1, 20, 20, dtype=torch.bool)
    gone[:, 4:15, 5:17] = True
    torch.testing.assert_close(imputed(slope, gone), slope, atol=1e-4, rtol=0)


def test_against_quantus():
    quantus = pytest.importorskip("quantus")
    image = noise_images(1)[0]
    gone = torch.zeros(16, 16, dtype=torch.bool)
    gone[3:9, 4:12] = True  # not at the border, where their neighbours come from the other side
    theirs = quantus.functions.perturb_func.noisy_linear_imputation(
        arr=image.double().numpy(), indices=gone.flatten().nonzero().flatten().numpy(), noise=0.0
    )
    np.testing.assert_allclose(imputed(image[None], gone[None])[0].numpy(), theirs, atol=1e-5)


def test_nothing_can_be_imputed_from_nothing():
    with pytest.raises(InputError, match="no pixel left"):
        imputed(noise_images(1), torch.ones(1, 16, 16, dtype=torch.bool))
    series = ModelInputs.of(torch.randn(1, 2, 9), axes="CT")
    with pytest.raises(InputError, match="pixels of images"):
        road(nn.Sequential(nn.Flatten(), nn.Linear(18, 2)).eval(), series, 0, torch.ones(1, 9))
    for wrong in ((), (0.0, 0.5), (1.0,)):
        with pytest.raises(SettingError, match="rates"):
            road(small_net(), noise_images(1), 0, torch.ones(1, 16, 16), rates=wrong)


def test_the_curves_in_a_plain_loop():
    model, images, maps = small_net(), noise_images(2), torch.randn(2, 16, 16)
    before = model_state(model)
    found = road(model, images, [1, 3], maps, rates=(0.25, 0.5), noise=0.0, precision="float32")
    assert model_state(model) == before
    assert found.removed.tolist() == [0, 0.25, 0.5]
    for sample, label in enumerate([1, 3]):
        for curve, descending in ((found.morf, True), (found.lerf, False)):
            for point, count in ((0, 0), (1, 64), (2, 128)):
                gone = torch.zeros(256, dtype=torch.bool)
                gone[maps[sample].flatten().argsort(descending=descending)[:count]] = True
                with torch.no_grad():
                    said = model(solved(images[sample], gone.view(16, 16))[None]).softmax(1)[0, label]
                assert curve[sample, point].item() == pytest.approx(said.item(), abs=2e-3)


def test_the_noise_is_a_share_of_the_range_and_comes_from_the_seed():
    seen = []

    class Looking(nn.Module):
        def forward(self, images):
            seen.append(images.detach().clone())
            return images.mean((2, 3))

    images = 10 * torch.ones(1, 3, 64, 64)
    images[:, :, 0, 0] = 0
    maps = torch.rand(1, 64, 64)
    maps[:, 0, 0] = -1
    for seed in (0, 0, 1):
        seen.clear()
        road(Looking().eval(), images, 0, maps, rates=(0.5,), noise=0.01, seed=seed, precision="float32")
        added = (seen[-1] - 10)[..., 32:, 32:]  # far from the one pixel that differs
        changed = added[added != 0]
        assert changed.std().item() == pytest.approx(0.1, rel=0.1)


def test_chance_and_truth():
    images, classes = quadrant_images(8)
    model = quadrant_net()
    assert road(model, images, classes, torch.ones(8, 16, 16), rates=(0.5,)).areas().abs().max() == 0
    truth = degradation(model, images, classes, torch.rand(8, 16, 16), 4).morf[:, :1]
    maps = torch.zeros(8, 16, 16)
    for one, quadrant in zip(maps, classes.tolist(), strict=True):
        one[8 * (quadrant // 2) + 1 : 8 * (quadrant // 2) + 7, 8 * (quadrant % 2) + 1 : 8 * (quadrant % 2) + 7] = 1
    found = road(model, images, classes, maps, rates=(0.15, 0.5))
    torch.testing.assert_close(found.morf[:, :1], truth)
    assert found.score(normalise="none").value > 0.3
