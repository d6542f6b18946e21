"""Layers are found by name or module, and the network is left exactly as it was."""

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitlens import IBA
from bitlens.errors import BitlensWarning, LayerError, ModelError
from bitlens.probe import Network, Probe, find_layer, frozen

X = torch.linspace(-1, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16).sin()


def test_a_layer_is_found_by_name_and_by_module(tiny_cnn: nn.Sequential) -> None:
    assert find_layer(tiny_cnn, "3") == ("3", tiny_cnn[3])
    assert find_layer(tiny_cnn, tiny_cnn[3]) == ("3", tiny_cnn[3])


def test_unknown_names_suggest_the_closest(tiny_cnn: nn.Sequential) -> None:
    model = nn.ModuleDict({"encoder": tiny_cnn, "classifier": nn.Linear(3, 3)})
    with pytest.raises(LayerError, match=r"no layer 'encodr.3'; did you mean .*'encoder.3'"):
        find_layer(model, "encodr.3")
    with pytest.raises(LayerError, match="'encoder', 'classifier'"):
        find_layer(model, "")


def test_a_layer_is_no_number(tiny_cnn: nn.Sequential) -> None:
    with pytest.raises(LayerError, match=r"must be a module of the network or its dotted name, got 3"):
        find_layer(tiny_cnn, 3)  # type: ignore[arg-type]


def test_a_module_of_another_network_is_refused(tiny_cnn: nn.Sequential) -> None:
    with pytest.raises(LayerError, match="Conv2d is not part of Sequential"):
        Probe(tiny_cnn, nn.Conv2d(3, 4, 3))


def test_compiled_networks_are_unwrapped(tiny_cnn: nn.Sequential) -> None:
    compiled = torch.compile(tiny_cnn)
    probe = Probe(compiled, "3")
    assert probe.model is tiny_cnn
    assert torch.equal(probe.features(X), Probe(tiny_cnn, "3").features(X))


def state(model: nn.Module) -> list[Any]:
    """Everything about a network that a user could see change; values of tensors as bytes, the rest by identity."""
    seen: list[Any] = []
    for name, module in model.named_modules():
        plain = {k: id(v) for k, v in vars(module).items() if not k.startswith("_") and k != "training"}
        hooks = [list(module._forward_hooks), list(module._forward_pre_hooks), list(module._backward_hooks)]
        seen.append((name, module.training, plain, hooks))
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        grad = None if tensor.grad is None else (id(tensor.grad), tensor.grad.tolist())
        seen.append((name, id(tensor), tensor.requires_grad, tensor._version, tensor.tolist(), grad))
    return seen


@pytest.fixture
def odd_cnn(tiny_cnn: nn.Sequential) -> nn.Sequential:
    """A network in the middle of its owner's work: some weights frozen, gradients kept, one part in train mode."""
    for parameter in tiny_cnn[0].parameters():
        parameter.requires_grad_(False)
    tiny_cnn[10].weight.grad = torch.ones_like(tiny_cnn[10].weight)
    tiny_cnn[1].train()
    tiny_cnn[3].register_forward_hook(lambda *_: None)
    original = tiny_cnn[6].forward
    tiny_cnn[6].forward = original  # an attribute of the instance, as accelerate and others do
    return tiny_cnn


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    before, fused = state(model), torch.backends.mha.get_fastpath_enabled()
    yield
    assert state(model) == before
    assert torch.backends.mha.get_fastpath_enabled() == fused


def use_everything(model: nn.Module) -> Tensor:
    probe = Probe(model, "6")
    recording = probe.record(X)
    probe.features(X)
    probe.bytes_per_row(X)
    z = recording.features.clone().requires_grad_()
    with recording.suffix() as run:
        run(z).sum().backward()
    assert z.grad is not None
    return z.grad


