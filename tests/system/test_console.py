"""Tables of results: what a terminal of eighty columns makes of them."""

import io
from typing import Any

import pytest
from rich.console import Console

from bitlens.system import console


def row(photo: str, method: str, **more: Any) -> dict[str, Any]:
    return {
        "photo": photo,
        "name": "tench, Tinca tinca",
        "method": method,
        "probability_before": 0.984,
        "probability_under_noise": 0.945,
        "probability_under_noise_std": 0.031,
        "kept": 0.95,
        "total_bits": 13087.0,
        "total_against": 1894.0,
        **more,
    }


@pytest.mark.parametrize("width", [80, 120])
def test_numbers_and_their_titles_are_broken_between_words_alone(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row("ILSVRC2012_val_00000293.jpg", method) for method in ("readout", "iba", "iba[keep=0.5]")]
    out = io.StringIO()
    monkeypatch.setattr(console, "answers", Console(file=out, width=width))
    console.answers.print(console.results_table(rows))
    words = out.getvalue().split()
    for whole in ("before", "against", "13,087", "1,894", "0.984", "iba[keep=0.5]", "readout"):
        assert whole in words
    assert "0.945 ± 0.031" in out.getvalue()
    assert ("bits against" in out.getvalue()) == (width > 80), "no title is broken where there is room"
    assert max(map(len, out.getvalue().splitlines())) <= width


@pytest.mark.parametrize("width", [30, 44, 60])
def test_on_a_narrow_terminal_values_stand_below_each_other(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row("ILSVRC2012_val_00000293.jpg", method) for method in ("iba", "iba[keep=0.5]")]
    out = io.StringIO()
    monkeypatch.setattr(console, "answers", Console(file=out, width=width))
    console.answers.print(console.results_table(rows))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert "method         iba[keep=0.5]" in lines
    assert "p under noise  0.945 ± 0.031" in lines
    assert sum(line.startswith("photo") for line in lines) == 1, "a photo is named once"
    assert max(map(len, lines)) <= width
