"""A value that is to stay as it is, is lost by more of it as well as by less: what its sign is, is no matter."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitlens import IBA, Attribution, InputIBA
from bitlens.bottlenecks import bottleneck
from bitlens.core.fitting import fit_masks
from bitlens.core.floor import share_error, share_kept, span
from bitlens.core.holding import Holding
from bitlens.core.outputs import OutputForm
from bitlens.core.stored_map import StoredMap
from bitlens.core.targets import Binary, Regression, Score, Target
from bitlens.errors import TargetError
from bitlens.metrics import degradation, insertion_deletion, kept_per_bit


class Brightness(nn.Module):
    """The mean of the left half of an image, times a factor: nothing else of it counts."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.features.weight)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.features(x)[..., :8].mean((1, 2, 3))[:, None]


def images(count: int = 4) -> Tensor:
    """Return bright and dark images: values above and below what is said of noise."""
    noise = torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return noise + torch.tensor([2.0, -2.0]).repeat(count // 2).reshape(-1, 1, 1, 1)


def iba(factor: float, precision: str = "float32") -> IBA:
    others = torch.randn(64, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    made = IBA(Brightness(factor).eval(), "features", keep=0.9, precision=precision)
    return made.fit_statistics([others], granularity="channel")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_values_below_the_floor_are_held_as_those_above(precision: str) -> None:
    found = iba(1.0, precision).explain(images(), Regression())
    proof = found.evidence
    assert bool((proof.before[1::2] < proof.floor[1::2] - 1).all())
    assert bool((proof.kept >= 0.9 - 1e-4).all())
    assert bool((found.total_bits > 1).all())
    inside = found.map[..., :8].sum((1, 2)) / found.map.sum((1, 2))
    assert bool((inside > 0.9).all())


def test_maps_and_metrics_do_not_know_the_sign_of_a_value() -> None:
    one, other = (iba(factor).explain(images(), Regression()) for factor in (1.0, -1.0))
    torch.testing.assert_close(one.map, other.map, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.evidence.kept, other.evidence.kept, rtol=1e-3, atol=1e-3)
    for metric in (
        lambda model: degradation(model, images(), Regression(), one.map, tile=4, replacement="zero").areas(),
        lambda model: insertion_deletion(model, images(), Regression(), one.map, points=8).deletion_areas(),
    ):
        above, below = (metric(Brightness(factor).eval()) for factor in (1.0, -1.0))
        torch.testing.assert_close(above, below)
    better = degradation(Brightness(-1.0).eval(), images(), Regression(), one.map, tile=4, replacement="zero").areas()
    assert bool((better > 0.2).all())
    above, below = (kept_per_bit(iba(factor), images(), Regression(), one.map, points=5) for factor in (1.0, -1.0))
    torch.testing.assert_close(above.kept, below.kept, rtol=1e-3, atol=1e-3)
    drawn = torch.rand(one.map.shape, generator=torch.Generator().manual_seed(2))
    by_chance = kept_per_bit(iba(-1.0), images(), Regression(), drawn, points=5)
    assert bool((below.areas() > by_chance.areas() + 0.03).all())


def test_more_is_as_far_off_as_less() -> None:
    before, floor, some = torch.tensor([3.0, 3.0, 3.0, 3.0]), torch.tensor([1.0, 5.0, 3.0, 3.0]), torch.zeros(4)
    floor_std = torch.tensor([0.0, 0.0, 2.0, 0.0])  # where the floor is the value on average, noise still moves it
    for under, expected in ((before, 1.0), (before - 1, 0.5), (before + 1, 0.5), (before + 2, 0.0)):
        kept = share_kept(before, under, floor, some + 0.1, (some, floor_std))
        assert kept[:3].tolist() == pytest.approx([expected] * 3)
        assert bool(kept[3].isnan())  # always the same: nothing was needed
    spread = share_kept(before, before, floor, some + 0.1, (some + 1, floor_std))
    assert spread[:3].tolist() == pytest.approx([0.5] * 3)
    wide = span(before, floor, floor_std)
    assert share_error(wide, spread, some + 0.2, some)[:3].tolist() == pytest.approx([0.1] * 3)


def test_what_is_kept_of_a_value_is_stored(tmp_path) -> None:
    found = iba(1.0).explain(images(2), Regression())
    found.save(tmp_path / "a.safetensors")
    for again in (Attribution.load(tmp_path / "a.safetensors"), StoredMap.load(tmp_path / "a.safetensors")):
        kept, error = again.evidence.kept, again.evidence.kept_error
        torch.testing.assert_close(torch.as_tensor(kept), found.evidence.kept)
        torch.testing.assert_close(torch.as_tensor(error), found.evidence.kept_error)


@pytest.mark.parametrize("factor", [1e-12, 1e-4, 100.0, 1e8])
@pytest.mark.parametrize("target", [Regression(), Score(lambda output: output[:, 0])])
def test_in_which_unit_an_output_is_does_not_matter_where_a_share_is_kept(target: Target, factor: float) -> None:
    bright = images()[::2]
    expected, found = iba(1.0).explain(bright, target), iba(factor).explain(bright, target)
    torch.testing.assert_close(found.map, expected.map, rtol=1e-2, atol=1e-3)
    assert bool(found.evidence.kept.isfinite().all())
    torch.testing.assert_close(found.evidence.kept, expected.evidence.kept, rtol=1e-2, atol=1e-3)
    inside = found.map[..., :8].sum((1, 2)) / found.map.sum((1, 2))
    assert bool((inside > 0.9).all())


def test_a_price_at_the_input_sees_no_unit_either() -> None:
    bright, maps = images()[::2], []
    for factor in (1e-4, 1.0, 1e4):
        made = InputIBA(Brightness(factor).eval(), "features", keep=0.9, precision="float32", prior="none")
        maps.append(made.explain(bright, Regression()).map)
    for one in maps[1:]:
        torch.testing.assert_close(one, maps[0], rtol=1e-2, atol=1e-3)
    assert bool((maps[0][..., :8].sum((1, 2)) > 2 * maps[0][..., 8:].sum((1, 2))).all())


def test_two_losses_that_are_alike_by_chance_do_not_count_for_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the clean value and of the floor are, if what is asked for lies in the middle between them."""
    bright, own, weights = images()[:1], iba(1.0), []
    proof = own.explain(bright, Regression()).evidence
    asked = (proof.before + proof.floor) / 2
    loss = float((proof.before - asked) ** 2 / 2)
    monkeypatch.setattr(Holding, "lost", lambda _, count, seed: torch.full((count, 1), loss * (1 + 1e-6)))  # noqa: ARG005

    def watched(*args: Any, weight: Tensor, **settings: Any) -> Any:
        weights.append(weight)
        return fit_masks(*args, weight=weight, **settings)

    monkeypatch.setattr(bottleneck, "fit_masks", watched)
    own.explain(bright, Regression(asked))
    assert weights[0].tolist() == pytest.approx([2 / loss], rel=1e-4)


def test_the_error_that_matters_may_be_said() -> None:
    found, by_rule = (iba(1.0).explain(images(), Regression(scale=scale)) for scale in (100.0, None))
    inside, best = (one.map[..., :8].sum((1, 2)) / one.map.sum((1, 2)) for one in (found, by_rule))
    assert bool((inside < best - 0.2).all())  # a hundred hardly matters here, so nothing tells the halves apart


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_makes_no_sense_is_refused(scale: float) -> None:
    with pytest.raises(TargetError, match="must be a number above 0"):
        Regression(scale=scale)


@pytest.mark.parametrize(("target", "expected"), [(Regression(), [-1.0, -2.0, -3.0, 0.0]), (Binary(), None)])
def test_how_metrics_count_a_value(target: Target, expected: list[float] | None) -> None:
    values, clean = torch.tensor([2.0, 3.0, 0.0, 5.0]), torch.tensor([[3.0], [5.0]])
    found = target.asked_of(OutputForm(), clean, 2).counted(values, clean)
    assert found.tolist() == (values.tolist() if expected is None else expected)
