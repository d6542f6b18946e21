import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitlens.bottlenecks.per_sample import IBA
from bitlens.core.attribution import Attribution
from bitlens.core.targets import AnyOf, ClassTarget, NotClass, Regression, Score
from bitlens.errors import (
    BitlensError,
    BitlensWarning,
    FitError,
    InputError,
    LayerError,
    SettingError,
    StatisticsError,
    TargetError,
)
from networks import (
    LAYER,
    model_state,
    noise_images,
    quadrant_iba,
    quadrant_images,
    quadrant_net,
    quadrant_statistics,
    small_net,
)

IMAGES, CLASSES = quadrant_images(6, seed=21)


def _close(got: Attribution, expected: Attribution, tolerance: float = 1e-5) -> None:
    assert got.map.shape == expected.map.shape
    assert ((got.map - expected.map).abs().max() / expected.map.abs().max()).item() <= tolerance


# targets, shapes and settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "texts"),
    [
        (2, ("2",) * 6),
        ([0, 1, 2, 3, 0, 1], ("0", "1", "2", "3", "0", "1")),
        (AnyOf([0, 1]), ("0 or 1",) * 6),
        (NotClass(3), ("not 3",) * 6),
        (ClassTarget(torch.tensor([0, 1, 2, 3, 0, 1])), ("0", "1", "2", "3", "0", "1")),
        (Regression(torch.arange(6.0)), tuple(f"value {i}" for i in range(6))),
        (Score(lambda out: out[:, 0], "first"), ("first",) * 6),
    ],
)
def test_all_kinds_of_targets_in_several_batches(target: Any, texts: tuple[str, ...]) -> None:
    split = quadrant_iba(steps=4, internal_batch_size=20).explain(IMAGES, target, evidence_samples=2)
    assert split.targets == texts
    whole = quadrant_iba(steps=4, internal_batch_size=60).explain(IMAGES, target, evidence_samples=2)
    _close(split, whole)


def test_attribute_has_the_shape_of_captum() -> None:
    iba = quadrant_iba(steps=3)
    maps = iba.attribute(IMAGES, CLASSES)
    assert maps.shape == (6, 1, 16, 16)
    assert torch.equal(maps[:, 0], iba.explain(IMAGES, CLASSES).map)


