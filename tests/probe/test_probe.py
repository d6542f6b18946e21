"""What is recorded, what runs again, what is refused, and what happens where a replay would be wrong."""

import warnings
from typing import Any

import pytest
import torch
from replay_oracle import assert_close, assert_replay_is_exact, replaced_pass
from torch import Tensor, nn

from bitlens.errors import BitlensWarning, LayerError
from bitlens.probe import Probe, Recording


class Counting(nn.Linear):
    """A leaf that knows how often it ran."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


class Crossed(nn.Module):
    """before → layer → after, with a skip connection that crosses the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.layer, self.after = Counting(4, 4), Counting(4, 4), Counting(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x).relu()
        return self.after(self.layer(x) + x)


def calls(model: Crossed) -> tuple[int, int, int]:
    return model.before.calls, model.layer.calls, model.after.calls


def test_the_suffix_runs_neither_prefix_nor_layer() -> None:
    model = Crossed().eval()
    recording = Probe(model, "layer").record(torch.randn(2, 4))
    start = calls(model)
    with recording.suffix() as run:
        for copies in (1, 3, 2):
            run(torch.randn(2 * copies, 4))
    assert tuple(b - a for a, b in zip(start, calls(model), strict=True)) == (0, 0, 3)


def test_a_known_network_is_recorded_with_one_pass_of_the_prefix() -> None:
    model, x = Crossed().eval(), torch.randn(2, 4)
    probe = Probe(model, "layer")
    probe.record(x)
    start = calls(model)
    probe.record(x * 2)
    probe.record(x[:1])  # another number of samples is no other kind of input
    assert tuple(b - a for a, b in zip(start, calls(model), strict=True))[:2] == (2, 2)


def test_features_stop_at_the_layer() -> None:
    model, x = Crossed().eval(), torch.randn(5, 4)
    probe = Probe(model, "layer")
    R = probe.record(x).features
    start = calls(model)
    assert torch.equal(probe.features(x), R)
    assert tuple(b - a for a, b in zip(start, calls(model), strict=True)) == (1, 1, 0)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_samples(count: int, tiny_cnn: nn.Sequential) -> None:
    x = torch.randn(count, 3, 16, 16)
    assert_replay_is_exact(tiny_cnn, "6", x)
    assert_replay_is_exact(tiny_cnn, "3", x)
    assert_replay_is_exact(Crossed().eval(), "layer", torch.randn(count, 4))


def test_a_plan_made_for_many_samples_serves_one_sample_and_the_other_way_round() -> None:
    model, x = Crossed().eval(), torch.randn(4, 4)
    for first, second in ((x, x[:1]), (x[:1], x)):
        probe = Probe(model, "layer")
        probe.record(first)
        recording = probe.record(second)
        with recording.suffix() as run, torch.no_grad():
            got = run(torch.cat([recording.features] * 3))
            assert_close(got, torch.cat([model(second)] * 3))


def test_copies_are_the_slow_axis_and_samples_the_fast_one() -> None:
    model, x = Crossed().eval(), torch.randn(2, 4)
    recording = Probe(model, "layer").record(x)
    z = recording.features.repeat(3, 1)
    z[3] += 1  # copy 1 of sample 1
    with recording.suffix() as run, torch.no_grad():
        same = torch.isclose(run(z), recording.output.repeat(3, 1), rtol=1e-5, atol=1e-6).all(1)
    assert same.tolist() == [True, True, True, False, True, True]


def test_in_place_relu_behind_the_layer_changes_neither_features_nor_z(tiny_cnn: nn.Sequential) -> None:
    x = torch.randn(2, 3, 16, 16)
    recording = Probe(tiny_cnn, "3").record(x)
    R = tiny_cnn[:4](x)
    torch.testing.assert_close(recording.features, R)
    assert (R < 0).any()
    z = torch.randn_like(R)
    kept = z.clone()
    with recording.suffix() as run, torch.no_grad():
        run(z)
        run(recording.features)
    assert torch.equal(z, kept)
    torch.testing.assert_close(recording.features, R)
    leaf = kept.clone().requires_grad_()
    with recording.suffix() as run:
        run(leaf).sum().backward()
    assert leaf.grad is not None


class OverwritesInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.layer, self.after = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2)
        y = self.layer(self.before(x))
        x.add_(y)
        return self.after(x)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("relu_first", [False, True])
@pytest.mark.filterwarnings("ignore::bitlens.errors.BitlensWarning")  # replayed or not, it must be right
def test_the_users_tensor_is_not_overwritten(count: int, relu_first: bool) -> None:
    model: nn.Module = OverwritesInput().eval()
    if relu_first:
        model = nn.Sequential(nn.ReLU(inplace=True), model)
    layer = "1.layer" if relu_first else "layer"
    x = torch.randn(count, 4)
    kept = x.clone()
    recording = Probe(model, layer).record(x)
    expected = model(kept.clone()).detach()
    with recording.suffix() as run, torch.no_grad():
        for _ in range(3):
            assert_close(run(recording.features), expected)
            assert_close(run(recording.features.repeat(4, 1)), expected.repeat(4, 1))
    assert torch.equal(x, kept)


class WritesOut(nn.Module):
    """Overwrites a recorded tensor through `out=`, and views a recorded tensor across the samples' axis."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.layer, self.after = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.before(x)
        y = self.layer(h)
        torch.add(h, y, out=h)
        return self.after(h.view(-1, 2).view(-1, 4))


@pytest.mark.parametrize("count", [1, 2])
def test_recorded_tensors_may_be_overwritten_and_viewed(count: int) -> None:
    assert_replay_is_exact(WritesOut().eval(), "layer", torch.randn(count, 4))


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.relu(self.b(self.relu(self.a(x)))))


def test_a_layer_called_twice_asks_which_call() -> None:
    model, x = Shared().eval(), torch.randn(2, 4)
    with pytest.raises(LayerError, match="'relu' is called 2 times in one pass: choose one, call=0 to call=1"):
        Probe(model, "relu").record(x)
    for wrong in (2, -1):
        with pytest.raises(LayerError, match=f"call={wrong}, but layer 'relu' is called 2"):
            Probe(model, "relu", call=wrong).record(x)
    _, first = assert_replay_is_exact(model, "relu", x, call=0)
    _, second = assert_replay_is_exact(model, "relu", x, call=1)
    assert_close(first.features, model.a(x).relu())
    assert_close(second.features, model.b(model.a(x).relu()).relu())


def test_calls_within_a_replayed_module_are_counted_right() -> None:
    """The layer's first call happens inside a module that is replayed whole, so it does not happen again."""
    relu = nn.ReLU()
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4), relu), nn.Linear(4, 4), relu, nn.Linear(4, 4), relu).eval()
    for call in range(3):
        assert_replay_is_exact(model, "2", torch.randn(2, 4), call=call)


def test_a_layer_that_is_never_reached() -> None:
    model = Crossed().eval()
    model.unused = nn.Linear(4, 4)
    for use in (Probe(model, "unused").record, Probe(model, "unused").features):
        with pytest.raises(LayerError, match="does not reach layer 'unused'"):
            use(torch.randn(2, 4))


