"""What a notebook shows of an attribution."""

import re
from dataclasses import replace

import pytest
import torch

import small_results
from bitlens.core.attribution import Attribution
from bitlens.core.told import BYPASSED
from bitlens.errors import NotFiniteError


def test_maps_on_one_scale_with_unit_totals_and_evidence():
    both = Attribution.join([small_results.in_bits(0), small_results.in_bits(1)])
    shown = both._repr_html_()
    assert len(re.findall(r'<img src="data:image/webp;base64,', shown)) == 2
    assert "2 maps in bits/pixel" in shown
    assert f"{float(both.total_bits[1]):,.0f} bits · probability 0.90, under noise 0.80 ± 0.05" in shown
    assert "<span>2</span>" in shown  # where the strongest of both maps ends
    assert not re.search(r'(src|href)="(?!data:)', shown)
    assert "<script" not in shown


def test_it_says_that_a_bypass_was_allowed():
    both = Attribution.join([small_results.in_bits(0), small_results.in_bits(1)])
    assert BYPASSED not in both._repr_html_()
    allowed = replace(both, evidence=replace(both.evidence, bypass_allowed=True))
    assert allowed._repr_html_().count(BYPASSED) == 1


def test_scores_show_both_ends_and_no_evidence():
    shown = small_results.in_scores(0)._repr_html_()
    top = float(small_results.in_scores(0).map.abs().max())
    assert f"<span>-{top:.2g}</span>" in shown
    assert "under noise" not in shown


@pytest.mark.parametrize(("values", "unit"), [(torch.rand(3, 7), "bits/token"), (torch.rand(3, 5), "bits/feature")])
def test_tokens_and_features_lie_in_a_row(values, unit):
    shown = Attribution(values, unit, "token-iba", ("1", "2", "3"))._repr_html_()
    assert shown.count('height="24"') == 3
    assert f"3 maps in {unit}" in shown


def test_many_maps_stay_small():
    many = Attribution.join([small_results.in_bits(0, 224, 224)] * 50)
    shown = many._repr_html_()
    assert shown.count("<figure") == 8
    assert "and 42 more" in shown
    assert len(shown) < 150_000
    assert "0 maps" in many[:0]._repr_html_()


def test_names_stay_text_and_broken_maps_are_named():
    hostile = Attribution(torch.rand(1, 4, 4), "score", "<b>x</b>", ("<img src=x onerror=alert(1)>",))
    assert "<b>x</b>" not in hostile._repr_html_()
    assert "<img src=x" not in hostile._repr_html_()
    with pytest.raises(NotFiniteError, match="NaN or infinite values in the map of x, sample 1"):
        Attribution(torch.tensor([0.0, float("nan")])[:, None, None].expand(2, 4, 4), "score", "x", ("1", "2"))
