"""Proofs of maps at a price: as many noises as it takes, and an interval that is right as often as it says."""

from collections.abc import Callable

import pytest
import torch
from scipy.special import stdtrit
from torch import Tensor

from bitlens.core.proofs import MOST, doubt, mean_and_error, proven
from networks import quadrant_iba, quadrant_images

Draw = Callable[[tuple[int, int]], Tensor]

DRAWN: dict[str, Draw] = {
    "hardly spread": lambda size: 0.9 + 0.01 * torch.randn(size),
    "spread": lambda size: (0.7 + 0.2 * torch.randn(size)).clamp(0, 1),
    "kept or lost": lambda size: torch.sigmoid(1 + 3 * torch.randn(size)),
    "mostly kept": lambda size: torch.sigmoid(3 + 1.5 * torch.randn(size)),
}


def looked(draw: Draw, samples: int) -> tuple[Tensor, list[tuple[int, int]]]:
    """Values as a proof draws them, and how many samples it looked at under how many noises."""
    looks = []

    def look(_: Tensor, chosen: Tensor, count: int, __: int) -> Tensor:
        looks.append((len(chosen), count))
        return draw((count, len(chosen)))

    return proven(look, lambda values, _: mean_and_error(values)[::2], torch.zeros(samples), 8), looks


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_the_interval_is_right_as_often_as_it_says(draw: Draw) -> None:
    torch.manual_seed(0)
    values, _ = looked(draw, 4000)
    off = (values.nanmean(0) - draw((1_000_000, 1)).mean()).abs()
    assert float((off <= 2 * doubt(values, torch.ones(4000))).float().mean()) > 0.89


def test_only_what_is_open_is_looked_at_again() -> None:
    torch.manual_seed(0)
    spread = torch.tensor([0.0, 0.1, 1.0])

    def look(_: Tensor, chosen: Tensor, count: int, __: int) -> Tensor:
        return spread[chosen] * torch.randn(count, len(chosen)).sign()

    values = proven(look, lambda seen, _: mean_and_error(seen)[::2], torch.zeros(3), 8)
    assert values.isfinite().sum(0).tolist() == [8, 8, MOST]


def test_no_more_noises_are_drawn_than_it_takes() -> None:
    _, looks = looked(DRAWN["hardly spread"], 5)
    assert looks == [(5, 8)]
    _, looks = looked(DRAWN["kept or lost"], 1000)
    assert [count for _, count in looks] == [8, 8, 16, 32]
    assert [some for some, _ in looks] == sorted((some for some, _ in looks), reverse=True)


def test_noises_that_agree_leave_a_doubt() -> None:
    t = 2.364624  # of 7 degrees of freedom, for 95 %
    assert doubt(torch.ones(8, 1), torch.tensor([0.5])).tolist() == pytest.approx([t / 2 * 0.02 / 8**0.5], rel=1e-3)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 16, 64])
def test_the_error_is_as_wide_as_students_t(count: int) -> None:
    values = torch.arange(float(count))[:, None]
    want = stdtrit(count - 1, 0.975) / 2 * float(values.std()) / count**0.5
    assert doubt(values, torch.zeros(1)).tolist() == pytest.approx([want], rel=0.01)


def test_of_one_noise_nothing_is_told_and_of_two_little() -> None:
    images, _ = quadrant_images(2)
    one = quadrant_iba(steps=2).explain(images, evidence_samples=1)
    assert one.evidence is not None
    assert one.evidence.under_noise_error is None
    assert all("kept_error" not in row for row in one.summary())
    torch.manual_seed(0)
    values = 0.5 + 0.1 * torch.randn(2, 20_000)
    off = (values.mean(0) - 0.5).abs()
    assert float((off <= 2 * doubt(values, torch.zeros(20_000))).float().mean()) == pytest.approx(0.95, abs=0.01)


def test_who_asks_for_so_many_gets_so_many() -> None:
    images, _ = quadrant_images(2)
    few = quadrant_iba(steps=2).explain(images, evidence_samples=4).evidence
    usual = quadrant_iba(steps=2).explain(images).evidence
    assert few is not None
    assert usual is not None
    assert (few.noise_samples, usual.noise_samples) == (4, 8)
    assert bool((usual.kept_error < 0.08).all())