class Windows(nn.Module):
    """Cuts each sample in two windows, as Swin's attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.attend, self.head = nn.Linear(4, 4), nn.Linear(2, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attend(self.stem(x).reshape(-1, 2)).reshape(-1, 4))


def test_several_rows_for_each_sample_are_refused() -> None:
    with pytest.raises(LayerError, match=r"\(4, 2\) for 2 samples, several rows for each"):
        Probe(Windows().eval(), "attend").record(torch.randn(3, 4))
    assert_replay_is_exact(Windows().eval(), "stem", torch.randn(3, 4), mode="whole network")


def test_layers_without_samples_or_without_real_numbers_are_refused() -> None:
    class Constant(nn.Module):
        def __init__(self, give: Any) -> None:
            super().__init__()
            self.layer, self.give = nn.Identity(), give

        def forward(self, x: Tensor) -> Tensor:
            return x * self.layer(self.give(x)).sum(-1, keepdim=True)

    with pytest.raises(LayerError, match="one entry for each sample"):
        Probe(Constant(lambda _: torch.ones(4)).eval(), "layer").record(torch.randn(2, 4))
    with pytest.raises(LayerError, match=r"torch\.int64, not real numbers"):
        Probe(Constant(lambda x: x.argmax(1, keepdim=True)).eval(), "layer").record(torch.randn(2, 4))


def test_networks_without_parameters_and_of_double_precision() -> None:
    plain = nn.Sequential(nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()).eval()
    assert_replay_is_exact(plain, "1", torch.randn(2, 3, 4, 4))
    _, recording = assert_replay_is_exact(Crossed().eval().double(), "layer", torch.randn(2, 4, dtype=torch.float64))
    assert recording.features.dtype == recording.output.dtype == torch.float64


# --- user hooks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["before", "layer", "after"])
@pytest.mark.filterwarnings("error")
def test_hooks_of_the_user_are_honoured_once(name: str) -> None:
    model, x = Crossed().eval(), torch.randn(2, 4)
    counts = {"pre": 0, "post": 0}

    def pre(_module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        counts["pre"] += 1
        return (args[0] + 1,)

    def post(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        counts["post"] += 1
        return output * 2

    model.get_submodule(name).register_forward_pre_hook(pre)
    model.get_submodule(name).register_forward_hook(post)
    expected = model(x).detach()
    probe = Probe(model, "layer")
    recording = probe.record(x)
    assert probe.mode == "replay"
    counts.update(pre=0, post=0)
    with recording.suffix() as run, torch.no_grad():
        assert_close(run(recording.features), expected)
        assert_close(run(recording.features.repeat(3, 1)), expected.repeat(3, 1))
    assert counts == {"pre": 2, "post": 2}


def test_hooks_that_overwrite_are_right_too() -> None:
    model, x = Crossed().eval(), torch.randn(2, 4)
    model.before.register_forward_hook(lambda _m, _a, output: output.mul_(-3))
    assert_right_without_replay(model, "layer", x)


# --- networks that defeat the replay ----------------------------------------------------------------------------------


def assert_right_without_replay(model: nn.Module, layer: str, x: Tensor) -> None:
    """The fallback is announced and its result is that of the plain network, also for an older recording."""
    probe = Probe(model, layer)
    with pytest.warns(BitlensWarning, match="the whole network runs in every pass"):
        older = probe.record(x)
    assert probe.mode == "whole network"
    probe.record(x * 2 + 1)
    assert_suffix_is_right(model, layer, x, older)


def assert_suffix_is_right(model: nn.Module, layer: str, x: Tensor, recording: Recording) -> None:
    z = torch.cat([recording.features] * 3)
    z = z + torch.randn_like(z)
    expected = replaced_pass(model, model.get_submodule(layer), lambda _: z, (torch.cat([x] * 3),), {})
    with recording.suffix() as run, torch.no_grad():
        assert_close(run(z), expected)
        assert_close(run(recording.features), recording.output)


class Keeper(nn.Linear):
    """Keeps its result on itself and gives out nothing useful."""

    def forward(self, x: Tensor) -> None:
        self.kept = super().forward(x)


class IgnoresReturnValue(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layer = Keeper(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.stem(x)
        return self.layer(x) * self.stem.kept


class Collects(nn.Module):
    """Its parts append to a list of the parent, which the parent empties before each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []
        self.stem, self.layer = Appends(self.found), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.found.clear()
        self.stem(x)
        return self.layer(x) + self.found[0]


class Appends(nn.Linear):
    def __init__(self, found: list[Tensor]) -> None:
        super().__init__(4, 4)
        self.found = found

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        self.found.append(y)
        return y


class CountsCalls(nn.Module):
    """What comes behind the layer depends on how many parts ran before it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = [0]
        self.stem, self.layer, self.head = Ticks(self.calls), nn.Linear(4, 4), Ticks(self.calls)

    def forward(self, x: Tensor) -> Tensor:
        self.calls[0] = 0
        return self.head(self.layer(self.stem(x)))


class Ticks(nn.Module):
    def __init__(self, calls: list[int]) -> None:
        super().__init__()
        self.calls = calls

    def forward(self, x: Tensor) -> Tensor:
        self.calls[0] += 1
        return x * self.calls[0]


class ReadsBeforeOverwriting(nn.Module):
    """Uses the convolution's output before an in-place ReLU overwrites it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.relu, self.layer = nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        negative = h.clamp_max(0)
        return self.layer(self.relu(h)) + negative