class _Vectors(nn.Module):
    """Features of every layout: (C, H, W), channels last, tokens, a vector."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.body, self.layer, self.head = kind, small_net()[:3], nn.Identity(), nn.LazyLinear(3)

    def forward(self, images: Tensor) -> Tensor:
        features = self.body(images)
        if self.kind == "HWC":
            features = features.permute(0, 2, 3, 1)
        elif self.kind in ("TD", "PD"):
            features = features.flatten(2).transpose(1, 2)
        elif self.kind == "D":
            features = features.mean((2, 3))
        elif self.kind == "1x1":
            features = features.mean((2, 3), keepdim=True)
        return self.head(torch.tanh(self.layer(features)).flatten(1))


@pytest.mark.parametrize(
    ("kind", "unit", "shape"),
    [
        ("CHW", "bits/pixel", (2, 16, 16)),
        ("HWC", "bits/pixel", (2, 16, 16)),
        ("TD", "bits/token", (2, 64)),
        ("PD", "bits/pixel", (2, 16, 16)),
        ("D", "bits/feature", (2, 8)),
        ("1x1", "bits/pixel", (2, 16, 16)),
    ],
)
def test_every_layout(kind: str, unit: str, shape: tuple[int, ...], tmp_path: Any) -> None:
    model = _Vectors(kind).eval()
    images = noise_images(1000)
    model(images[:1])
    layout = kind if kind in ("HWC", "TD") else None
    iba = IBA(model, "layer", layout=layout, steps=4).fit_statistics([images])
    result = iba.explain(images[:2], keep_capacity=True)
    assert (result.unit, result.map.shape) == (unit, shape)
    assert result.total_bits is not None
    torch.testing.assert_close(result.map.flatten(1).sum(1), result.total_bits)
    if kind == "1x1":
        assert float(result.map[0].std()) == pytest.approx(0, abs=1e-7)
    captum = iba.attribute(images[:2])
    assert captum.shape == (2, 1, 16, 16) if len(shape) == 3 else captum.shape == shape
    result.save(tmp_path / "a.safetensors")
    assert torch.equal(Attribution.load(tmp_path / "a.safetensors").map, result.map)


def test_channels_last_gives_the_map_of_channels_first() -> None:
    images = noise_images(1000)
    results = []
    for kind in ("CHW", "HWC"):
        model = _Vectors(kind).eval()
        model.layer = nn.Identity()
        model.head = nn.Identity()
        iba = IBA(model, "layer", layout=kind, steps=1).fit_statistics([images])
        results.append(iba.explain(images[:2], Score(lambda out: out.sum(1)), evidence_samples=0))
    _close(results[1], results[0])


def test_statistics_per_channel_fit_any_size() -> None:
    iba = IBA(quadrant_net(), LAYER).fit_statistics([noise_images(40)], granularity="channel")
    assert iba.explain(noise_images(2, size=(20, 12))).map.shape == (2, 20, 12)


def test_inputs_that_are_prepared_otherwise_than_those_of_the_statistics_are_told() -> None:
    """As of 0 to 255 where they were of 0 to 1: all of the bits would count how far the features lie."""
    images = 0.5 + noise_images(500) / 4
    iba = IBA(small_net(), LAYER, beta=1).fit_statistics([images], granularity="channel")
    iba.explain(images[:2])
    with pytest.warns(BitlensWarning, match=r"lie \d+ standard deviations .*: prepare inputs as those"):
        assert float(iba.explain(255 * images[:2]).map.flatten(1).sum(1).min()) > 1e4


def test_dead_channels_and_constant_images() -> None:
    model = quadrant_net()
    with torch.no_grad():
        model[2].weight[:2] = 0  # two channels that are constant, one of them zero
        model[2].bias[0], model[2].bias[1] = 0.7, 0.0
    images = torch.cat([torch.zeros(1, 3, 16, 16), torch.full((1, 3, 16, 16), 1.5), IMAGES[:1]])
    iba = IBA(model, LAYER).fit_statistics([quadrant_images(1000)[0]])
    result = iba.explain(images, keep_capacity=True)
    assert bool(torch.isfinite(result.map).all())
    assert result.capacity is not None
    assert float(result.capacity[:, 1].abs().max()) == 0  # never active


@pytest.mark.parametrize("noise", ["gaussian", "clamped", "zero-mean"])
def test_noise_for_layers_after_a_relu(noise: str) -> None:
    result = quadrant_iba("3", noise=noise).explain(IMAGES, CLASSES)
    assert bool(torch.isfinite(result.map).all())
    assert result.total_bits is not None
    assert bool((result.total_bits > 0).all())


@pytest.mark.parametrize("quality", ["fast", "paper", "best"])
def test_qualities_agree_about_where(quality: str) -> None:
    expected = quadrant_iba().explain(IMAGES, CLASSES, evidence_samples=0).map
    got = quadrant_iba(quality=quality, seed=5).explain(IMAGES, CLASSES, evidence_samples=0).map
    assert torch.corrcoef(torch.stack([got.flatten(), expected.flatten()]))[0, 1] > 0.8


# precision --------------------------------------------------------------------------------------------------------


def _pearson(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def test_bfloat16_agrees_with_float32() -> None:
    full = quadrant_iba(precision="float32").explain(IMAGES, CLASSES)
    low = quadrant_iba(precision="bfloat16").explain(IMAGES, CLASSES)
    assert low.map.dtype == torch.float32
    assert not torch.equal(low.map, full.map)
    assert _pearson(low.map, full.map) > 0.99


def test_float64_network_agrees_with_float32() -> None:
    images, _ = quadrant_images(1000, seed=7)
    iba = IBA(quadrant_net().double(), LAYER).fit_statistics([images.double()])
    got = iba.explain(IMAGES.double(), CLASSES)
    assert got.map.dtype == torch.float32
    _close(got, quadrant_iba().explain(IMAGES, CLASSES), 1e-4)


def test_network_with_half_precision_weights() -> None:
    images, _ = quadrant_images(1000, seed=7)
    iba = IBA(quadrant_net().bfloat16(), LAYER).fit_statistics([images.bfloat16()])
    got = iba.explain(IMAGES.bfloat16(), CLASSES)
    assert got.map.dtype == torch.float32
    assert _pearson(got.map, quadrant_iba().explain(IMAGES, CLASSES).map) > 0.98


@pytest.mark.parametrize("surroundings", ["inference_mode", "no_grad", "autocast"])
def test_surroundings_do_not_matter(surroundings: str) -> None:
    expected = quadrant_iba().explain(IMAGES, CLASSES)
    contexts = {
        "inference_mode": torch.inference_mode,
        "no_grad": torch.no_grad,
        "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    }
    iba = quadrant_iba()
    with contexts[surroundings]():
        got = iba.explain(IMAGES, CLASSES)
    _close(got, expected)


# the network is left as it was ----------------------------------------------------------------------------------------


def _with_batch_norm() -> nn.Sequential:
    net = small_net()
    return nn.Sequential(net[0], nn.BatchNorm2d(6), *net[1:])


def test_train_mode_warns_and_changes_nothing() -> None:
    model = _with_batch_norm().eval()
    images = noise_images(1000)
    iba = IBA(model, "3").fit_statistics([images])
    expected = iba.explain(images[:2])
    model.train()
    before = model_state(model)
    with pytest.warns(BitlensWarning, match="train mode"):
        got = iba.explain(images[:2])
    assert torch.equal(got.map, expected.map)
    assert model_state(model) == before
    assert model.training


@pytest.mark.parametrize("fails", [False, True])
def test_network_and_inputs_are_left_as_found(fails: bool) -> None:
    iba = quadrant_iba()
    model = iba.model
    for parameter in list(model.parameters())[::2]:
        parameter.requires_grad_(False)
    before, images = model_state(model), IMAGES.clone()
    calls = [0]

    def target(output: Tensor) -> Tensor:
        calls[0] += 1
        if fails and calls[0] == 4:
            raise ZeroDivisionError("in the middle")
        return output[:, 0]

    if fails:
        with pytest.raises(ZeroDivisionError, match="in the middle"):
            iba.explain(IMAGES, target)
    else:
        iba.explain(IMAGES, target)
    assert calls[0] >= 4
    assert model_state(model) == before
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(IMAGES, images)
    assert not IMAGES.requires_grad


def test_inputs_that_want_gradients_get_none() -> None:
    images = IMAGES.clone().requires_grad_()
    result = quadrant_iba(steps=2).explain(images)
    assert images.grad is None
    assert not result.map.requires_grad


# errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_inputs_that_are_not_finite_are_named(bad: float) -> None:
    images = IMAGES.clone()
    images[[1, 4], 0, 3, 3] = bad
    with pytest.raises(InputError, match="NaN or infinite values in samples 1, 4"):
        quadrant_iba().explain(images)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (4, "class 4 does not exist: the network has classes 0 to 3"),
        ([0, 1, 2, 3, 0, 9], "class 9 does not exist"),
        ([0, 1], "there are 2 targets for 6 samples"),
        (1.5, "whole class indices"),
        ("cat", "got 'cat'"),
        (True, "torch.bool"),
        (NotClass(7), "class 7 does not exist"),
        (AnyOf([0, 7]), "class 7 does not exist"),
        (ClassTarget(torch.tensor([0, 1])), "there are 2 targets for 6 samples"),
        (ClassTarget(torch.zeros(9, dtype=torch.long)), "there are 9 targets for 6 samples"),
        (lambda out: out.mean(), "one number per row"),
    ],
)
@pytest.mark.parametrize("rows", [1, 100])
def test_wrong_targets_are_refused(target: Any, message: str, rows: int) -> None:
    with pytest.raises(TargetError, match=message):
        quadrant_iba(internal_batch_size=rows, steps=2).explain(IMAGES, target)


def test_statistics_that_nobody_gave_cannot_be_looked_at() -> None:
    with pytest.raises(StatisticsError, match=r"no statistics of layer '2' yet: call fit_statistics\(batches\)"):
        _ = IBA(quadrant_net(), LAYER).statistics


def test_statistics_of_another_size_layer_or_network_are_refused() -> None:
    with pytest.raises(StatisticsError, match=r"shape \(8, 8, 8\), but its features have shape \(8, 10, 10\)"):
        quadrant_iba().explain(noise_images(1, size=(20, 20)))
    with pytest.raises(StatisticsError, match="of layer '2', not '0'"):
        IBA(quadrant_net(), "0", statistics=quadrant_statistics())
    with pytest.raises(StatisticsError, match="other weights"):
        IBA(small_net(seed=5), LAYER, statistics=quadrant_statistics())


def test_a_missing_layer_is_refused() -> None:
    with pytest.raises(LayerError, match="has no layer 'layer9'"):
        IBA(quadrant_net(), "layer9")


def test_a_network_that_fails_under_noise_is_refused() -> None:
    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sqrt()

    net = quadrant_net()
    model = nn.Sequential(*net[:4], Root(), *net[4:]).eval()
    iba = IBA(model, "3").fit_statistics([quadrant_images(1000)[0]])
    with pytest.raises(FitError, match="not finite under noise"):
        iba.explain(IMAGES)


@pytest.mark.parametrize(
    "setting",
    [
        {"beta": -1.0},
        {"steps": 0},
        {"noise_samples": 0},
        {"learning_rate": 0.0},
        {"smoothing": -1.0},
        {"min_std": 0.0},
        {"quality": "good"},
        {"precision": "float16"},
        {"readout": "last"},
        {"noise": "pink"},
        {"layout": "NCHW"},
        {"internal_batch_size": 0},
        {"internal_batch_size": "big"},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused_in_one_sentence(setting: dict[str, Any]) -> None:
    with pytest.raises(SettingError) as caught:
        IBA(quadrant_net(), LAYER, **setting)
    ((name, value),) = setting.items()
    message = str(caught.value)
    assert isinstance(caught.value, BitlensError)
    assert message.startswith(f"{name} must ")
    assert "\n" not in message
    assert str(value) in message


def test_a_copied_network_needs_no_new_statistics() -> None:
    iba = IBA(copy.deepcopy(quadrant_net()), LAYER, statistics=quadrant_statistics(), precision="float32")
    _close(iba.explain(IMAGES), quadrant_iba().explain(IMAGES), 0)


def test_a_running_optimisation_can_be_watched() -> None:
    images, classes = quadrant_images(2, seed=3)
    iba, seen = quadrant_iba(), []
    silent = iba.explain(images, classes)
    watched = iba.explain(images, classes, watch=lambda step, maps: seen.append((step, maps.clone())))
    assert torch.equal(watched.map, silent.map)
    assert [step for step, _ in seen] == list(range(iba.fit.updates))
    assert all(maps.shape == (2, 16, 16) for _, maps in seen)
    totals = [float(maps.sum()) for _, maps in seen]
    assert totals[0] > totals[-1] > float(silent.map.sum())  # less and less passes


# weights that change ---------------------------------------------------------------------------------------------------


def test_statistics_older_than_the_weights_are_said() -> None:
    iba = quadrant_iba()
    with torch.no_grad():
        next(iba.model.parameters()).mul_(1.5)
    with pytest.warns(BitlensWarning, match="weights have changed since the statistics .* call fit_statistics again"):
        iba.explain(IMAGES[:1])
    iba.explain(IMAGES[:1])  # once is enough


def test_weights_written_back_are_the_same_weights() -> None:
    iba = quadrant_iba()
    iba.model.load_state_dict({name: tensor.clone() for name, tensor in iba.model.state_dict().items()})
    iba.explain(IMAGES[:1])  # a warning would be an error here
