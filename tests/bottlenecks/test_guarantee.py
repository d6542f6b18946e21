"""How many bits inputs need to keep their class, against passes by hand; guarantees end to end on a tiny network; refusals."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitlens
from bitlens.bottlenecks.calibrating import _EACH, _STREAM, needed_bits
from bitlens.bottlenecks.token_statistics import collect_token_statistics
from bitlens.core.family import MaskFamily, Region
from bitlens.core.gaussian import NoiseModel
from bitlens.core.guarantee import Guarantee, Promise
from bitlens.core.layout import LAYOUTS
from bitlens.errors import SettingError, TargetError
from bitlens.view.card import caption
from networks import LAYER, quadrant_iba, quadrant_images, quadrant_net, quadrant_statistics
from small_transformers import batches, encoder_layer, small_classifier

BUDGETS = tuple(2.0**power for power in range(-4, 13))
FEW: dict[str, Any] = {"quality": "fast", "steps": 4, "noise_samples": 2}
LIGHT: dict[str, Any] = {**FEW, "precision": "float32", "budgets": BUDGETS, "layer": LAYER}


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return quadrant_net()


@pytest.fixture(scope="module")
def known(net: nn.Module) -> Guarantee:
    return bitlens.calibrate(net, quadrant_images(60, seed=50)[0], statistics=quadrant_statistics(), **LIGHT)


def explaining(net: nn.Module, guarantee: Guarantee, **other: Any) -> bitlens.IBA:
    settings = {**FEW, "precision": "float32", "statistics": quadrant_statistics(), **other}
    return bitlens.IBA(net, LAYER, guarantee=guarantee, **settings)


def test_shifts_from_the_budget_before_are_those_of_halving() -> None:
    generator = torch.Generator().manual_seed(0)
    features, logits = (torch.randn(3, 6, 8, 8, generator=generator) for _ in range(2))
    noise = NoiseModel(torch.zeros(6, 1, 1), torch.ones(6, 1, 1), torch.ones(6, 1, 1), clamp=False)
    masks, shift = MaskFamily.of(features, noise, LAYOUTS["CHW"], Region(), 1.0), torch.zeros(3)
    for nats in (1e5, 5e3, 4e3, 100.0, 0.5, 1e-3):
        wanted = torch.full((3,), nats)
        shift, found = masks.near(logits, wanted, shift)
        halved = masks.shifted(logits, masks.shift_to(logits, wanted))
        got = found.information.flatten(1).sum(1)
        torch.testing.assert_close(got, halved.information.flatten(1).sum(1), rtol=3e-4, atol=0)


def by_hand(iba: bitlens.IBA, net: nn.Sequential, images: Tensor, place: int, noises: int, bits: float) -> bool:
    """Whether one image keeps its class: the masks of `bits`, noise from its own seed, the mean of softmaxes."""
    iba.bits = bits
    found = iba.explain(images, evidence_samples=0, keep_capacity=True)
    features = net[:3](images)
    stream = torch.Generator().manual_seed(iba.seed + _STREAM + place * _EACH)
    standard = torch.randn(noises, *features.shape, generator=stream)[:, 0]
    capacity = found.capacity
    assert capacity is not None
    mean, std = quadrant_statistics().mean.float(), quadrant_statistics().std.float().clamp_min(0.01)
    score = (((features - mean) / std) ** 2)[0]
    low, high = torch.zeros_like(score), torch.ones_like(score)
    for _ in range(60):  # the share λ of each feature from its bits: -ln(1-λ) + ½((1-λ)² + λ²r²) - ½
        share = (low + high) / 2
        nats = -torch.log1p(-share.double()) + ((1 - share) ** 2 + share**2 * score) / 2 - 0.5
        more = nats > capacity[0].double() * math.log(2)
        low, high = torch.where(more, low, share), torch.where(more, share, high)
    z = share * features + (1 - share) * (mean + std * standard)
    return int(net[3:](z).softmax(1).mean(0).argmax()) == int(net(images).argmax())


def test_what_an_input_needs_is_what_passes_by_hand_say() -> None:
    net, images = quadrant_net(), quadrant_images(3, seed=9)[0]
    iba = bitlens.IBA(net, LAYER, statistics=quadrant_statistics(), precision="float32", activity_threshold=-1.0, **FEW)
    budgets = (1.0, 4.0, 16.0, 64.0, 512.0)
    needed = needed_bits(iba, images, budgets=budgets, noises=3, first=7)
    for place, least in enumerate(needed.tolist()):
        kept = [by_hand(iba, net, images[place : place + 1], 7 + place, 3, bits) for bits in budgets]
        lost = [number for number, one in enumerate(kept) if not one]
        assert least == (budgets[lost[-1] + 1] if lost else budgets[0])


def test_an_input_needs_the_same_whatever_batch_it_is_in(net: nn.Module) -> None:
    images = quadrant_images(7, seed=3)[0]
    iba = bitlens.IBA(net, LAYER, statistics=quadrant_statistics(), precision="float32", **FEW)
    together = needed_bits(iba, images, budgets=BUDGETS)
    apart = [float(needed_bits(iba, images[i : i + 1], budgets=BUDGETS, first=i)) for i in range(7)]
    assert together.tolist() == apart
    assert len(set(apart)) > 2


def test_held_out_inputs_are_covered(net: nn.Module, known: Guarantee) -> None:
    """With fresh noise at the budget itself, on inputs and noise that no calibration saw."""
    iba = bitlens.IBA(net, LAYER, statistics=quadrant_statistics(), precision="float32", **FEW)
    images = quadrant_images(300, seed=77)[0]
    for level in (0.5, 0.8, 0.9):
        bits = known.budget(level)
        kept = needed_bits(iba, images, budgets=[bits], first=10_000).isfinite().double().mean()
        error = (level * (1 - level) * (1 / 300 + 1 / 60)) ** 0.5
        assert float(kept) > level - 3 * error
    assert known.budget(0.5) < known.budget(0.9)


def test_a_map_carries_what_is_guaranteed(net: nn.Module, known: Guarantee, tmp_path: Path) -> None:
    images = quadrant_images(2, seed=4)[0]
    found = explaining(net, known.at(0.8)).explain(images)
    bits = known.budget(0.8)
    assert found.total_bits is not None
    torch.testing.assert_close(found.total_bits, torch.full((2,), bits), rtol=1e-3, atol=0)
    assert found.promise == Promise(0.8, 60, 4, bits)
    row = found.summary()[0]
    assert row["guarantee"] == str(found.promise)
    assert row["class_kept"] is True
    assert f"{found.promise}; this one does" in caption(found[:1])
    assert (row["guaranteed_level"], row["guaranteed_inputs"], row["guaranteed_noises"]) == (0.8, 60, 4)
    assert row["guaranteed_bits"] == bits
    json.dumps(row)
    found.save(tmp_path / "a.safetensors")
    assert bitlens.Attribution.load(tmp_path / "a.safetensors").promise == found.promise
    by_bits = quadrant_iba(bits=bits, **FEW).explain(images)
    torch.testing.assert_close(by_bits.map, found.map)
    assert by_bits.promise is None


def test_an_input_that_does_not_keep_its_class_is_told_apart(net: nn.Module, known: Guarantee) -> None:
    """With nothing but noise the network names one class for all."""
    nothing = replace(
        known, budgets=torch.tensor([1e-3], dtype=torch.float64), needed=torch.zeros(60, dtype=torch.long)
    )
    images = quadrant_images(12, seed=4)[0]
    found = explaining(net, nothing).explain(images)
    assert found.class_kept is not None
    assert 0 < float(found.class_kept.sum()) < 12
    assert net(images).argmax(1)[found.class_kept > 0].unique().numel() == 1
    lost = int(found.class_kept.argmin())
    assert caption(found[lost]).endswith("; this is one of those that do not")
    assert explaining(net, nothing).explain(images[lost : lost + 1]).summary()[0]["class_kept"] is False


def test_a_guarantee_is_taken_for_nothing_else(net: nn.Module, known: Guarantee) -> None:
    images = quadrant_images(2, seed=4)[0]
    with pytest.raises(SettingError, match=r"the guarantee is not about this: beta was 10.0, is 3.0; calibrate anew"):
        explaining(net, known, beta=3.0).explain(images)
    with pytest.raises(SettingError, match="seed was 0, is 1"):
        explaining(net, known, seed=1).explain(images)
    with pytest.raises(SettingError, match="layer was '2', is '0'"):
        bitlens.IBA(net, "0", guarantee=known, precision="float32", **FEW).explain(images)
    other = quadrant_net()
    with torch.no_grad():
        other[6].bias.add_(1.0)
    with pytest.raises(SettingError, match=r"weights was '[0-9a-f]{16}', is '[0-9a-f]{16}'"):
        bitlens.IBA(other, LAYER, guarantee=known, precision="float32", **FEW).explain(images)
    with pytest.raises(SettingError, match="give neither keep nor bits"):
        explaining(net, known, keep=0.9)
    with pytest.raises(SettingError, match=r"99 % of inputs from 60: 99 are needed"):
        explaining(net, known.at(0.99))
    with pytest.raises(TargetError, match="the guarantee is about the class that the network names"):
        explaining(net, known).explain(images, (net(images).argmax(1) + 1) % 4)
    assert explaining(net, known).explain(images, net(images).argmax(1)).promise is not None


def test_classes_that_are_given_can_be_guaranteed_too(net: nn.Module) -> None:
    """A class that the network does not name is kept by no budget."""
    images = quadrant_images(4, seed=4)[0]
    wrong = (net(images).argmax(1) + 1) % 4
    found = bitlens.calibrate(net, images, wrong, statistics=quadrant_statistics(), **LIGHT)
    assert found.asked == "given"
    assert found.bits.isinf().all()
    with pytest.raises(TargetError, match="about the class that a network names, not about Score"):
        bitlens.calibrate(net, images, lambda output: output[:, 0], statistics=quadrant_statistics(), **LIGHT)


def test_what_cannot_be_calibrated_says_so(net: nn.Module) -> None:
    images = quadrant_images(2, seed=4)[0]
    for settings, words in (
        ({"method": "grad-cam"}, "a bottleneck at one layer"),
        ({"bits": 100.0, **FEW}, "without keep, bits or a guarantee"),
        ({"budgets": (2.0, 1.0), **FEW}, "budgets must rise"),
        ({"levels": (), **FEW}, "levels is empty"),
        ({"levels": (1.5,), **FEW}, "above 0 and below 1"),
        ({"noises": 0, **FEW}, "noises must be at least 1"),
    ):
        with pytest.raises(SettingError, match=words):
            bitlens.calibrate(net, images, layer=LAYER, **settings)


def test_texts_of_a_loaded_network_carry_it() -> None:
    loaded = bitlens.load_model("builtin/reviews", kind="text")
    texts = ["a warm and funny film", "a dull and boring story", "the worst film of the year", "great acting"]
    known = bitlens.calibrate(loaded, texts, levels=(0.5,), budgets=(4.0, 64.0, 1024.0), noises=2, steps=3)
    assert known.method == "iba"
    found = bitlens.explain(loaded, texts[0], guarantee=known, steps=3)
    assert found.promise == known.promise
    assert found.unit == "bits/token"
    with pytest.raises(SettingError, match="a guarantee is about one layer"):
        bitlens.explain(loaded, texts[0], method="token-iba", guarantee=known)


@pytest.mark.filterwarnings("ignore:statistics from:bitlens.errors.BitlensWarning")
def test_texts_have_guarantees_at_one_layer() -> None:
    bert = small_classifier("Bert")
    layer, texts = encoder_layer(bert, 1), batches(1)[0]
    known = collect_token_statistics(bert, [layer], batches())
    iba = bitlens.TokenIBA(bert, layer, steps=2, statistics=known)
    needed = needed_bits(iba, texts, budgets=(1.0, 100.0, 1e6))
    assert len(needed) == len(texts["input_ids"])
    alone = {name: value[-1:] for name, value in texts.items()}
    assert float(needed_bits(iba, alone, budgets=(1.0, 100.0, 1e6), first=len(needed) - 1)) == float(needed[-1])