@pytest.mark.parametrize("caller", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_the_network_is_left_as_it_was(odd_cnn: nn.Sequential, caller: Callable[[], Any]) -> None:
    expected = use_everything(odd_cnn)
    with unchanged(odd_cnn), caller():
        assert torch.equal(use_everything(odd_cnn), expected)


def test_inference_tensors_are_welcome(tiny_cnn: nn.Sequential) -> None:
    with torch.inference_mode():
        x = X * 1
        features = Probe(tiny_cnn, "6").features(x)
    assert torch.equal(features, Probe(tiny_cnn, "6").features(X))


class FailsAt(nn.Module):
    def __init__(self, turn: int) -> None:
        super().__init__()
        self.turn = turn
        self.calls = [0]

    def forward(self, x: Tensor) -> Tensor:
        self.calls[0] += 1
        if self.calls[0] == self.turn:
            raise RuntimeError("broken network")
        return x


@pytest.mark.parametrize("turn", [1, 2, 3, 4])
def test_the_network_is_left_as_it_was_when_it_fails(odd_cnn: nn.Sequential, turn: int) -> None:
    odd_cnn.append(FailsAt(turn))
    with unchanged(odd_cnn), pytest.raises(ModelError, match="broken network"):
        Probe(odd_cnn, "6").record(X)


def test_the_network_is_left_as_it_was_when_the_target_fails(odd_cnn: nn.Sequential) -> None:
    recording = Probe(odd_cnn, "6").record(X)

    def explain() -> None:
        with recording.suffix() as run:
            run(recording.features)
            raise KeyError("target")

    with unchanged(odd_cnn), pytest.raises(KeyError):
        explain()


def test_frozen_means_eval_without_weight_gradients(odd_cnn: nn.Sequential) -> None:
    with unchanged(odd_cnn), frozen(odd_cnn), frozen(odd_cnn):
        assert not any(module.training for module in odd_cnn.modules())
        assert not any(parameter.requires_grad for parameter in odd_cnn.parameters())


@pytest.mark.parametrize("fused", [True, False])
def test_fused_attention_is_off_within_and_as_it_was_after(fused: bool, tiny_cnn: nn.Sequential) -> None:
    """As it was before the first block, not as an earlier test may have left it."""
    before = torch.backends.mha.get_fastpath_enabled()
    other = nn.Linear(2, 2)
    try:
        torch.backends.mha.set_fastpath_enabled(fused)
        with pytest.raises(KeyError), frozen(tiny_cnn):  # noqa: PT012
            assert not torch.backends.mha.get_fastpath_enabled()
            with frozen(other):
                assert not torch.backends.mha.get_fastpath_enabled()
            assert not torch.backends.mha.get_fastpath_enabled()
            raise KeyError
        assert torch.backends.mha.get_fastpath_enabled() == fused
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def test_train_mode_is_said_and_put_back(tiny_cnn: nn.Sequential) -> None:
    expected = Probe(tiny_cnn, "6").record(X).output
    tiny_cnn.train()
    with unchanged(tiny_cnn), pytest.warns(BitlensWarning, match="train mode"):
        got = Probe(tiny_cnn, "6").record(X).output
    assert torch.equal(got, expected)


def test_two_threads_may_use_one_network(odd_cnn: nn.Sequential) -> None:
    layers = ["3", "6", "8", "3"]
    expected = [[t.clone() for t in work(odd_cnn, layer, 1)] for layer in layers]
    results: dict[int, list[Tensor]] = {}

    def run(i: int) -> None:
        results[i] = work(odd_cnn, layers[i], 8)

    with unchanged(odd_cnn):
        threads = [threading.Thread(target=run, args=(i,)) for i in range(len(layers))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for i, tensors in enumerate(expected):
        for got, wanted in zip(results[i], tensors, strict=True):
            torch.testing.assert_close(got, wanted)


def work(model: nn.Module, layer: str, times: int) -> list[Tensor]:
    for _ in range(times):
        recording = Probe(model, layer).record(X)
        with recording.suffix() as run, torch.no_grad():
            output = run(torch.cat([recording.features * 0.5] * 2))
    return [recording.features, output]


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent_layers_have_gradients_and_no_dropout(kind: type[nn.RNNBase]) -> None:
    """On a GPU they have gradients in train mode alone; without their dropout they do the same there."""
    layer = kind(4, 3, num_layers=2, dropout=0.5).eval()
    model, x = nn.Sequential(layer, nn.Dropout()), torch.randn(5, 4)
    expected = layer(x)[0]
    layer.train(kind is nn.GRU)
    before = layer.training
    with pytest.raises(KeyboardInterrupt), frozen(model):  # noqa: PT012
        assert layer.training
        assert not model[1].training
        torch.testing.assert_close(layer(x)[0], expected)
        raise KeyboardInterrupt
    assert (layer.training, layer.dropout, model[1].training) == (before, 0.5, True)


def test_recurrent_layers_of_your_own_stay_in_evaluation_mode() -> None:
    class Own(nn.LSTM):
        pass

    model = nn.Sequential(Own(4, 3)).train()
    with frozen(model):
        assert not model[0].training
    assert model[0].training


def test_a_network_that_has_no_weights_yet_is_told_so() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)).eval()
    for made in (lambda: Probe(net, "1"), lambda: Network(net)):
        with pytest.raises(ModelError, match=r"3.weight of Sequential has no shape yet: pass one batch through"):
            made()
    net(torch.zeros(1, 3, 8, 8))
    assert Probe(net, "1").name == "1"


def test_weights_of_inference_mode_are_refused_before_any_work() -> None:
    with torch.inference_mode():
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    for made in (lambda: Probe(net, "1"), lambda: Network(net)):
        with pytest.raises(ModelError, match=r"0.weight of Sequential was made in torch.inference_mode\(\)"):
            made()
    outside = copy.deepcopy(net)
    explained = IBA(outside, "1", steps=1, noise_samples=1).explain(torch.ones(1, 3, 8, 8))
    assert bool(explained.map.isfinite().all())
