"""What is kept of a pass besides the layer; where stages are; where NaN begins."""

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from bitlens.errors import LayerError
from bitlens.probe import Probe, first_not_finite, stages_behind, watching
from networks import noise_images, small_vit


def folding_net() -> nn.Sequential:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(True), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.ReLU(True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3),
    )  # fmt: skip
    for norm in (net[1], net[4]):
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.normal_(norm.running_mean)
    return net.eval()


def test_reads_are_what_modules_put_out_in_the_same_pass():
    """Before and behind the layer, though batch norm is folded and ReLUs work in place."""
    net, images = folding_net(), noise_images(3)
    recording = Probe(net, "3", reads=("0", "1", "3", "4", "8")).record(images)
    assert list(recording.reads) == ["0", "1", "3", "4", "8"]
    for name, found in recording.reads.items():
        torch.testing.assert_close(found, net[: int(name) + 1](images), atol=1e-5, rtol=1e-5, msg=name)
    torch.testing.assert_close(recording.features, recording.reads["3"])
    assert recording.nbytes >= sum(read.nbytes for read in recording.reads.values())
    assert Probe(net, "3").record(images).reads == {}


def test_without_a_check_the_pass_runs_once():
    net, images, calls = folding_net(), noise_images(2), [0]
    probe = Probe(net, "3", reads=("8",))
    probe.record(images)
    net[8].register_forward_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
    probe.record(images, check=False)
    assert calls == [1]
    probe.record(images)
    assert calls == [3]


def test_slopes_are_gradients_of_the_same_pass():
    """With respect to the last read, though ReLUs work in place, by autograd of the plain network from there on."""
    net, images, calls = folding_net(), noise_images(3), [0]
    probe = Probe(net, "3", reads=("4", "3", "0"), slopes=True)
    probe.record(images)
    net[8].register_forward_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
    recording = probe.record(images, check=False)
    assert list(recording.sources) == ["4"]
    for label in (0, 2):
        found = recording.slopes(lambda output, label=label: output[:, label].exp())
        source = net[:5](images).detach().requires_grad_()
        (expected,) = torch.autograd.grad(net[5:](source.clone())[:, label].exp().sum(), source)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)
    assert calls == [1 + 2]  # once in the pass, and in the two that this test ran
    assert not recording.output.requires_grad
    assert not recording.features.requires_grad
    assert not any(read.requires_grad for read in recording.reads.values())
    assert torch.is_grad_enabled()
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())
    with recording.suffix() as run, torch.no_grad():
        torch.testing.assert_close(run(recording.features), recording.output)
    recording.forget()
    with pytest.raises(LayerError, match="this pass kept no gradients"):
        recording.slopes(lambda output: output[:, 0])


def test_slopes_where_the_network_lets_no_gradient_through():
    class Cut(nn.Module):
        def forward(self, x):
            return x.detach() * 2

    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), Cut(), nn.Linear(4, 3)).eval()
    recording = Probe(net, "0", reads=("1",), slopes=True).record(torch.randn(2, 4))
    with pytest.raises(LayerError, match="no gradient with respect to layer '1'"):
        recording.slopes(lambda output: output[:, 0])


def test_what_cannot_be_read_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.unused = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.a(self.b(self.a(x)))

    for name, count in (("a", 2), ("unused", 0)):
        with pytest.raises(LayerError, match=f"layer '{name}' is called {count} times"):
            Probe(Twice().eval(), "b", reads=(name,)).record(torch.randn(2, 4))
    with pytest.raises(LayerError, match="no layer 'c'"):
        Probe(Twice().eval(), "b", reads=("c",))


@pytest.mark.parametrize(
    ("name", "layer", "expected"),
    [
        ("resnet18", "layer1", ("layer1", "layer2", "layer3", "layer4")),
        ("resnet18", "layer2.0", ("layer2.0", "layer2.1", "layer3", "layer4")),
        ("squeezenet1_1", "features.4", ("features.4", "features.7", "features.12")),
    ],
)
def test_stages_of_known_networks(name, layer, expected):
    assert stages_behind(get_model(name, weights=None).eval(), layer, torch.randn(1, 3, 64, 64)) == expected


def test_stages_of_a_transformer_and_of_the_last_layer():
    vit = small_vit()
    found = stages_behind(vit, "encoder.layers.encoder_layer_0", noise_images(1))
    assert found[:2] == ("encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1")
    assert stages_behind(folding_net(), "8", noise_images(1)) == ("8",)


def test_the_first_module_that_gives_nan_is_found():
    net, images = folding_net(), noise_images(2)
    with torch.no_grad():
        net[3].weight[2, 0, 0, 0] = float("inf")
    with watching(net) as found, torch.no_grad():
        net(images)
    assert found[0][0] == "3"
    assert found[0][1][1] == 2
    assert "forward" not in net[3].__dict__
    assert first_not_finite(images) is None
    assert first_not_finite(torch.tensor([[1.0, 2.0], [3.0, float("nan")]])) == (1, 1)
