"""Bits for an answer and against it: places that are known to raise or lower it, symmetries, what is the same without signs."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitlens
from bitlens.bottlenecks.layered import LayeredTokenIBA
from bitlens.core.attribution import Attribution
from bitlens.core.effect import effects
from bitlens.core.family import MaskFamily, Region
from bitlens.core.gaussian import NoiseModel
from bitlens.core.layout import LAYOUTS
from bitlens.core.stored_map import StoredMap
from bitlens.core.targets import LogOdds, Regression, Score
from bitlens.errors import DataError, SettingError, TargetError
from bitlens.models.loaded import Loaded
from bitlens.system.arrays import read_arrays, write_arrays
from bitlens.training.settings import TrainingSettings

MIXED = "a dull plot but the acting is wonderful and moving"
NEGATIVE, POSITIVE = 0, 1
RISES, FALLS = (0, 1, 1), (0, 4, 4)


class Planted(nn.Module):
    """The first output rises with one pixel of the layer and falls with another as much; the second is its opposite."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.layer.weight)

    def forward(self, images: Tensor) -> Tensor:
        seen = self.layer(images)[:, 0]
        told = 3 * (seen[:, 1, 1] - seen[:, 4, 4])
        return torch.stack([told, -told], 1)


def planted_image() -> Tensor:
    image = 0.1 * torch.randn(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    image[0][RISES], image[0][FALLS] = 2.5, 1.8
    return image


def bottlenecks() -> list[Any]:
    noise = torch.randn(64, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    plain: dict[str, Any] = {"signed": True, "smoothing": 0.0, "precision": "float32"}

    def iba(**settings: Any) -> Any:
        made = bitlens.IBA(Planted().eval(), "layer", layout="CHW", **plain, **settings)
        return pytest.param(made.fit_statistics([noise], granularity="channel"), id=f"iba {settings}")

    at_input = bitlens.InputIBA(Planted().eval(), "layer", layout="CHW", prior="none", readout="information", **plain)
    return [iba(beta=1.0), iba(keep=0.5), iba(bits=4.0), pytest.param(at_input, id="input-iba")]


@pytest.mark.parametrize("method", bottlenecks())
@pytest.mark.parametrize("seed", [0, 1])
def test_what_raises_the_output_is_for_it_and_what_lowers_it_against(method: Any, seed: int) -> None:
    method.passes = bitlens.core.passes.Passes(seed=seed, precision="float32")
    found = method.explain(planted_image(), Score(lambda output: output[:, 0]), evidence_samples=8)
    raised, lowered = float(found.map[RISES]), float(found.map[FALLS])
    others = found.map.clone()
    others[RISES] = others[FALLS] = 0
    assert raised > 1
    assert lowered < -1
    assert float(others.abs().max()) < 0.2 * min(raised, -lowered)
    assert found.unit == "bits/pixel"


def test_no_bit_that_a_fitted_mask_lets_pass_is_against() -> None:
    """At the optimum each bit is worth its price: the score rises with it as the information does."""
    iba = bottlenecks()[0].values[0]
    unsigned = bitlens.IBA(
        iba.model, "layer", layout="CHW", smoothing=0.0, precision="float32", beta=1.0, readout="final", steps=60
    )
    unsigned.statistics = iba.statistics
    found = unsigned.explain(planted_image(), Score(lambda output: output[:, 0]), evidence_samples=0)
    assert float(found.map[FALLS]) < 0.05 * float(found.map[RISES])


@pytest.fixture(scope="module")
def reviews() -> Loaded:
    return bitlens.load_model("builtin/reviews")


def methods(loaded: Loaded, **settings: Any) -> list[Any]:
    layered = LayeredTokenIBA(loaded.model, ["embedding", "dropout#0"], **settings)
    return [*(bitlens.method(name, loaded, **settings) for name in ("token-iba", "iba", "input-iba")), layered]


@pytest.mark.parametrize(("which", "settings"), [(0, {"keep": 0.9}), (1, {}), (2, {}), (3, {"bits": 50.0})], ids=str)
def test_what_is_for_is_what_is_found_without_signs(reviews: Loaded, which: int, settings: dict[str, Any]) -> None:
    batch = reviews.tokenizer([MIXED, "awful"])
    signed = methods(reviews, signed=True, **settings)[which].explain(batch, NEGATIVE)
    plain = methods(reviews, **settings)[which].explain(batch, NEGATIVE)
    assert plain.against is None
    assert not plain.signed
    assert signed.signed
    torch.testing.assert_close(signed.for_, plain.map, rtol=1e-5, atol=1e-4)
    assert torch.equal(signed.total_bits, plain.total_bits)
    assert torch.equal(signed.evidence.under_noise, plain.evidence.under_noise)
    if signed.unit != "mask":
        torch.testing.assert_close(signed.map.sum(1), signed.total_bits - signed.total_against, rtol=1e-4, atol=1e-2)
    words = dict(zip(batch.tokens[0], signed.map[0].tolist(), strict=False))
    assert words["dull"] > 0 > words["wonderful"]


def test_of_two_classes_what_is_for_one_is_against_the_other(reviews: Loaded) -> None:
    batch = reviews.tokenizer([MIXED])
    method = bitlens.method("token-iba", reviews, signed=True)
    one, other = (method.explain(batch, target, evidence_samples=0) for target in (NEGATIVE, POSITIVE))
    torch.testing.assert_close(one.map, -other.map, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(one.total_bits, other.total_against, rtol=1e-4, atol=1e-2)


def test_where_nothing_was_needed_for_it_something_may_still_be_against(reviews: Loaded) -> None:
    found = bitlens.method("token-iba", reviews, signed=True, keep=0.9).explain(
        reviews.tokenizer(["wonderful and moving"]), NEGATIVE
    )
    assert float(found.total_bits[0]) == 0
    assert float(found.map.min()) < -10


def test_files_slices_and_batches_keep_it(reviews: Loaded, tmp_path: Path) -> None:
    found = bitlens.method("token-iba", reviews, signed=True).explain(reviews.tokenizer([MIXED, "awful"]), NEGATIVE)
    found.save(tmp_path / "a.safetensors")
    for read in (Attribution.load(tmp_path / "a.safetensors"), StoredMap.load(tmp_path / "a.safetensors")):
        assert read.signed
        assert torch.equal(torch.as_tensor(read.map), found.map)
        assert torch.equal(torch.as_tensor(read[1].total_against), found.total_against[1:])
    assert torch.equal(Attribution.join([found[0], found[1]]).against, found.against)
    row = found.summary()[0]
    assert (row["signed"], row["total_against"]) == (True, pytest.approx(float(found.total_against[0])))
    assert found.settings["signed"] is True


@pytest.mark.parametrize("lost", ["against", "total_against"])
def test_files_that_lost_a_part_are_refused(reviews: Loaded, tmp_path: Path, lost: str) -> None:
    place = tmp_path / "a.safetensors"
    bitlens.method("token-iba", reviews, signed=True).explain(reviews.tokenizer([MIXED]), evidence_samples=0).save(
        place
    )
    arrays, metadata = read_arrays(place, "an attribution", lambda _: True)
    write_arrays(place, {name: value for name, value in arrays.items() if name != lost}, metadata)
    with pytest.raises(DataError, match="signed map"):
        Attribution.load(place)


def test_an_opposite_that_there_is_not_is_refused() -> None:
    iba = bottlenecks()[0].values[0]
    with pytest.raises(TargetError, match="nothing speaks for or against the value"):
        iba.explain(planted_image(), Regression(column=0))
    with pytest.raises(SettingError, match="a readout fits none"):
        bitlens.ReadoutIBA(Planted(), "layer", signed="opening")


@pytest.fixture(scope="module")
def untold() -> bitlens.ReadoutIBA:
    """A readout that hardly learnt anything: it lets nearly all pass, whatever it does to the answer."""
    readout = bitlens.ReadoutIBA(
        Planted().eval(), "layer", layout="CHW", smoothing=0.0, conditional=True, precision="float32"
    )
    noise = torch.randn(64, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    readout.fit_weights([noise], TrainingSettings(epochs=1, learning_rate=1e-6))
    return readout


@pytest.mark.parametrize("settings", [{}, {"keep": 0.5}, {"bits": 20.0}], ids=str)
def test_of_what_a_readout_lets_pass_each_place_is_for_or_against_as_it_moves_the_answer(
    untold: bitlens.ReadoutIBA, settings: dict[str, Any]
) -> None:
    needed = ((0, 1),) if "keep" in settings else ((0, 1), (1, -1))  # nothing holds a class that noise names more often
    for target, sign in needed:
        signed, plain = (
            bitlens.ReadoutIBA(
                untold.model, weights=untold.weights, precision="float32", signed=signed, **settings
            ).explain(planted_image(), target, evidence_samples=8)
            for signed in (True, False)
        )
        all_ = plain.map
        assert float(signed.map[RISES]) == pytest.approx(sign * float(all_[RISES]))
        assert float(signed.map[FALLS]) == pytest.approx(-sign * float(all_[FALLS]))
        assert signed.map.count_nonzero() == 2, "no other place moves the answer"
        assert float(signed.total_bits[0]) == pytest.approx(float(all_[RISES if sign > 0 else FALLS]))
        assert float(signed.total_against[0]) == pytest.approx(float(all_[FALLS if sign > 0 else RISES]))
        assert torch.equal(signed.evidence.under_noise, plain.evidence.under_noise), "evidence is of all that passes"

    with pytest.raises(SettingError, match="leave out curve, or signed"):
        bitlens.ReadoutIBA(untold.model, weights=untold.weights, signed=True).explain(planted_image(), curve=True)


def test_an_effect_is_what_closing_a_place_costs_where_the_answer_is_linear() -> None:
    generator = torch.Generator().manual_seed(0)
    features, weight = torch.randn(2, 3, 4, 4, generator=generator), torch.randn(3, 4, 4, generator=generator)
    mean = torch.randn(3, 1, 1, generator=generator)
    model = NoiseModel(mean[None], torch.ones(1, 3, 1, 1), torch.ones(1, 3, 1, 1), clamp=False)
    u = torch.rand(2, 3, 4, 4, generator=generator)
    masks = MaskFamily.of(features, model, LAYOUTS["CHW"], Region(), 0.0)
    target = Score(lambda output: output[:, 0])

    def answer(z: Tensor) -> Tensor:
        return (z * weight).flatten(1).sum(1, keepdim=True)

    found = effects(answer, target, masks, u, copies=2)
    lost = ((1 - u) * (features - mean) * weight).sum(1, keepdim=True)  # pairs of noise and its negative cancel
    torch.testing.assert_close(found, lost, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_opening_says_what_each_place_adds_and_takes_away(seed: int) -> None:
    noise = torch.randn(64, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    iba = bitlens.IBA(Planted().eval(), "layer", layout="CHW", signed="opening", precision="float32", seed=seed)
    statistics = iba.fit_statistics([noise], granularity="channel").statistics
    image = planted_image()
    found = iba.explain(image, LogOdds(torch.tensor([0])))
    mean = float(statistics.mean.flatten()[0])
    expected = [6 * (float(image[0][place]) - mean) * sign for place, sign in ((RISES, 1), (FALLS, -1))]  # log-odds
    got = [float(found.map[place]) * math.log(2) for place in (RISES, FALLS)]
    assert got == pytest.approx(expected, rel=1e-4)
    assert float(found.total_bits[0]) == pytest.approx(expected[0] / math.log(2), rel=1e-4)
    assert float(found.total_against[0]) == pytest.approx(-expected[1] / math.log(2), rel=1e-4)
    assert found.map.count_nonzero() == 2
    assert (found.unit, found.settings["signed"], found.evidence) == ("bits gained/pixel", "opening", None)
    assert "all opened together" in str(found)


def test_opening_adds_up_to_the_log_odds_that_a_text_has_over_noise(reviews: Loaded) -> None:
    batch = reviews.tokenizer([MIXED, "awful"])
    method = bitlens.method("token-iba", reviews, signed="opening", steps=20, noise_samples=8)
    found = method.explain(batch, NEGATIVE)
    words = dict(zip(batch.tokens[0], found.map[0].tolist(), strict=False))
    assert words["dull"] > 0 > words["wonderful"]
    torch.testing.assert_close(found.map.sum(1), found.total_bits - found.total_against, rtol=1e-4, atol=1e-4)
    alone = method.explain(reviews.tokenizer(["awful"]), NEGATIVE)
    torch.testing.assert_close(alone.map[0, 0], found.map[1, 0], rtol=1e-3, atol=1e-3)
    held = bitlens.method("token-iba", reviews).explain(batch, NEGATIVE, evidence_samples=64).evidence
    gained = (torch.logit(held.before) - torch.logit(held.floor)) / math.log(2)
    assert (found.map.sum(1) - gained).abs().max() < 1.5, "the floor is a mean of probabilities, not of log-odds"


@pytest.mark.parametrize("settings", [{"keep": 0.9}, {"bits": 5.0}])
def test_where_all_opens_nothing_decides_how_much_passes(reviews: Loaded, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="leave out keep, bits and guarantee"):
        bitlens.method("token-iba", reviews, signed="opening", **settings)
    with pytest.raises(SettingError, match="a prior is one of masks"):
        bitlens.method("input-iba", reviews, signed="opening")
    for asked in ({"evidence_samples": 8}, {"curve": True}, {"spread": 2}, {"keep_capacity": True}):
        with pytest.raises(SettingError, match="leave out evidence_samples, curve, spread, keep_capacity and watch"):
            bitlens.method("token-iba", reviews, signed="opening").explain(reviews.tokenizer(["awful"]), **asked)
    with pytest.raises(TargetError, match="the target is a score"):
        bitlens.method("token-iba", reviews, signed="opening").explain(
            reviews.tokenizer(["awful"]), Score(lambda output: output.flatten())
        )
    with pytest.raises(SettingError, match="True, False or 'opening'"):
        bitlens.method("token-iba", reviews, signed="closing")


def test_opening_of_several_layers_with_one_mask_does_not_depend_on_the_rows_of_a_pass(reviews: Loaded) -> None:
    batch = reviews.tokenizer([MIXED])
    made = [
        bitlens.TokenIBA(
            reviews.model,
            "embedding",
            deeper=["rnn_1"],
            signed="opening",
            steps=3,
            precision="float32",
            internal_batch_size=rows,
        )
        for rows in (2, 16)
    ]
    one, all_ = (method.explain(batch, NEGATIVE).map for method in made)
    torch.testing.assert_close(one, all_, rtol=1e-3, atol=1e-4)
