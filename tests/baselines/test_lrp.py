"""Relevance propagation against dense matrices written out, conservation in networks of all kinds, and refusals."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.functional import jacobian

from bitlens.baselines.lrp import LRP
from bitlens.errors import SettingError
from networks import noise_images, small_vit
from structures import STRUCTURES, images, structure

RULES = ["alpha1-beta0", "alpha0-beta-1-eps5"]


def handed_back(x, matrix, relevance, rule):
    """One layer written out: x (I,), matrix (O, I), relevance (O,) → (I,)."""
    result = torch.zeros_like(x)
    for j in range(len(relevance)):
        products = matrix[j] * x
        kept = products.clamp(min=0) if rule == "alpha1-beta0" else products.clamp(max=0)
        below = kept.sum() - (5 if rule != "alpha1-beta0" else 0)
        result += kept / (below if below != 0 else 1) * relevance[j]
    return result


def by_sign(parts, total, relevance):
    """Shares of a sum for those of its parts (each (K,)) that have its sign."""
    same = [torch.where(part.sign() == total.sign(), part, 0) for part in parts]
    return [part / torch.where(sum(same) == 0, 1, sum(same)) * relevance for part in same]


def dense(conv, shape):
    """The matrix of a convolution without its bias, for one input of a shape."""
    x = torch.zeros(shape).double()
    matrix = jacobian(lambda x: conv._conv_forward(x[None], conv.weight, None)[0], x)
    return matrix.reshape(-1, x.numel()).detach()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(3))
def test_as_written_out_with_dense_matrices(rule, seed):
    model, x = structure("Skip", seed=seed), images(1, seed)
    first, second = model.body["first"], model.body["second"]
    a = F.relu(model.stem(x))
    b = F.relu(first(a))
    c = second(b)
    d = F.relu(c + a).detach()
    logits = model(x)[0].detach()
    target = int(logits.argmax())

    start = torch.zeros(4).double()
    start[target] = logits[target]
    pooled = handed_back(d.mean((2, 3))[0], model.head.weight, start, rule)
    at_sum = torch.stack([d[0, i] / max(float(d[0, i].sum().detach()), 1e-300) * pooled[i] for i in range(8)]).flatten()
    at_c, at_a = by_sign([c.flatten(), a.flatten()], (c + a).flatten(), at_sum)
    at_b = handed_back(b.flatten(), dense(second, (8, 6, 6)), at_c, rule)
    at_a = at_a + handed_back(a.flatten(), dense(first, (8, 6, 6)), at_b, rule)
    expected = handed_back(x.flatten(), dense(model.stem, (3, 12, 12)), at_a, rule).reshape(3, 12, 12).sum(0)

    made = LRP(model, rule=rule).explain(x).map[0].double()
    assert expected.abs().max() > 0
    assert torch.allclose(made, expected.detach(), rtol=1e-4, atol=1e-6 * float(expected.detach().abs().max()))


@pytest.mark.parametrize("name", sorted(set(STRUCTURES) - {"InPlaceDropped"}))  # that one adds a constant
@pytest.mark.parametrize("seed", range(3))
def test_relevance_is_conserved_without_biases(name, seed):
    model, x = structure(name, bias=False, seed=seed), images(6, seed)
    scores = model(x).amax(1)
    made = LRP(model).explain(x)
    positive = scores > 0
    assert positive.any()
    assert torch.allclose(made.map.sum((1, 2))[positive].double(), scores[positive], rtol=1e-4)
    assert (made.map[positive] >= 0).all()


def test_biases_only_lose_relevance():
    model, x = structure("Depthwise"), images(8)
    scores, total = model(x).amax(1), LRP(model).explain(x).map.sum((1, 2))
    positive = scores > 0.01
    assert positive.any()
    assert (total[positive] <= scores[positive] * (1 + 1e-5)).all()
    assert (total[positive] < scores[positive] * 0.999).any()


@pytest.mark.filterwarnings("ignore:Constant answers otherwise")  # its constants are those of both images
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["SqueezeExcite", "SqueezeExciteInPlace"])
def test_gates_get_nothing(name, rule):
    """With the gate's numbers as constants the map is the same."""
    model, x = structure(name), images(2)
    target = model(x).argmax(1)
    factor = 2 if name == "SqueezeExciteInPlace" else 1
    gates = model.body(factor * F.relu(model.stem(x))).detach()

    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = model.stem, model.head

        def forward(self, x):
            return self.head((factor * F.relu(self.stem(x)) * gates).mean((2, 3)))

    expected = LRP(Constant().eval(), rule=rule, internal_batch_size=4).explain(x, target).map
    assert torch.allclose(LRP(model, rule=rule).explain(x, target).map, expected, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_activations_hand_everything_on(rule):
    """Only their values count, not their slopes: SiLU, and a ReLU that leaves those values alone."""
    convs = [nn.Conv2d(3, 4, 3).double(), nn.Conv2d(4, 2, 3).double()]
    smooth = nn.Sequential(convs[0], nn.SiLU(), convs[1], nn.Flatten()).eval()
    x = images(1)
    value = F.silu(convs[0](x)).detach()

    class Same(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = convs

        def forward(self, x):
            y = self.first(x)
            return self.second(y + (value - y).detach()).flatten(1)

    expected = LRP(Same().eval(), rule=rule, internal_batch_size=2).explain(x, 5).map
    assert torch.allclose(LRP(smooth, rule=rule).explain(x, 5).map, expected, rtol=1e-5, atol=1e-12)


def test_the_score_is_where_relevance_begins():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 1, bias=False)).double().eval()
    x = torch.rand(2, 3, 4, 4).double()
    nn.init.uniform_(linear[1].weight)
    score = linear(x)[:, 0]
    made = LRP(linear, output="binary")
    assert torch.allclose(made.explain(x, 1).map.double(), (linear[1].weight.reshape(3, 4, 4) * x).sum(1).detach())
    assert torch.allclose(made.explain(x, 0).map.sum((1, 2)).double(), -score, rtol=1e-5)
    twice = made.explain(x, lambda output: 2 * output[:, 0]).map.sum((1, 2))
    assert torch.allclose(twice.double(), 2 * score, rtol=1e-5)


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        (lambda a, b: a + b, (1, 1)),
        (lambda a, b: a - b, (1, -1)),
        (lambda a, b: torch.add(a, b, alpha=3), (1, 3)),
        (lambda a, b: torch.sub(a, b, alpha=2), (1, -2)),
        (lambda a, b: a.mul(-2).sub_(b), (-2, -1)),
    ],
)
def test_sums_are_shared_among_what_has_their_sign(function, parts):
    class Sum(nn.Module):
        def forward(self, x):
            return function(x[..., :5], x[..., 5:]).flatten(1)

    x = torch.randn(4, 1, 1, 10)
    made = LRP(Sum().eval()).explain(x, lambda output: output.sum(1)).map[:, 0]
    a, b = parts[0] * x[:, 0, 0, :5], parts[1] * x[:, 0, 0, 5:]
    expected = torch.cat(by_sign([a, b], a + b, a + b), 1)
    assert torch.allclose(made, expected, rtol=1e-5)
    assert (expected == 0).any()


