import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitlens
from bitlens.bottlenecks import bottleneck as bottleneck_module
from bitlens.bottlenecks.input.images import InputIBA
from bitlens.bottlenecks.input.presets import INPUT_STREAM
from bitlens.bottlenecks.input.prior import FirstStage
from bitlens.bottlenecks.per_sample import IBA
from bitlens.core.attribution import Attribution
from bitlens.core.effort import FitSettings
from bitlens.core.family import Fitted
from bitlens.core.fitting import fit_masks
from bitlens.core.layout import LAYOUTS
from bitlens.core.statistics import FeatureStatistics
from bitlens.errors import InputError, LayerError, SettingError
from networks import LAYER, noise_images, quadrant_images, quadrant_net, quadrant_statistics, small_net

IMAGES, CLASSES = quadrant_images(4, seed=21)


def _input_iba(**settings: Any) -> InputIBA:
    chosen = {"precision": "float32", "steps": 10, **settings}
    return InputIBA(quadrant_net(), LAYER, statistics=quadrant_statistics(), **chosen)


def _standard(shape: tuple[int, ...]) -> FeatureStatistics:
    """Statistics with mean 0 and standard deviation 1."""
    count = 1000
    zeros = torch.zeros(shape, dtype=torch.float64)
    return FeatureStatistics(zeros, zeros + count - 1, zeros + count, count, count, "element", LAYOUTS["CHW"])


@pytest.mark.parametrize("steps", [1, 12])
def test_without_a_prior_stage_3_is_a_plain_bottleneck_at_the_input(steps: int) -> None:
    ours = _input_iba(prior="none", steps=steps, noise_samples=4, readout="information", one_mask=False)
    made = ours.explain(IMAGES, CLASSES, evidence_samples=0, keep_capacity=True)
    plain = IBA(
        nn.Sequential(nn.Identity(), quadrant_net()).eval(), "0", statistics=_standard((3, 16, 16)), precision="float32",
        seed=ours.seed + INPUT_STREAM,
    )  # fmt: skip
    plain.fit = ours.fit
    expected = plain.explain(IMAGES, CLASSES, evidence_samples=0, keep_capacity=True)
    assert made.capacity is not None
    assert expected.capacity is not None
    torch.testing.assert_close(made.capacity, expected.capacity, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made.map, expected.map, rtol=1e-4, atol=1e-5)


def test_a_prior_of_zero_is_no_prior() -> None:
    def nothing(stage: FirstStage) -> Tensor:
        return torch.full_like(stage.images, -torch.inf)

    torch.testing.assert_close(
        _input_iba(prior=nothing).explain(IMAGES, CLASSES).map, _input_iba(prior="none").explain(IMAGES, CLASSES).map
    )


def test_what_the_prior_knows_costs_nothing() -> None:
    def left_half(stage: FirstStage) -> Tensor:
        logits = torch.full_like(stage.images, -torch.inf)
        logits[..., :8] = torch.inf
        return logits

    made = _input_iba(prior=left_half, readout="beyond-prior").explain(IMAGES, CLASSES)
    assert float(made.map[..., :8].abs().max()) < 1e-5
    assert float(made.map[..., 8:].max()) > 0.01
    assert made.cells is not None
    assert float(made.cells[..., :8].mean()) > 3 * float(made.cells[..., 8:].mean())


