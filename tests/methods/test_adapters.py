"""bitlens's methods inside the metrics of Captum and Quantus, as their users call them."""

import numpy as np
import pytest
import quantus
import torch
from captum.metrics import infidelity, sensitivity_max
from torch import nn

import bitlens
from bitlens.data.datasets import open_dataset
from bitlens.errors import SettingError, StatisticsError


@pytest.fixture(scope="module")
def loaded():
    return bitlens.load_model("builtin/scenes")


@pytest.fixture(scope="module")
def scenes(loaded):
    """Images and labels of four scenes, and images of 32 others."""
    samples = open_dataset("builtin:scenes")[:4]
    images = torch.stack([loaded.preprocess(sample.image) for sample in samples])
    others = torch.stack([loaded.preprocess(sample.image) for sample in open_dataset("builtin:scenes-train")[:32]])
    return images, torch.tensor([sample.label for sample in samples]), others


@pytest.fixture(scope="module")
def iba(loaded, scenes):
    made = bitlens.IBA(loaded.model, "layer2", beta=1.0, quality="fast", steps=4)
    return made.fit_statistics([scenes[2]], granularity="channel")


@pytest.mark.parametrize("name", ["iba", "grad-cam", "saliency"])
def test_attribute_in_captums_metrics(name, loaded, iba, scenes):
    images, labels, _ = scenes
    method = (
        iba if name == "iba" else bitlens.method(name, loaded.model, **({"layer": "layer3"} if "cam" in name else {}))
    )
    maps = method.attribute(images, target=labels)
    assert maps.shape == (4, 1, *images.shape[2:])
    assert maps.device == images.device

    def perturb(inputs):
        noise = 0.1 * torch.randn_like(inputs)
        return noise, inputs - noise

    torch.manual_seed(0)
    wrong = infidelity(loaded.model, perturb, images, maps.expand_as(images), target=labels, normalize=True)
    assert wrong.shape == (4,)
    assert bool((wrong >= 0).all() & wrong.isfinite().all())
    moved = sensitivity_max(method.attribute, images, perturb_radius=0.02, n_perturb_samples=2, target=labels)
    same = sensitivity_max(method.attribute, images, perturb_radius=0.0, n_perturb_samples=2, target=labels)
    assert bool((moved > 0).all())
    assert bool((same < 0.05 * moved.max()).all())  # rounding, for other batch sizes


def test_quantus_metric_with_given_statistics(loaded, iba, scenes):
    images, labels, _ = scenes
    settings = {"name": "iba", "layer": "layer2", "beta": 1.0, "quality": "fast", "steps": 4}
    asked = {"model": loaded.model, "x_batch": images.numpy(), "y_batch": labels.numpy(), "device": "cpu"}
    metric = quantus.Sparseness(disable_warnings=True, display_progressbar=False)
    scores = metric(
        **asked,
        a_batch=None,
        explain_func=bitlens.quantus_explain_func,
        explain_func_kwargs={**settings, "statistics": iba.statistics},
    )
    given = metric(**asked, a_batch=iba.attribute(images, labels).numpy())
    assert scores == pytest.approx(given)
    assert all(0 < score < 1 for score in scores)


def test_quantus_metric_that_changes_the_weights(scenes):
    images, labels, others = scenes
    metric = quantus.MPRT(disable_warnings=True, display_progressbar=False, layer_order="top_down", skip_layers=True)
    kwargs = {"name": "iba", "layer": "layer2", "beta": 1.0, "quality": "fast", "steps": 2}
    asked = {"x_batch": images[:2].numpy(), "y_batch": labels[:2].numpy(), "a_batch": None, "device": "cpu"}
    small = bitlens.load_model("builtin/scenes").model
    before = {key: value.clone() for key, value in small.state_dict().items()}
    scores = metric(
        model=small,
        explain_func=bitlens.quantus_explain_func,
        explain_func_kwargs={**kwargs, "statistics_inputs": others.numpy()},
        **asked,
    )
    same, other = (np.array(values) for values in scores.values())  # with the network's weights, and with none of them
    assert same == pytest.approx(np.ones(2))
    assert (np.abs(other) < 0.9).all()
    assert all(torch.equal(before[key], value) for key, value in small.state_dict().items())


def test_double_precision_and_files_are_taken(loaded, iba, scenes, tmp_path):
    images, labels, _ = scenes
    iba.statistics.save(tmp_path / "s.safetensors")
    maps = bitlens.quantus_explain_func(
        loaded.model, images.double().numpy(), labels.numpy(), statistics=tmp_path / "s.safetensors", layer="layer2",
        beta=1.0, quality="fast", steps=4,
    )  # fmt: skip
    assert (maps.dtype, maps.shape) == (np.float32, (4, 1, *images.shape[2:]))
    assert maps == pytest.approx(iba.attribute(images, labels).numpy(), abs=1e-4)


def test_what_is_missing_or_does_not_fit_is_said(loaded, iba, scenes):
    images, labels, others = (one.numpy() for one in scenes)
    with pytest.raises(SettingError, match="needs statistics of its layer: give either statistics="):
        bitlens.quantus_explain_func(loaded.model, images, labels, layer="layer2")
    with pytest.raises(SettingError, match="did you mean 'grad-cam'"):
        bitlens.quantus_explain_func(loaded.model, images, labels, name="grad-kam")
    other = bitlens.load_model("builtin/scenes").model
    nn.init.normal_(next(m for m in other.modules() if isinstance(m, nn.Linear)).weight)
    with pytest.raises(StatisticsError):
        bitlens.quantus_explain_func(other, images, labels, layer="layer2", statistics=iba.statistics)
    assert bitlens.quantus_explain_func(other, images, labels, layer="layer2", statistics_inputs=others, steps=1).any()