class Product(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.convs, self.function = nn.ModuleList([nn.Conv2d(3, 4, 3) for _ in range(2)]), function

    def forward(self, x):
        return self.function(*(conv(x) for conv in self.convs)).mean((2, 3))


@pytest.mark.filterwarnings("ignore:Product answers otherwise")  # numbers close to 0 are divided by
@pytest.mark.parametrize(
    ("model", "operation"),
    [
        (small_vit(), "layer_norm"),
        (Product(torch.mul), "mul of two activations, neither of which was computed from the other"),
        (Product(torch.div), "div of two activations"),
        (Product(torch.matmul), "matmul"),
        (Product(lambda a, b: F.conv2d(a, b[:1])), "conv2d of two activations"),
        (Product(lambda a, _: a.softmax(1)), "softmax"),
        (Product(lambda a, _: a.exp()), "exp"),
        (Product(lambda a, _: F.interpolate(a, scale_factor=2, mode="bicubic")), "bicubic interpolation"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Flatten()), "group_norm"),
    ],
)
def test_what_has_no_rule_is_named(model, operation):
    with pytest.raises(SettingError, match=f"lrp-alpha1-beta0 has no rule for the operation '{operation}', which this"):
        LRP(model.eval(), output="logits").explain(noise_images(1))


def test_wrong_rule():
    with pytest.raises(SettingError, match="rule must be one of 'alpha1-beta0', 'alpha0-beta-1-eps5', got 'epsilon'"):
        LRP(nn.ReLU(), rule="epsilon")