@pytest.mark.parametrize("prior", ["none", "feature-map", "feature-matching"])
@pytest.mark.parametrize("seed", [0, 1])
def test_maps_point_at_what_decides(prior: Any, seed: int) -> None:
    made = _input_iba(prior=prior, seed=seed, steps=20, beta_input=1.0).explain(IMAGES, CLASSES)
    for heat, quadrant in zip(made.map, CLASSES.tolist(), strict=True):
        row, column = 2 + 8 * (quadrant // 2), 2 + 8 * (quadrant % 2)
        assert heat[row : row + 4, column : column + 4].mean() > 1.5 * heat.mean()


def test_every_stage_can_be_looked_at() -> None:
    ours = _input_iba()
    stages = ours.stages(IMAGES, CLASSES)
    first = IBA(quadrant_net(), LAYER, statistics=quadrant_statistics(), precision="float32", quality="fast")
    assert stages.features is not None
    torch.testing.assert_close(stages.features.map, first.explain(IMAGES, CLASSES, evidence_samples=0).map)
    assert stages.features.unit == "bits/pixel"
    torch.testing.assert_close(stages.prior, torch.sigmoid(stages.features.map)[:, None].expand(-1, 3, -1, -1))
    assert torch.equal(stages.input.map, ours.explain(IMAGES, CLASSES).map)
    without = _input_iba(prior="none").stages(IMAGES, CLASSES)
    assert without.features is None
    assert float(without.prior.abs().max()) == 0


@pytest.mark.parametrize(
    ("readout", "unit"), [("mask", "mask"), ("information", "bits/pixel"), ("beyond-prior", "bits/pixel")]
)
def test_read_outs_say_their_unit(readout: Any, unit: str) -> None:
    made = _input_iba(readout=readout).explain(IMAGES, CLASSES)
    assert (made.unit, made.method, made.layer) == (unit, "input-iba", LAYER)
    assert made.cells is not None
    assert made.total_bits is not None
    torch.testing.assert_close(made.cells.flatten(1).sum(1), made.total_bits)
    if readout == "mask":
        assert 0 <= float(made.map.min()) <= float(made.map.max()) <= 1
    elif readout == "information":
        assert torch.equal(made.map, made.cells)
    else:
        assert bool((made.map <= made.cells + 1e-5).all())


def test_the_mask_is_that_after_the_last_update_without_the_blur(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Fitted] = []

    def watched(*arguments: Any, **named: Any) -> Fitted:
        kept.append(fit_masks(*arguments, **named))
        return kept[-1]

    monkeypatch.setattr(bottleneck_module, "fit_masks", watched)
    ours = _input_iba(steps=7)
    made = ours.explain(IMAGES, CLASSES)
    assert ours.fit.updates == 7
    torch.testing.assert_close(made.map, torch.sigmoid(kept[-1].logits).mean(1))
    blurred = 1 - kept[-1].u.mean(1)
    assert float((made.map - blurred).abs().max()) > 1e-3


def test_colours_share_a_mask_or_have_their_own() -> None:
    def passed(one_mask: bool) -> Tensor:
        masks: list[Tensor] = []

        def watched(*arguments: Any, **named: Any) -> Fitted:
            fitted = fit_masks(*arguments, **named)
            masks.append(fitted.u)
            return fitted

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bottleneck_module, "fit_masks", watched)
            _input_iba(one_mask=one_mask).explain(IMAGES, CLASSES)
        return masks[-1]

    shared, own = passed(True), passed(False)
    assert torch.equal(shared, shared[:, :1].expand(-1, 3, -1, -1))
    assert not torch.equal(own, own[:, :1].expand(-1, 3, -1, -1))


@pytest.mark.parametrize("rows", [1, 5, 64])
def test_maps_do_not_depend_on_the_batch(rows: int) -> None:
    whole = _input_iba().explain(IMAGES, CLASSES)
    split = _input_iba(internal_batch_size=rows).explain(IMAGES, CLASSES)
    torch.testing.assert_close(split.map, whole.map, rtol=1e-3, atol=1e-4)
    alone = _input_iba().explain(IMAGES[2:3], CLASSES[2:3])
    torch.testing.assert_close(alone.map, whole.map[2:3], rtol=1e-3, atol=1e-4)


def test_evidence_is_measured_at_the_input() -> None:
    cheap, dear = (_input_iba(beta_input=beta, steps=20).explain(IMAGES, CLASSES).evidence for beta in (0.01, 1000.0))
    assert cheap is not None
    assert dear is not None
    before = torch.softmax(quadrant_net()(IMAGES), 1)[range(4), CLASSES].detach()
    torch.testing.assert_close(cheap.before, before, rtol=1e-4, atol=1e-5)
    assert float((cheap.under_noise - before).abs().max()) < 0.1
    assert float(dear.under_noise.mean()) < float(cheap.under_noise.mean())
    assert _input_iba().explain(IMAGES, CLASSES, evidence_samples=0).evidence is None


@pytest.mark.parametrize(("channels", "size"), [(1, (17, 24)), (4, (9, 33))])
def test_any_size_and_number_of_channels(channels: int, size: tuple[int, int]) -> None:
    model, images = small_net(channels), noise_images(1000, channels, size)
    ours = InputIBA(model, LAYER, steps=2).fit_statistics([images])
    stages = ours.stages(images[:2], keep := None, keep_capacity=True)
    assert keep is None
    assert stages.input.map.shape == (2, *size)
    assert stages.prior.shape == (2, channels, *size)
    assert stages.input.capacity is not None
    assert stages.input.capacity.shape == (2, channels, *size)
    assert ours.attribute(images[:2]).shape == (2, 1, *size)


class _Overwriting(nn.Module):
    """Scales its input in place, as some networks normalise."""

    def __init__(self) -> None:
        super().__init__()
        self.body = quadrant_net()

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images.mul_(2).div_(2))


