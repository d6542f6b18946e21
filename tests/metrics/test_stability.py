"""Sensitivity of maps to noise, and likeness over seeds: closed forms, Quantus and SciPy."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from bitlens.baselines.gradient import Gradient
from bitlens.errors import InputError, SettingError
from bitlens.metrics import max_sensitivity, seed_stability
from networks import noise_images, small_net


def noises(inputs, radius, samples, seed):
    generator = torch.Generator().manual_seed(seed)
    reach = radius * (inputs.flatten(1).amax(1) - inputs.flatten(1).amin(1)).view(-1, 1, 1, 1)
    return [reach * (2 * torch.rand(inputs.shape, generator=generator) - 1) for _ in range(samples)]


def test_a_map_that_is_linear_in_its_input_moves_as_its_input_does():
    inputs = noise_images(3, channels=1)
    found = max_sensitivity(lambda x: 5 * x[:, 0], inputs, 5 * inputs[:, 0], radius=0.1, samples=4, seed=2)
    sizes = torch.stack([noise.flatten(1).norm(dim=1) for noise in noises(inputs, 0.1, 4, 2)])
    torch.testing.assert_close(found, (sizes.amax(0) / inputs.flatten(1).norm(dim=1)).double(), rtol=1e-5, atol=0)
    assert max_sensitivity(lambda x: torch.ones_like(x[:, 0]), inputs, torch.ones(3, 16, 16)).tolist() == [0, 0, 0]
    assert max_sensitivity(lambda x: x[:, 0], inputs, torch.zeros(3, 16, 16)).isnan().all()


def test_against_quantus():
    quantus = pytest.importorskip("quantus")
    model, inputs, method = small_net(), noise_images(2), Gradient(small_net())
    maps = method.explain(inputs, [1, 2]).map
    left = noises(inputs, 0.02, 3, 0)

    def again(model, inputs, targets, **_):
        return Gradient(model).explain(torch.as_tensor(inputs).float(), torch.as_tensor(targets)).map[:, None].numpy()

    metric = quantus.MaxSensitivity(
        nr_samples=3,
        perturb_func=lambda arr, **_: arr + left.pop(0).flatten(1).numpy(),
        disable_warnings=True,
    )
    theirs = metric(
        model=model,
        x_batch=inputs.numpy(),
        y_batch=np.array([1, 2]),
        a_batch=maps[:, None].numpy(),
        explain_func=again,
    )
    mine = max_sensitivity(lambda images: method.explain(images, [1, 2]).map, inputs, maps, samples=3)
    np.testing.assert_allclose(mine, theirs, rtol=1e-5)


def test_seeds_that_agree_and_that_do_not():
    one, other = torch.randn(2, 30), torch.randn(2, 30)
    assert seed_stability(torch.stack([one, 2 * one, one.exp()])).tolist() == pytest.approx([1, 1])
    assert seed_stability(torch.stack([one, -one])).tolist() == pytest.approx([-1, -1])
    expected = [(1 + 2 * spearmanr(a, b).statistic) / 3 for a, b in zip(one, other, strict=True)]
    assert seed_stability(torch.stack([one, one, other])).tolist() == pytest.approx(expected)
    still = torch.zeros(1, 30)
    assert seed_stability(torch.stack([still, still, one[:1]])).tolist() == pytest.approx([1 / 3])


def test_refusals():
    with pytest.raises(InputError, match="two or more"):
        seed_stability(torch.ones(1, 2, 5))
    nothing = SimpleNamespace()
    for settings in ({"radius": 0}, {"samples": 0}):
        with pytest.raises(SettingError, match="must be"):
            max_sensitivity(nothing, torch.ones(1, 1, 4, 4), torch.ones(1, 4, 4), **settings)
