"""Networks that lose what they learnt, layer by layer: which layers, in what order, and how they are drawn."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from bitlens.errors import LayerError, SettingError
from bitlens.metrics.randomisation import cascade, cascade_steps, randomised
from networks import model_state, noise_images, quadrant_net

IMAGES = noise_images(2)


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x):
        return x + self.norm(self.conv(x)).relu()


class Net(nn.Module):
    """Registered in another order than called; with a block class, a head that is not called, and bare parameters."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 4)
        self.unused = nn.Linear(8, 4)
        self.scale = nn.Parameter(torch.randn(1, 8, 1, 1))
        self.body = nn.Sequential(Block(8), Block(8))
        self.norm = nn.BatchNorm2d(8)
        self.stem = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        return self.head(self.body(self.norm(self.stem(x)) * self.scale).mean((2, 3)))


def net(seed=3):
    torch.manual_seed(seed)
    model = Net()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data, module.bias.data = torch.rand(8) + 0.5, torch.randn(8)
            module.running_mean, module.running_var = torch.randn(8), torch.rand(8) + 0.5
    return model.eval()


def changed(model, other):
    """Names of the modules that own a tensor which differs."""
    mine, theirs = model.state_dict(), other.state_dict()
    return {name.rpartition(".")[0] for name in mine if not torch.equal(mine[name], theirs[name])}


def test_blocks_are_reached_from_the_last_to_the_first_and_nothing_is_left():
    model = net()
    steps = cascade_steps(model, IMAGES)
    assert [step.layer for step in steps] == ["head", "body.1", "body.0", "stem"]
    assert set(steps[0].modules) == {"head"}
    assert set(steps[1].modules) == {"head", "body.1.conv", "body.1.norm"}
    block = {"head", "body.1.conv", "body.1.norm", "body.0.conv", "body.0.norm"}
    assert set(steps[2].modules) == block
    assert set(steps[3].modules) == block | {"stem", "norm", "unused", ""}
    networks = dict(cascade(model, IMAGES))
    assert [changed(model, networks[step.layer]) for step in steps] == [set(step.modules) for step in steps]


def test_named_layers_take_what_follows_them_along():
    steps = cascade_steps(net(), IMAGES, ["norm", "body", "head"])
    assert [step.layer for step in steps] == ["head", "body", "norm"]
    assert set(steps[1].modules) == {"head", "body.1.conv", "body.1.norm", "body.0.conv", "body.0.norm"}
    assert set(steps[2].modules) == {*steps[1].modules, "norm"}


def test_a_layer_that_is_called_twice_stands_where_it_is_called_last():
    shared = nn.Conv2d(3, 3, 1)
    model = nn.Sequential(shared, nn.Conv2d(3, 3, 1), shared, nn.Conv2d(3, 3, 1)).eval()
    steps = cascade_steps(model, IMAGES)
    assert [set(step.modules) for step in steps] == [{"3"}, {"3", "0"}, {"3", "0", "1"}]
    assert cascade_steps(model, IMAGES, ["2"])[0].modules == steps[1].modules


def test_the_network_and_the_global_random_state_are_left_alone():
    model = net()
    state, random = model_state(model), torch.get_rng_state()
    networks = [network for _, network in cascade(model, IMAGES, calibration=[IMAGES])]
    assert model_state(model) == state
    assert torch.equal(torch.get_rng_state(), random)
    assert len({id(network) for network in networks}) == 4
    assert not any(module.training for network in networks for module in network.modules())


@pytest.mark.parametrize("initialiser", ["default", "inputiba"])
def test_a_layer_draws_the_same_however_far_it_goes(initialiser):
    model = net()
    once, again = ([n for _, n in cascade(model, IMAGES, initialiser=initialiser, seed=5)] for _ in range(2))
    (_, alone), *_ = cascade(model, IMAGES, ["body.0"], initialiser=initialiser, seed=5)
    for name in ("head.weight", "body.1.conv.weight", "body.0.conv.weight"):
        assert torch.equal(once[2].state_dict()[name], once[3].state_dict()[name])
        assert torch.equal(once[2].state_dict()[name], alone.state_dict()[name])
    assert all(not changed(a, b) for a, b in zip(once, again, strict=True))
    (_, other), *_ = cascade(model, IMAGES, initialiser=initialiser, seed=6)
    assert changed(once[0], other) == {"head"}


