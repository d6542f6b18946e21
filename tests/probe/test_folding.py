"""Folding changes nothing but the time: the same outputs, weights untouched, and none of it where it would be wrong."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from bitlens.core.inputs import ModelInputs
from bitlens.probe import Probe
from bitlens.probe.folding import Fold, foldable, folded
from bitlens.probe.modules import wrapped
from bitlens.probe.trace import trace_calls


def randomised(model):
    """Batch norms that do something."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model.eval()


def folds_of(probe):
    return next(iter(probe._replays.values())).folds


@pytest.mark.parametrize(
    ("name", "layer", "norms"),
    [("resnet18", "layer2", 10), ("densenet121", "features.denseblock3", 16), ("mobilenet_v2", "features.6", 0)],
)
def test_folded_outputs_are_those_of_the_network(name, layer, norms):
    model = randomised(torchvision.models.get_model(name, weights=None))
    before = copy.deepcopy(model.state_dict())
    images = torch.randn(2, 3, 64, 64)
    probe = Probe(model, layer)
    recording = probe.record(images)
    assert sum(fold.norm is not None for fold in folds_of(probe)) >= norms
    with torch.no_grad(), recording.suffix() as run:
        got = run(recording.features)
        expected = model.eval()
    with torch.no_grad():
        expected = model(images)
    assert torch.allclose(got, expected, atol=1e-4 * expected.abs().max())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), recording.suffix(torch.bfloat16) as run:
        low = run(recording.features)
    assert torch.corrcoef(torch.stack([low.float().flatten(), expected.flatten()]))[0, 1] > 0.99
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


class Parallel(nn.Module):
    """A batch norm that follows a convolution in time but not in the flow of data."""

    def __init__(self):
        super().__init__()
        self.first, self.left, self.norm = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        x = self.first(x)
        a = self.left(x)
        return (a * self.norm(x)).mean((2, 3))


def test_a_norm_of_something_else_is_found_out():
    model = randomised(Parallel())
    probe = Probe(model, "first")
    images = torch.randn(2, 3, 8, 8)
    recording = probe.record(images)
    assert folds_of(probe) == ()
    assert probe.mode == "replay" or not recording._replay.recorded
    with torch.no_grad(), recording.suffix() as run:
        got = run(recording.features)
    assert torch.allclose(got, model(images), atol=1e-5)


def test_watched_shared_and_foreign_modules_are_left_alone():
    class Own(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) + 1

    watched, shared = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    model = nn.Sequential(
        nn.Conv2d(3, 3, 1), watched, nn.BatchNorm2d(3), shared, nn.ReLU(), shared, Own(3, 3, 1)
    ).eval()
    watched.register_forward_hook(lambda *_: None)
    probe = Probe(model, "0")
    probe.record(torch.randn(2, 3, 8, 8))
    assert folds_of(probe) == ()


def _pairs(*modules):
    """What can be folded in a chain of modules, before any comparison of numbers."""
    root = trace_calls(nn.Sequential(*modules).eval(), ModelInputs.of(torch.randn(2, 3, 8, 8)))
    return [(fold.module, fold.norm) for fold in foldable(root)]


def test_what_is_not_plain_is_left_alone_each_by_itself():
    conv, norm, last = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)
    assert _pairs(conv, norm, last) == [(conv, norm), (last, None)]
    assert _pairs(conv, nn.ReLU(), norm) == [(conv, None)]
    assert _pairs(conv, nn.BatchNorm2d(3, track_running_stats=False)) == [(conv, None)]
    assert _pairs(last, conv, norm, last) == [(conv, norm)]  # called twice
    assert _pairs(conv, norm, last, norm) == [(conv, None), (last, None)]
    assert _pairs(type("Own", (nn.Conv2d,), {})(3, 3, 1), norm) == []
    handle = conv.register_forward_pre_hook(lambda *_: None)
    assert _pairs(conv, norm, last) == [(last, None)]
    handle.remove()
    handle = norm.register_forward_hook(lambda *_: None)
    assert _pairs(conv, norm, last) == [(conv, None), (last, None)]
    handle.remove()
    conv.forward = conv.forward  # an attribute of the instance, as accelerate and others have it
    assert _pairs(conv, norm, last) == [(last, None)]


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float64])
def test_folded_modules_compute_in_the_precision_that_was_asked_for(dtype):
    model = randomised(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2)))
    images = torch.randn(2, 3, 8, 8)
    expected = model(images).detach()
    with torch.no_grad(), wrapped(folded([Fold(model[0], model[1]), Fold(model[3])], dtype)):
        got = model(images.to(dtype))
    assert got.dtype == (dtype or torch.float32)  # without autocast: the weights themselves are cast
    tolerance = 0.02 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(got.float(), expected, rtol=tolerance, atol=2 * tolerance)


def test_the_layer_itself_is_not_folded():
    model = randomised(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    )
    probe, images = Probe(model, "0"), torch.randn(2, 3, 8, 8)
    recording = probe.record(images)
    assert [fold.module for fold in folds_of(probe)] == [model[3]]
    assert torch.allclose(recording.features, model[0](images), atol=1e-6)
