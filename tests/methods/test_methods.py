"""One contract, kept by every method of the list."""

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitlens
from bitlens.core.targets import ClassTarget
from bitlens.errors import SettingError
from bitlens.methods import METHODS, Method, method
from networks import LAYER, default_type, model_state, noise_images, small_net, small_vit

EVERY = pytest.mark.parametrize("name", list(METHODS["image"]))
NETWORKS = dict.fromkeys(["attention-rollout", "gradient-attention-rollout"], small_vit)
"""What to test a method on that does not support `small_net`: channels → network."""

LIGHT: dict[str, dict[str, Any]] = {"extremal-perturbation": {"iterations": 20}, "readout": {"conditional": True}}
"""Settings for methods whose own ones take long, or answer for the prediction alone."""

INPUTS = {"readout": 40}
"""From how many inputs a method learns that looks at each of them many times."""

CLASSES_ONLY = {"readout"}
"""Methods that can be asked for classes, and for nothing else."""


def _network(name: str, channels: int = 3) -> nn.Module:
    return NETWORKS.get(name, small_net)(channels)


def _make(name: str, model: nn.Module, channels: int = 3, **settings: Any) -> Method:
    """The method with what it needs, and little work where it can be told so."""
    entry = METHODS["image"][name]
    if entry.needs_layer:
        settings["layer"] = LAYER
    ready: Any = method(name, model, **LIGHT.get(name, {}), **settings)
    if entry.lesson is not None:
        getattr(ready, f"fit_{entry.lesson.setting}")([noise_images(INPUTS.get(name, 1000), channels, seed=9)])
    return ready


@EVERY
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_map_for_every_image(name: str, count: int, channels: int) -> None:
    model = _network(name, channels)
    images = noise_images(count, channels)
    result = _make(name, model, channels).explain(images)
    assert (result.map.shape, result.map.dtype, result.map.device.type) == ((count, 16, 16), torch.float32, "cpu")
    assert bool(torch.isfinite(result.map).all())
    assert not result.map.requires_grad
    assert (result.unit, result.method) == (METHODS["image"][name].unit, name)
    assert result.targets == tuple(str(int(c)) for c in model(images).argmax(1))
    assert result.model == type(model).__name__


@EVERY
@pytest.mark.parametrize("targets", [2, [1, 0, 3], torch.tensor([1, 0, 3])])
def test_targets_are_those_that_were_asked(name: str, targets: Any) -> None:
    result = _make(name, _network(name)).explain(noise_images(3), targets)
    assert result.targets == (("2",) * 3 if isinstance(targets, int) else ("1", "0", "3"))


@EVERY
def test_the_same_again(name: str) -> None:
    first, again = (_make(name, _network(name)).explain(noise_images(3)) for _ in range(2))
    assert torch.equal(first.map, again.map)


@EVERY
def test_what_type_tensors_have_by_default_changes_nothing(name: str) -> None:
    """A scientist's script may have `torch.set_default_dtype(torch.float64)`."""
    model, images = _network(name), noise_images(2)
    usual = _make(name, model).explain(images)
    with default_type(torch.float64):
        found = _make(name, model).explain(images)
    assert found.map.dtype == torch.float32
    torch.testing.assert_close(found.map, usual.map, rtol=1e-4, atol=1e-5 * float(usual.map.abs().max()))


@EVERY
def test_a_batch_is_as_its_samples_alone(name: str) -> None:
    images, targets = noise_images(3), [1, 0, 3]
    ready = _make(name, _network(name))
    together = ready.explain(images, targets)
    for i, target in enumerate(targets):
        alone = ready.explain(images[i : i + 1], target)
        torch.testing.assert_close(
            together.map[i : i + 1], alone.map, rtol=1e-4, atol=1e-5 * float(alone.map.abs().max())
        )


@EVERY
@pytest.mark.parametrize("fails", [False, True])
def test_network_inputs_and_random_state_are_left_as_found(name: str, fails: bool) -> None:
    model, images = _network(name), noise_images(2)
    ready = _make(name, model)
    next(model.parameters()).requires_grad_(False)
    state, copies, random = model_state(model), images.clone(), torch.get_rng_state()
    calls = [0]

    def score(output: Tensor) -> Tensor:
        calls[0] += 1
        if fails:
            raise ZeroDivisionError("asked to fail")
        return output[:, 1]

    class Asked(ClassTarget):
        def value(self, output: Any) -> Tensor:
            return score(output)

        def select(self, rows: slice | Tensor) -> "Asked":
            return Asked(self.classes[rows])

    target = Asked(torch.tensor([1, 1])) if name in CLASSES_ONLY else score
    if fails:
        with pytest.raises(ZeroDivisionError, match="asked to fail"):
            ready.explain(images, target)
    else:
        ready.explain(images, target)
    assert calls[0] > 0
    assert model_state(model) == state
    assert torch.equal(images, copies)
    assert torch.equal(torch.get_rng_state(), random)


@EVERY
def test_entries_say_what_they_need(name: str) -> None:
    entry = METHODS["image"][name]
    assert entry.name == name == name.lower()
    assert all((entry.summary, entry.paper, entry.passes))
    assert entry.unit in {"bits/pixel", "mask", "score"}
    assert ("layer" in inspect.signature(entry.build).parameters) >= entry.needs_layer


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(SettingError, match="there is no method 'ibb'; did you mean 'iba'"):
        method("ibb", small_net())


def test_public_name() -> None:
    assert bitlens.method is method