class RemembersSize(nn.Module):
    """A part gives out the number of rows as a plain number."""

    def __init__(self) -> None:
        super().__init__()
        self.size, self.layer = Rows(), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.size(x)
        return self.layer(x).view(rows, -1)


class Rows(nn.Module):
    def forward(self, x: Tensor) -> int:
        return x.shape[0]


DEFEATING = [IgnoresReturnValue, Collects, CountsCalls, ReadsBeforeOverwriting, RemembersSize]


@pytest.mark.parametrize("network", DEFEATING)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_networks_that_defeat_the_replay_are_still_right(network: type[nn.Module], count: int) -> None:
    assert_right_without_replay(network().eval(), "layer", torch.randn(count, 4))


class SwitchesOnData(nn.Module):
    """Reads the prefix only for some inputs, so what the first batch taught does not hold for the next."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layer = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        y = self.layer(x)
        return y + h if bool((x > 5).any()) else y


def test_every_batch_is_checked() -> None:
    model, x = SwitchesOnData().eval(), torch.rand(2, 4)
    probe = Probe(model, "layer")
    probe.record(x)
    assert probe.mode == "replay"
    with pytest.warns(BitlensWarning, match="differs from the full one for this batch"):
        recording = probe.record(x + 6)
    assert probe.mode == "whole network"
    assert_suffix_is_right(model, "layer", x + 6, recording)
    assert_suffix_is_right(model, "layer", x, probe.record(x))


def test_overwritten_inputs_after_a_late_fallback() -> None:
    class Both(SwitchesOnData):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            x.mul_(0.5)
            return out

    model, x = Both().eval(), torch.rand(2, 4)
    probe = Probe(model, "layer")
    probe.record(x)
    late = x + 6
    with pytest.warns(BitlensWarning, match="for this batch"):
        recording = probe.record(late)
    expected = model(late.clone()).detach()
    with recording.suffix() as run, torch.no_grad():
        for copies in (2, 2, 1, 1):
            assert_close(run(recording.features.repeat(copies, 1)), expected.repeat(copies, 1))
    assert torch.equal(late, x + 6)


def test_a_network_that_catches_what_its_parts_raise() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError(x.shape)

    class Catches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.optional, self.layer = nn.Linear(4, 4), Fails(), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            try:
                x = self.optional(x)
            except ValueError:
                x = x + 1
            return self.layer(x) + x

    with pytest.warns(BitlensWarning, match="whole network"):
        recording = Probe(Catches().eval(), "layer").record(torch.randn(2, 4))
    assert recording.features.shape == (2, 4)


class _Rows(nn.Module):
    """Counts the samples that it is given; `turned` puts the samples of the output second, as recurrent networks do."""

    def __init__(self, turned: bool) -> None:
        super().__init__()
        self.stem, self.layer, self.after = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 6)
        self.turned, self.rows = turned, list[int]()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.layer(self.stem(x))
        self.rows.append(len(hidden))
        out: Tensor = self.after(hidden)
        return out.T if self.turned else out


@pytest.mark.parametrize("turned", [False, True])
def test_a_batch_is_checked_by_two_of_its_samples_where_they_can_be_told_apart(turned: bool) -> None:
    torch.manual_seed(0)
    model, inputs = _Rows(turned).eval(), torch.randn(6, 4)
    probe = Probe(model, "layer")
    probe.record(inputs)
    model.rows.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recording = probe.record(inputs)
    assert model.rows == ([6, 2, 6] if turned else [6, 2])  # the pass, the check, and the check of all where in doubt
    assert (recording.count, probe.mode) == (6, "replay")
    with recording.suffix() as run:
        assert_close(run(recording.features), model(inputs))
