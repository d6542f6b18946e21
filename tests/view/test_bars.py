"""Colour bars: what stands beside them."""

import pytest
from matplotlib.figure import Figure

from bitlens.view.colours import Scale
from bitlens.view.panels import draw_bar


@pytest.mark.parametrize("horizontal", [False, True])
def test_a_label_is_no_longer_than_its_bar_and_no_smaller_than_it_must_be(horizontal: bool) -> None:
    figure = Figure(figsize=(4, 4))
    for unit in ("bits", "bits gained/pixel of a place with a long name"):
        axes = figure.add_axes((0.2, 0.2, 0.5, 0.03) if horizontal else (0.2, 0.2, 0.03, 0.5))
        draw_bar(axes, Scale(unit, 1.0, True), horizontal=horizontal)
        label = (axes.xaxis if horizontal else axes.yaxis).label
        box = label.get_window_extent()
        length = (box.width if horizontal else box.height) / figure.dpi
        assert length <= 2.05
        assert label.get_fontsize() == pytest.approx(8) if unit == "bits" else label.get_fontsize() < 8
        axes.remove()
