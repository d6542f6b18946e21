"""Patterns against their closed form and against patches cut out; what is handed back by them; files and refusals."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bitlens.baselines.pattern_attribution import PatternAttribution
from bitlens.baselines.patterns import Patterns
from bitlens.errors import DataError, SettingError, StatisticsError
from bitlens.probe.fingerprint import weights_hash
from networks import noise_images, small_net, small_vit
from structures import STRUCTURES, images, structure


def fitted(model, data, **settings):
    return PatternAttribution(model, **settings).fit_patterns([data])


def arrays(model, data):
    return list(fitted(model, data).patterns.arrays.values())


def expected_pattern(patches, weight, bias, rectified):
    """Kindermans et al., written out: patches (P, I), one neuron's weights (I,)."""
    y = patches @ weight
    regime = y + bias > 0 if rectified else torch.ones_like(y, dtype=torch.bool)
    x, y_regime = patches[regime], y[regime]
    covariance = (x * y_regime[:, None]).mean(0) - x.mean(0) * y.mean()
    return covariance / (weight @ covariance)


@pytest.mark.parametrize("rectifier", [None, nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.SiLU(), nn.Tanh()])
@pytest.mark.parametrize(
    "settings", [{}, {"groups": 2}, {"groups": 4}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": "same"}]
)
def test_as_with_patches_cut_out(settings, rectifier):
    conv = nn.Conv2d(4, 8, 3, **settings).double()
    parts = [rectifier] if rectifier is not None else []
    x = 0.5 + torch.randn(40, 4, 9, 7).double()
    (made,) = arrays(nn.Sequential(conv, *parts, nn.Flatten()).eval(), x)

    eye = torch.eye(conv.weight[0].numel()).double().reshape(-1, *conv.weight.shape[1:])
    per_group, outputs = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    for j in range(8):
        channels = slice(j // outputs * per_group, (j // outputs + 1) * per_group)
        padding = 2 if conv.padding == "same" else conv.padding
        cut = F.conv2d(x[:, channels], eye, None, conv.stride, padding, conv.dilation)
        patches = cut.movedim(1, -1).flatten(0, -2)
        rectified = rectifier is not None and not isinstance(rectifier, nn.Tanh)
        expected = expected_pattern(patches, conv.weight[j].flatten(), conv.bias[j], rectified).detach()
        assert torch.allclose(made[j].flatten().double(), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_memory_layout_does_not_matter():
    """A 1 x 1 convolution with stride, of few channels that come last, is one that oneDNN gets wrong."""
    model, x = nn.Sequential(nn.Conv2d(4, 8, 1, stride=2), nn.ReLU()).eval(), noise_images(32, 4, (32, 32))
    (plain,) = arrays(model.double(), x.double())
    (made,) = arrays(model.float().to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last))
    assert torch.allclose(made, plain, rtol=1e-3, atol=1e-4 * float(plain.abs().max()))


def test_signal_is_told_from_distractor():
    """Kindermans et al., section 3: x = a s + d e; the weights must cancel the distractor, the pattern is the signal."""
    signal, distractor = torch.tensor([1.0, 0.5]), torch.tensor([1.0, 1.0])
    s, noise = torch.randn(200_000, 1), torch.randn(200_000, 1)
    x = (s * signal + noise * distractor)[:, None, None]
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 1)).eval()
    weight = torch.tensor([[2.0, -2.0]])
    assert weight @ signal == 1
    assert weight @ distractor == 0
    model[1].weight.data, model[1].bias.data = weight, torch.tensor([0.3])
    method = fitted(model, x)
    assert torch.allclose(method.patterns.arrays["000-linear"][0], signal, atol=0.02)
    made = method.explain(x[:5], lambda output: output[:, 0] - 0.3).map[:, 0]
    assert torch.allclose(made, (weight * signal) * (s[:5] + 0.3), atol=0.05)


@pytest.mark.parametrize("name", list(STRUCTURES))
def test_weights_times_patterns_sum_to_one(name):
    model, x = structure(name), 2 * images(64)
    method = fitted(model, x)
    assert method.patterns.replaced < 0.2 * method.patterns.neurons
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    if name == "Norms":
        scale = (model.body[1].weight / (model.body[1].running_var + 1e-5).sqrt()).reshape(-1, 1, 1, 1)
        weights = [scale * weight if weight is model.body[0].weight else weight for weight in weights]
    made = list(method.patterns.arrays.values())
    assert len(made) == len(weights)
    for pattern in made:
        sums = [(w * pattern.double()).flatten(1).sum(1) for w in weights if w.shape == pattern.shape]
        assert any(torch.allclose(s, torch.ones_like(s), atol=1e-4) for s in sums)


@pytest.mark.parametrize("name", list(STRUCTURES))
def test_patterns_of_ones_give_score_times_gradient(name):
    model, x = structure(name), images(3)
    target = model(x).argmax(1)
    method = fitted(model, images(8))
    ones = {key: torch.ones_like(pattern) for key, pattern in method.patterns.arrays.items()}
    method.patterns = Patterns(ones, 8, method.patterns.neurons, 0)
    leaf = x.clone().requires_grad_()
    score = model(leaf.clone()).gather(1, target[:, None])[:, 0]
    (gradient,) = torch.autograd.grad(score.sum(), leaf)
    expected = (score[:, None, None, None] * gradient).sum(1).detach()
    assert torch.allclose(method.explain(x).map.double(), expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))


