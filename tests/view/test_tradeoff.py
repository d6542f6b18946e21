"""Bits against the share of the decision that is held: read off a curve, drawn, and on a page with a slider."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import small_results
from bitlens.core.evidence import Curve
from bitlens.errors import SettingError
from bitlens.view.tradeoff import bits_ends, bits_ticks, trade_off
from bitlens.view.tradeoff_figure import draw_trade_off
from bitlens.view.tradeoff_page import trade_off_html
from small_results import RISING, with_curve


def test_bits_lie_between_points_by_their_logarithm() -> None:
    curve = Curve(
        torch.tensor([[0.5, 0.9], [0.6, 0.9]]), torch.tensor([[10.0, 1000.0], [50.0, 80.0]]), torch.zeros(2, 2, 1, 1)
    )
    assert curve.bits_at(0.7).tolist() == pytest.approx([100.0, 50 * (80 / 50) ** (1 / 3)])
    assert curve.bits_at(0.9).tolist() == pytest.approx([1000.0, 80.0])
    assert curve.bits_at(0.55).isnan().tolist() == [False, True]
    assert curve.bits_at(0.95).isnan().all()
    flat = Curve(torch.tensor([[0.5, 0.8, 0.8]]), torch.tensor([[1.0, 5.0, 9.0]]), torch.zeros(1, 3, 1, 1))
    assert flat.bits_at(0.8).tolist() == [5.0]  # the fewest that hold so much
    with pytest.raises(SettingError, match="share above 0 and below 1"):
        curve.bits_at(1.0)


def test_each_point_is_told_with_level_bits_and_share() -> None:
    curve = trade_off(with_curve(RISING))
    assert curve is not None
    assert [step.bits for step in curve.steps] == list(RISING)
    assert curve.steps[curve.start].kept == pytest.approx(0.9)
    assert curve.steps[5].said("probability") == "level 0.90: 400 bits hold 0.90 of the decision, p = 0.82"
    assert "From 2,000 bits for 0.99" in curve.sentence
    short = trade_off(with_curve(RISING, (0.5, 0.6, 0.7, 0.8, 0.8, 0.8, 0.8, 0.8)))
    assert short is not None
    assert "level 0.95 (not met)" in short.steps[6].said("probability")


def test_points_that_are_the_same_are_one() -> None:
    curve = trade_off(with_curve((100.0, 100.0, 100.0, 100.0, 100.0, 400.0, 400.0, 400.0)))
    assert curve is not None
    assert [step.bits for step in curve.steps] == [100.0, 400.0]
    many = trade_off(with_curve(tuple(float(i) for i in range(10, 40)), tuple(i / 40 for i in range(10, 40))))
    assert many is not None
    assert len(many.steps) == 8  # as many as a page has room for, with both ends
    assert (many.steps[0].bits, many.steps[-1].bits) == (10, 39)


def test_there_is_no_curve_where_there_is_nothing_to_hold() -> None:
    assert trade_off(small_results.in_bits(0)) is None
    found = with_curve(RISING)
    assert found.evidence is not None
    idle = replace(found, evidence=replace(found.evidence, floor=found.evidence.before))
    assert trade_off(idle) is None


@pytest.mark.parametrize("bits", [RISING, (6094.0, 6285.0, 6484.0, 6693.0, 6801.0, 6912.0, 7026.0, 7118.0)])
def test_the_axis_has_round_numbers(bits: tuple[float, ...]) -> None:
    curve = trade_off(with_curve(bits))
    assert curve is not None
    low, high = bits_ends(curve)
    ticks = bits_ticks(curve)
    assert 2 <= len(ticks) <= 6
    assert all(low <= tick <= high and len(f"{tick:.0f}".rstrip("0")) <= 2 for tick in ticks)


def test_the_page_moves_through_the_stored_maps() -> None:
    curve = trade_off(with_curve(RISING))
    assert curve is not None
    page = trade_off_html(curve, small_results.photo_of(0), "a")
    assert len(set(re.findall(r'<img class="step"[^>]*src="(data:image/webp[^"]+)"', page))) == 8
    assert 'data-at="5"' in page
    assert 'max="7"' in page
    assert "oninput" not in page  # the report's policy runs its own script only
    assert "bits that pass in all" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    alone = trade_off_html(curve, None, "a", alone=True)
    assert "oninput=" in alone
    assert "<style>" in alone


def test_what_a_title_says_stays_text() -> None:
    curve = trade_off(with_curve(RISING), title="<img src=x onerror=alert(1)>")
    assert curve is not None
    assert "<img src=x" not in trade_off_html(curve, None, "a")


def test_the_figure_has_a_map_for_each_point_and_names_its_units() -> None:
    curve = trade_off(with_curve(RISING))
    assert curve is not None
    figure = draw_trade_off(curve, small_results.photo_of(0), title="a cat")
    images = [axes for axes in figure.axes if axes.images]
    assert len(images) == 9  # the photo and eight maps
    (chart,) = [axes for axes in figure.axes if axes.lines]
    assert np.asarray(chart.lines[0].get_xdata()).tolist() == list(RISING)
    assert (chart.get_xlabel(), chart.get_ylabel()) == (
        "bits that pass in all (logarithmic)",
        "share of the decision held",
    )
    assert any("0.90 held · 400 bits" in text.get_text() for text in figure.texts)
