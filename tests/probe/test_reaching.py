"""The way to a layer from changed inputs, with gradients."""

import pytest
import torch
from torch import Tensor, nn

from bitlens.core.inputs import ModelInputs
from bitlens.errors import InputError
from bitlens.probe import Probe
from networks import LAYER, model_state, noise_images, small_net


class _Twice(nn.Module):
    """Calls its layer twice, and gives out a structure."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.rest = nn.Conv2d(3, 3, 3, padding=1), nn.Flatten()

    def forward(self, images: Tensor, shift: Tensor) -> Tensor:
        out: Tensor = self.rest(self.layer(torch.relu(self.layer(images + shift[:, None, None, None]))))
        return out


@pytest.fixture
def with_norm(tiny_cnn: nn.Sequential) -> nn.Sequential:
    """Batch norms that do something."""
    norm = tiny_cnn[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.running_mean, norm.running_var = torch.randn(4), torch.rand(4) + 0.5
    return tiny_cnn


@pytest.mark.parametrize("layer", ["0", "1", "2", "3", "4", "6"])
def test_features_and_gradients_are_those_of_the_network(layer: str, with_norm: nn.Sequential) -> None:
    images, changed = noise_images(2), noise_images(6, seed=1).requires_grad_()
    probe = Probe(with_norm, layer)
    inputs = ModelInputs.of(images)
    state = model_state(with_norm)
    with probe.reaching(inputs) as run:
        got = run(changed, torch.arange(2).repeat(3))
        (slope,) = torch.autograd.grad(got.square().sum(), changed)
    assert model_state(with_norm) == state
    kept: list[Tensor] = []
    with_norm[int(layer)].register_forward_hook(lambda _module, _inputs, output: kept.append(output.clone()))
    with_norm(changed)
    (expected,) = torch.autograd.grad(kept[0].square().sum(), changed)
    torch.testing.assert_close(got, kept[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(slope, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("call", [0, 1])
def test_other_arguments_follow_their_rows_and_calls_are_counted(call: int) -> None:
    model = _Twice().eval()
    images, shift = noise_images(2), torch.tensor([0.0, 5.0])
    probe = Probe(model, "layer", call=call)
    rows = torch.tensor([1, 0, 1])
    with probe.reaching(probe_inputs := ModelInputs.of((images, shift))) as run, torch.no_grad():
        got = [run(images[rows], rows) for _ in range(2)]
    assert probe_inputs.count == 2
    torch.testing.assert_close(got[0], got[1])
    torch.testing.assert_close(got[0], probe.features((images, shift))[rows])


def test_passes_end_at_the_layer() -> None:
    model = small_net()
    probe = Probe(model, LAYER)
    inputs = ModelInputs.of(noise_images(2))
    with probe.reaching(inputs) as run:
        run(noise_images(2), torch.arange(2))  # the probe has looked at the whole network before this
        calls: list[str] = []
        model[-1].register_forward_hook(lambda *_: calls.append("last"))
        run(noise_images(2), torch.arange(2))
    assert not calls


def test_an_error_is_passed_on_and_everything_is_put_back() -> None:
    model = small_net()
    probe, inputs = Probe(model, LAYER), ModelInputs.of(noise_images(2))
    with probe.reaching(inputs):
        pass
    state = model_state(model)
    with pytest.raises(InputError, match="takes 3 channels, but was given 7"), probe.reaching(inputs) as run:
        run(torch.zeros(2, 7, 16, 16), torch.arange(2))
    assert model_state(model) == state


@pytest.mark.parametrize(("inplace", "expected"), [(True, True), (False, False)])
def test_an_in_place_relu_after_the_layer_is_noticed(inplace: bool, expected: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=inplace), nn.Flatten(), nn.Linear(4 * 14 * 14, 2)).eval()
    assert Probe(model, "0").overwritten(ModelInputs.of(noise_images(2))) is expected