def test_the_cut_into_batches_does_not_matter():
    model, x = small_net(), 0.3 + noise_images(60)
    whole = fitted(model, x, internal_batch_size=60).patterns
    parts = PatternAttribution(model, internal_batch_size=7).fit_patterns((x[i : i + 25], None) for i in (0, 25, 50))
    assert (parts.patterns.samples, parts.patterns.neurons) == (60, 18)
    for a, b in zip(whole.arrays.values(), parts.patterns.arrays.values(), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().max()))


def test_no_more_is_drawn_than_is_needed():
    def batches():
        yield noise_images(6)
        yield noise_images(6)
        raise AssertionError

    seen = []
    method = PatternAttribution(small_net()).fit_patterns(batches(), 10, progress=seen.append)
    assert method.patterns.samples == 10
    assert seen == [6, 10]


def test_large_means_do_not_cancel():
    """A mean ten thousand times the spread: of products of such numbers in float32 no covariance would be left."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    x = 10_000 + torch.randn(20_000, 1, 2, 2)
    weight = model[1].weight.data
    (made,) = arrays(model, x)
    covariance = torch.cov(x.flatten(1).double().T) @ weight.T.double()
    expected = (covariance / (weight.T.double() * covariance).sum(0)).T
    assert torch.allclose(made.double(), expected, rtol=0.02, atol=0.02 * float(expected.abs().max()))


def test_neurons_that_say_nothing_have_their_own_weights_for_a_pattern():
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Flatten()).eval()
    model[0].weight.data = torch.tensor([2.0, 2.0, 0.0]).reshape(3, 1, 1, 1)
    model[0].bias.data = torch.tensor([0.0, -1e6, 1.0])  # alive, dead, without weights
    method = fitted(model, noise_images(5, 1))
    assert method.patterns.arrays["000-conv2d"].flatten().tolist() == pytest.approx([0.5, 0.5, 0])
    assert (method.patterns.neurons, method.patterns.replaced) == (3, 2)


def test_saved_and_loaded(tmp_path):
    model = small_net()
    method = PatternAttribution(model).fit_patterns([noise_images(30)], data="noise", preprocessing="none")
    method.patterns.save(tmp_path / "p.safetensors")
    again = PatternAttribution(small_net(), patterns=tmp_path / "p.safetensors")
    assert again.patterns.provenance == method.patterns.provenance
    assert again.patterns.provenance.weights == weights_hash(model)
    assert (again.patterns.provenance.data, again.patterns.provenance.preprocessing) == ("noise", "none")
    one, other = method.explain(noise_images(2)), again.explain(noise_images(2))
    assert torch.equal(one.map, other.map)
    assert one.settings == other.settings
    assert one.settings["patterns"] == "30 inputs"
    different = PatternAttribution(model).fit_patterns([noise_images(30, seed=1)], data="noise")
    assert different.settings()["patterns_fingerprint"] != method.settings()["patterns_fingerprint"]
    with pytest.raises(StatisticsError, match="the patterns are of Sequential with other weights"):
        PatternAttribution(small_net(seed=1), patterns=method.patterns)


def test_files_that_hold_no_patterns(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        PatternAttribution(small_net(), patterns=tmp_path / "none.safetensors")
    from bitlens.system.arrays import write_arrays

    write_arrays(tmp_path / "a.safetensors", {}, {"format": "bitlens.patterns/1", "details": "{}", "provenance": "{}"})
    with pytest.raises(DataError, match="does not hold complete patterns"):
        Patterns.load(tmp_path / "a.safetensors")


def test_patterns_that_are_missing_or_do_not_fit():
    model = small_net()
    with pytest.raises(StatisticsError, match=r"has no patterns of this network yet: call fit_patterns\(batches\)"):
        PatternAttribution(model).explain(noise_images(1))
    with pytest.raises(
        StatisticsError, match=r"the patterns do not fit .* shape \(6, 3, 3, 3\) for its conv2d number 0"
    ):
        PatternAttribution(model, patterns=Patterns({}, 1, 0, 0)).explain(noise_images(1))


def test_inputs_that_make_no_patterns():
    method = PatternAttribution(small_net())
    with pytest.raises(StatisticsError, match="there are no inputs"):
        method.fit_patterns([])
    with pytest.raises(StatisticsError, match="max_samples must be at least 1"):
        method.fit_patterns([noise_images(1)], 0)
    with pytest.raises(StatisticsError, match="computes NaN or infinite values"):
        method.fit_patterns([noise_images(2) * 1e30])


@pytest.mark.parametrize(
    ("model", "operation"),
    [(small_vit(), "multi_head_attention_forward"), (nn.Sequential(nn.ConvTranspose2d(3, 2, 2)), "conv_transpose2d")],
)
def test_layers_without_patterns_are_refused(model, operation):
    with pytest.raises(SettingError, match=f"pattern-attribution has no rule for the operation '{operation}'"):
        PatternAttribution(model.eval()).fit_patterns([noise_images(2)])
