"""The forward pass as rules see it: every operation, by one name, and nothing changed for whoever goes on."""

import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from bitlens.baselines.baseline import ImageBaseline
from bitlens.baselines.rules import Interception, Ruled, passed_back, read, times_value
from bitlens.errors import SettingError
from structures import STRUCTURES, images, structure

X = torch.linspace(-2, 8, 24).reshape(2, 3, 2, 2)


class Tenfold(Interception):
    """Every ReLU and sum hands back ten times what arrives, to its first activation."""

    rules = frozenset({"add", "relu"})

    def __init__(self):
        super().__init__("tenfold")
        self.seen = []

    def replace(self, operation):
        self.seen.append(operation.name)
        if not operation.places:
            return None
        others = len(operation.places) - 1
        return Ruled(operation.run(*operation.values), lambda arriving: [10 * arriving, *[None] * others])


class OnlyReLU(Interception):
    """Leaves ReLU as it is, and refuses almost everything else."""

    rules = frozenset({"relu"})
    natural = frozenset({"sum", "clone"})

    def replace(self, _operation):
        return None


def in_place(x):
    F.relu_(x)
    return x


def half_in_place(x):
    x[:, :2].relu_()
    return x


def summed_in_place(x):
    x += 1
    return x


@pytest.mark.parametrize(
    ("function", "factor"),
    [
        (nn.ReLU(), 10),
        (nn.ReLU(inplace=True), 10),
        (F.relu, 10),
        (torch.relu, 10),
        (torch.Tensor.relu, 10),
        (torch.Tensor.relu_, 10),
        (torch.ops.aten.relu.default, 10),
        (lambda x: F.relu(x, True), 10),
        (in_place, 10),
        (nn.Sequential(*[nn.ReLU()] * 2), 100),
        (nn.Sequential(*[nn.ReLU(inplace=True)] * 2), 100),
        (lambda x: x + 1, 10),
        (lambda x: 1 + x, 10),
        (lambda x: torch.add(x, 1), 10),
        (lambda x: x.add_(1), 10),
        (summed_in_place, 10),
        (lambda x: F.relu(x) + F.relu(x), 100),
    ],
)
def test_every_form_of_an_operation_follows_the_rule(function, factor):
    leaf = X.clone().requires_grad_()
    with Tenfold():
        result = function(leaf.clone())
    assert torch.equal(result, function(X.clone()))
    (gradient,) = torch.autograd.grad(result.sum(), leaf)
    assert torch.equal(gradient, torch.full_like(X, factor))


def test_writing_to_a_part_reaches_the_whole():
    leaf = X.clone().requires_grad_()
    with Tenfold():
        result = half_in_place(leaf.clone())
    assert torch.equal(result, half_in_place(X.clone()))
    (gradient,) = torch.autograd.grad(result.sum(), leaf)
    assert gradient.mean((0, 2, 3)).tolist() == [10, 10, 1]


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: F.threshold(x, 0, 0), "threshold"),
        (lambda x: F.hardtanh(x, inplace=True), "hardtanh"),
        (nn.ReLU6(), "hardtanh"),
        (lambda x: x.clamp_(0), "clamp"),
        (lambda x: x * 2, "mul"),
        (lambda x: 1 / x, "__rdiv__"),
        (lambda x: F.max_pool2d(x, 2), "max_pool2d"),
        (lambda x: torch.ops.aten.clamp_.default(x, 0), "clamp"),
        (nn.Conv2d(3, 1, 1), "conv2d"),
    ],
)
def test_names(function, name):
    activation = X.clone().requires_grad_().clone()
    sentence = f"^some method has no rule for the operation '{name}'"
    with pytest.raises(SettingError, match=sentence), OnlyReLU("some method"):
        function(activation)


def test_only_activations_are_refused():
    leaf = X.clone().requires_grad_()
    with OnlyReLU("some method"):
        constant = (X * 2).exp()
        result = F.relu(leaf.clone()).sum()
    assert torch.equal(constant, (X * 2).exp())
    assert torch.equal(torch.autograd.grad(result, leaf)[0], (X > 0).float())


def test_read_knows_in_place_forms():
    assert {read(f) for f in (torch.relu, torch.relu_, F.relu, F.relu_, torch.ops.aten.relu_.default)} == {"relu"}
    assert read(torch.Tensor.__getitem__) == "__getitem__"


class TimesInput(Tenfold):
    """What goes into every ReLU and sum is multiplied with what arrives there."""

    def replace(self, operation):
        return Ruled(operation.run(*operation.values), lambda arriving: [arriving * operation.values[0]])


def write_half(x):
    x[:, :2] = 0


@pytest.mark.parametrize(
    "write", [torch.Tensor.exp_, torch.relu_, write_half, lambda x: x[:, 1:].mul_(3), lambda x: F.silu(x, inplace=True)]
)
def test_what_the_network_overwrites_is_kept_for_the_way_back(write):
    leaf = X.clone().requires_grad_()
    with TimesInput():
        x = leaf.clone()
        y = torch.relu(x)
        write(x)
    assert not torch.equal(x, X)
    assert torch.equal(torch.autograd.grad(y.sum(), leaf)[0], X)


def test_nothing_is_kept_that_no_rule_needs():
    leaf = X.clone().requires_grad_()
    rules = Tenfold()
    with rules:
        x = leaf.clone()
        before = weakref.ref(x)
        x = torch.relu(x)
    assert before() is None
    assert [holder() for held in rules._holders.values() for holder in held] == [None] * 1


@pytest.mark.parametrize("name", list(STRUCTURES))
def test_values_are_those_of_the_network(name):
    model = structure(name)
    with Tenfold():
        result = model(images().requires_grad_().clone())
    assert torch.allclose(result, model(images()), rtol=1e-12)


def test_relevance_begins_as_the_value():
    outputs = {"logits": X.clone().requires_grad_(), "other": [torch.arange(3), None]}
    begun = times_value(outputs)
    assert torch.equal(begun["logits"], X)
    (gradient,) = torch.autograd.grad(3 * begun["logits"].sum(), outputs["logits"])
    assert torch.equal(gradient, 3 * X)
    assert begun["other"][0] is outputs["other"][0]


class Hidden(torch.autograd.Function):
    @staticmethod
    def forward(_ctx, x):
        return x.relu()

    @staticmethod
    def backward(_ctx, gradient):
        return gradient


class Through(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 4, 3), function

    def forward(self, x):
        return self.function(self.conv(x)).mean((2, 3))


class ByRules(ImageBaseline):
    method = "by-rules"

    def maps(self, question):
        return passed_back(question, Tenfold(), self).sum(1)


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (Hidden.apply, "by-rules cannot look into Through: it computes Hidden, an autograd function of its own"),
        (torch.jit.script(nn.Sequential(nn.ReLU())), "by-rules cannot look into Through: it holds TorchScript"),
        (torch.detach, "the score has no gradient at the input"),
    ],
)
def test_what_rules_cannot_reach_is_refused(function, sentence):
    with pytest.raises(SettingError, match=sentence):
        ByRules(Through(function).eval()).explain(X.repeat(1, 1, 4, 4))


@pytest.mark.parametrize("reentrant", [True, False])
def test_rules_reach_what_is_checkpointed(reentrant):
    torch.manual_seed(0)
    plain = Through(F.relu).eval()
    checkpointed = Through(lambda x: checkpoint(F.relu, x, use_reentrant=reentrant)).eval()
    checkpointed.load_state_dict(plain.state_dict())
    found = [ByRules(model).explain(X.repeat(1, 1, 4, 4), 0).map for model in (plain, checkpointed)]
    assert torch.equal(*found)
