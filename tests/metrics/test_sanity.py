"""The sanity check: maps that ignore the weights fail it, maps that come from them pass it."""

import pytest
import torch

import bitlens
from bitlens.errors import InputError
from bitlens.metrics import sanity_check
from networks import LAYER, model_state, quadrant_images, quadrant_net


def gradients(network, images, targets):
    return bitlens.method("gradient", network).explain(images, targets).map


def test_maps_of_the_input_alone_stay_as_they_are():
    images, _ = quadrant_images(3)
    result = sanity_check(quadrant_net(), lambda _network, x, _targets: x.mean(1), images)
    assert result.layers == ("6", "2", "0")
    assert torch.equal(result.ssim, torch.ones(3, 3).double())


@pytest.mark.parametrize("seed", range(4))
def test_gradients_change_with_the_weights(seed):
    images, classes = quadrant_images(24)
    result = sanity_check(quadrant_net(), gradients, images, classes, seed=seed)
    assert result.ssim.shape == (24, 3)
    assert bool((result.ssim.mean(0) < 0.5).all())
    again = sanity_check(quadrant_net(), gradients, images, classes, seed=seed)
    assert torch.equal(again.ssim, result.ssim)


def test_every_network_is_asked_about_the_class_that_the_trained_one_predicts():
    model, images = quadrant_net(), quadrant_images(4)[0]
    state, asked, networks, steps = model_state(model), [], [], []

    def make_maps(network, inputs, targets):
        asked.append(targets)
        networks.append(network)
        return gradients(network, inputs, targets)

    sanity_check(model, make_maps, images, layers=["2", "6"], progress=steps.append)
    assert all(torch.equal(targets, model(images).argmax(1)) for targets in asked)
    assert networks[0] is model
    assert len({id(network) for network in networks}) == 3
    assert steps == [1, 2]
    assert model_state(model) == state


def test_a_bottleneck_makes_its_statistics_anew():
    images, classes = quadrant_images(6)
    pool = quadrant_images(1000, seed=7)[0]

    def make_maps(network, inputs, targets):
        iba = bitlens.IBA(network, LAYER, precision="float32").fit_statistics([pool])
        return iba.explain(inputs, targets, evidence_samples=0).map

    result = sanity_check(quadrant_net(), make_maps, images, classes)
    assert bool((result.ssim.mean(0) < 0.8).all())


def test_maps_that_are_not_finite_are_refused():
    images = quadrant_images(2)[0]
    with pytest.raises(InputError, match="NaN"):
        sanity_check(quadrant_net(), lambda _network, x, _targets: x.mean(1) * torch.nan, images)


def test_a_map_that_is_the_same_everywhere_is_like_nothing():
    images, _ = quadrant_images(2)

    def make_maps(network, inputs, _targets):
        return gradients(network, inputs, None) * (0.0 if network is not trained else 1.0)

    trained = quadrant_net()
    assert bool(sanity_check(trained, make_maps, images).ssim.isnan().all())