def test_a_network_may_overwrite_its_input() -> None:
    images = IMAGES.clone()
    statistics = quadrant_statistics("2")
    ours = InputIBA(_Overwriting().eval(), "body.2", steps=4, precision="float32")
    ours.fit_statistics([quadrant_images(1000, seed=7)[0]])
    plain = InputIBA(quadrant_net(), "2", statistics=statistics, steps=4, precision="float32")
    torch.testing.assert_close(
        ours.explain(images, CLASSES).map, plain.explain(images, CLASSES).map, rtol=1e-3, atol=1e-4
    )
    assert torch.equal(images, IMAGES)


def test_presets_are_the_papers_and_the_released_one() -> None:
    paper, official, fast = (_input_iba(quality=name, steps=None) for name in ("paper", "official", "fast"))
    for one in (paper, official):
        published = (20, 60, 10, 1, 1, "final")
        settings = one.fit
        assert published == (
            settings.beta, settings.steps, settings.noise_samples, settings.learning_rate, settings.smoothing,
            settings.readout,
        )  # fmt: skip
        assert settings.passes == 600
    assert (paper.prior, official.prior) == ("wgan", "official")
    assert paper.feature_bottleneck.fit == FitSettings()
    released = official.feature_bottleneck.fit
    assert (released.beta, released.smoothing, released.passes) == (20, 0, 90)
    assert fast.fit.passes <= paper.fit.passes / 5


def test_settings_are_told_and_kept(tmp_path: Any) -> None:
    ours = _input_iba(beta=3.0, beta_input=7.0, noise_samples=3, learning_rate=0.5, smoothing=0.0, noise_std=0.5)
    made = ours.explain(IMAGES[:1], 1)
    expected = {
        "beta": 7.0, "stage1_beta": 3.0, "noise_samples": 3, "learning_rate": 0.5, "smoothing": 0.0, "noise_std": 0.5,
        "prior": "feature-map", "readout": "mask", "seed": 0, "layer": LAYER,
    }  # fmt: skip
    assert {name: made.settings[name] for name in expected} == expected
    made.save(tmp_path / "a.safetensors")
    again = Attribution.load(tmp_path / "a.safetensors")
    assert torch.equal(again.map, made.map)
    assert again.unit == "mask"


def test_the_noise_at_the_input_is_what_it_is_said_to_be() -> None:
    seen: list[Tensor] = []

    class Watched(nn.Sequential):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images.detach().clone())
            return super().forward(images)

    ours = InputIBA(Watched(*quadrant_net()).eval(), LAYER, prior="none", noise_mean=3.0, noise_std=0.5, beta_input=1e6)
    ours.explain(IMAGES, CLASSES, evidence_samples=64)
    noise = seen[-1]
    assert float(noise.mean()) == pytest.approx(3, abs=0.1)
    assert float(noise.std()) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prior": "gan"}, "prior must be one of"),
        ({"quality": "best"}, "quality must be one of 'fast', 'paper', 'official', got 'best'"),
        ({"readout": "bits"}, "readout must be one of"),
        ({"noise_std": 0.0}, "noise_std must be positive, got 0.0"),
        ({"noise_std": math.nan}, "noise_std must be positive, got nan"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"steps": "5"}, "steps must be an int, got '5'"),
        ({"beta_input": "1"}, "beta must be a finite int or float, got '1'"),
        ({"learning_rate": math.inf}, "learning_rate must be a finite int or float, got inf"),
        ({"seed": 2**70}, "seed must be an int between"),
        ({"seed": 1.5}, "seed must be an int between"),
        ({"beta_input": -1.0}, "beta must not be negative, got -1.0"),
        ({"internal_batch_size": 0}, "internal_batch_size must be 'auto' or a positive integer, got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        _input_iba(**settings)


def test_what_cannot_be_explained_is_refused() -> None:
    with pytest.raises(InputError, match=r"input-iba needs images \(N, C, H, W\), series .*, got \(2, 3, 16, 16\)"):
        _input_iba().explain(torch.zeros(2, 3, 16, 16, dtype=torch.long))
    with pytest.raises(LayerError, match="has no layer 'nowhere'"):
        InputIBA(quadrant_net(), "nowhere")
    flat = InputIBA(quadrant_net(), "5", steps=2).fit_statistics([quadrant_images(1000, seed=7)[0]])
    with pytest.raises(LayerError, match="layer '5' has no grid over the pixels of the input"):
        flat.explain(IMAGES)
    flat = InputIBA(quadrant_net(), "5", steps=2, prior="none")  # which asks nothing of the layer
    assert flat.explain(IMAGES).map.shape == (4, 16, 16)


def test_public_name() -> None:
    assert bitlens.InputIBA is InputIBA
