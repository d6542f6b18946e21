"""Plots on a page: every number lies where its axis says, whatever the page looks like."""

import re

import numpy as np
import pytest

from bitlens.view.charts import Chart, Curve, Dots, Plot
from bitlens.view.plot_page import plot_html

NAMES = ["iba", "grad-cam", "a method with a name that is far too long for its place"]


def axis(page):
    """Where numbers stand along x: (number, place), and y likewise."""
    across = re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="middle">([−\d.,]+)</text>', page)
    down = re.findall(r'<text x="[\d.]+" y="([\d.]+)" text-anchor="end">([−\d.,]+)</text>', page)
    number = [(float(text.replace("−", "-").replace(",", "")), float(place)) for place, text in across]
    return number, [(float(text.replace("−", "-")), float(place) - 4) for place, text in down]


def placed(known, value):
    """The place of a value by two known ones of a linear axis."""
    (a, x), *_, (b, y) = known
    return x + (value - a) / (b - a) * (y - x)


def test_dots_and_their_errors_lie_at_their_values():
    values, errors = np.array([0.8, -0.1, np.nan]), np.array([0.05, 0.2, np.nan])
    page = str(plot_html(Plot("scores", "Scores", "caption", NAMES, [Dots("bbox", "lower", values, errors)])))
    across, _ = axis(page)
    dots = [float(place) for place in re.findall(r'<circle cx="([\d.]+)"', page)]
    np.testing.assert_allclose(dots, [placed(across, 0.8), placed(across, -0.1)], atol=0.1)
    ends = [tuple(map(float, pair)) for pair in re.findall(r'class="error" d="M([\d.]+) [\d.]+ H([\d.]+)"', page)]
    np.testing.assert_allclose(ends[1], [placed(across, -0.3), placed(across, 0.1)], atol=0.1)
    zero = float(re.search(r'class="zero" d="M([\d.]+)', page)[1])
    assert zero == pytest.approx(placed(across, 0), abs=0.1)
    assert "bbox ↓" in page
    assert f"{NAMES[2]}: not measured" in page  # in full, though its row is shortened
    assert "iba: 0.800 ± 0.050" in page


def test_curves_lie_at_their_values_and_break_where_points_are_missing():
    x = np.linspace(0, 1, 6)
    y = np.array([1.0, 0.8, np.nan, 0.4, 0.2, 0.0])
    chart = Chart("", [Curve("iba", x, y, np.full(6, 0.1)), Curve("grad-cam", x, 1 - x, np.empty(0))], "share", "p")
    page = str(plot_html(Plot("curves", "Curves", "caption", NAMES[:2], [chart])))
    across, down = axis(page)
    lines = re.findall(r'<polyline class="line c(\d)"[^>]* points="([^"]*)"', page)
    assert [colour for colour, _ in lines] == ["1", "0", "0"]  # the first one on top, in two pieces
    points = np.array([[float(n) for n in pair.split(",")] for _, line in lines[1:] for pair in line.split()])
    known = np.isfinite(y)
    np.testing.assert_allclose(points[:, 0], [placed(across, one) for one in x[known]], atol=0.1)
    np.testing.assert_allclose(points[:, 1], [placed(down, one) for one in y[known]], atol=0.15)
    assert page.count('class="band c0"') == 2
    assert "band c1" not in page


def test_a_logarithmic_axis_and_names_along_x():
    x = 10.0 ** np.arange(4)
    chart = Chart("", [Curve("iba", x, np.arange(4.0), np.empty(0))], "n", "p", logarithmic=True)
    across, _ = axis(str(plot_html(Plot("curves", "Curves", "", ["iba"], [chart]))))
    assert [number for number, _ in across] == [1, 10, 100, 1000]
    steps = np.diff([place for _, place in across])
    np.testing.assert_allclose(steps, steps[0], atol=0.2)
    named = Chart(
        "", [Curve("iba", np.arange(3.0), np.arange(3.0), np.empty(0))], "layer", "p", x_names=["a", "b<", "c"]
    )
    page = str(plot_html(Plot("curves", "Curves", "", ["iba"], [named])))
    assert page.count("rotate(-50)") == 3
    assert ">b&lt;</text>" in page


def test_colours_repeat_with_other_dashes():
    names = [f"m{i}" for i in range(20)]
    chart = Chart("", [Curve(name, np.arange(3.0), np.arange(3.0), np.empty(0)) for name in names], "x", "y")
    page = str(plot_html(Plot("curves", "Curves", "", names, [chart])))
    legend = page.partition('class="legend"')[2]
    styles = re.findall(r'class="(line c\d"(?: stroke-dasharray="[^"]*")?)', legend)
    assert len(styles) == len(set(styles)) == 20