@pytest.mark.parametrize("initialiser", ["default", "inputiba"])
def test_layers_of_one_shape_draw_differently(initialiser):
    model = nn.Sequential(*[nn.Conv2d(8, 8, 3) for _ in range(4)])
    drawn = [randomised(model, ["0", "1", "2", "3"], initialiser=initialiser, seed=seed) for seed in (0, 1)]
    weights = torch.stack([conv.weight.detach().flatten() for network in drawn for conv in network])
    between = torch.corrcoef(weights)[torch.triu(torch.ones(8, 8), 1) > 0]
    assert between.abs().max() < 5 / weights.shape[1] ** 0.5


def test_default_draws_are_those_of_pytorch():
    model = nn.Sequential(nn.Conv2d(8, 500, 3), nn.BatchNorm2d(500), nn.Linear(50, 500)).eval()
    for tensor in model.state_dict().values():
        tensor.fill_(7)
    random = randomised(model, ["0", "1", "2"])
    for module, inputs in ((random[0], 72), (random[2], 50)):
        bound = inputs**-0.5
        assert bound * 0.99 < float(module.weight.detach().abs().max()) <= bound
        assert float(module.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.02)
        assert 0 < float(module.bias.detach().abs().max()) <= bound
    norm = random[1]
    assert [float(t.detach().unique()) for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var)] == [
        1,
        0,
        0,
        1,
    ]


def test_draws_of_the_inputiba_code():
    model = nn.Sequential(nn.Conv2d(8, 64, 3), nn.Linear(64, 500), nn.Conv2d(64, 8, 3, bias=False))
    random = randomised(model, ["0", "1", "2"], initialiser="inputiba")
    bound = (6 / (9 * (8 + 64))) ** 0.5
    for conv in (random[0], random[2]):
        assert bound * 0.99 < float(conv.weight.detach().abs().max()) <= bound
    assert float(random[1].weight.detach().std()) == pytest.approx(0.05, rel=0.02)
    assert not random[0].bias.any()
    assert not random[1].bias.any()
    with pytest.raises(SettingError, match="initialiser"):
        randomised(model, ["0"], initialiser="zeros")


class Old(nn.Module):
    """Attention whose projection is never called itself, and a parameter whose module has no initialiser."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8) * 3 + 5)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.normed = parametrizations.weight_norm(nn.Linear(8, 4))

    def forward(self, x):
        x = x + self.token
        return self.normed(self.attention(x, x, x)[0].mean(1))


def test_weights_in_unusual_places_are_drawn_anew():
    model = Old().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    x = torch.randn(2, 5, 8)
    steps = cascade_steps(model, x)
    assert len(steps) == 2
    first, last = (network for _, network in cascade(model, x))
    assert not torch.allclose(first.normed.weight, model.normed.weight, atol=0.05)
    assert torch.equal(first.attention.in_proj_weight, model.attention.in_proj_weight)
    for name in ("in_proj_weight", "out_proj.weight"):
        assert not torch.equal(last.attention.get_parameter(name), model.attention.get_parameter(name))
    assert not torch.equal(last.token, model.token)
    before, after = model.token.detach(), last.token.detach()
    assert abs(float(after.mean() - before.mean())) < 4 * float(before.std())


def test_calibrated_batch_norms_know_the_random_layers_before_them():
    model, batches = net(), [noise_images(16, seed=s) for s in (1, 2)]
    (_, reset), (_, fitted) = (
        next(iter(cascade(model, IMAGES, ["stem"], calibration=calibration))) for calibration in (None, batches)
    )
    assert [float(reset.norm.running_mean.abs().max()), float(reset.norm.running_var.max())] == [0.0, 1.0]
    values = [fitted.stem(batch) for batch in batches]
    assert torch.allclose(fitted.norm.running_mean, torch.stack([v.mean((0, 2, 3)) for v in values]).mean(0), atol=1e-6)
    assert torch.allclose(fitted.norm.running_var, torch.stack([v.var((0, 2, 3)) for v in values]).mean(0), atol=1e-5)
    assert fitted.norm.momentum == 0.1
    (_, later), *_ = cascade(model, IMAGES, ["body"], calibration=batches)
    assert torch.equal(later.norm.running_mean, model.norm.running_mean)  # before the random layers


def test_layers_without_parameters_are_refused():
    with pytest.raises(LayerError, match="no parameters"):
        cascade_steps(quadrant_net(), IMAGES, ["1"])
    with pytest.raises(LayerError, match="'unused' has no parameters that a forward pass uses"):
        cascade_steps(net(), IMAGES, ["head", "unused"])
    with pytest.raises(LayerError, match="no layer 'nine'"):
        cascade_steps(quadrant_net(), IMAGES, ["nine"])
    with pytest.raises(LayerError, match="no layer to randomise"):
        cascade_steps(nn.Sequential(nn.Flatten()).eval(), IMAGES)
