"""Pages of maps by a setting: one scale, one bar, every caption."""

import numpy as np
import pytest
import torch

from bitlens.errors import InputError
from bitlens.view.sweep import SweepRow, draw_sweep


def pictures(figure):
    return [axes for axes in figure.axes if axes.images]


def bars(figure):
    return [axes for axes in figure.axes if not axes.images]


def words(figure):
    return " ".join(text.get_text() for text in figure.texts).replace("\N{NO-BREAK SPACE}", " ")


def row(photo, title, *levels, details=""):
    maps = [torch.full((4, 4), float(level)) for level in levels]
    return SweepRow(photo, title, details, maps, [f"{level} bits" for level in levels])


def test_a_photo_that_stands_for_several_rows_is_shown_once():
    photo = torch.rand(3, 16, 16)
    rows = [row(photo, "layer1", 1, 2), row(photo, "layer2", 3, 4, details="8 x 8 cells")]
    figure = draw_sweep(rows, ["β = 1", "β = 10"], unit="bits/pixel", title="cat", caption="what it says")
    assert len(pictures(figure)) == 1 + 4
    (bar,) = bars(figure)
    assert bar.get_xlabel() == "bits/pixel"
    assert bar.get_xlim() == (0, 4)
    for text in ("cat", "what it says", "β = 1", "β = 10", "layer1", "layer2", "8 x 8 cells", "4 bits"):
        assert text in words(figure)
    assert (
        len(pictures(draw_sweep([row(photo, "a", 1), row(photo.clone(), "b", 1)], ["x"], unit="score", title=""))) == 4
    )


@pytest.mark.parametrize("square_root", [False, True])
def test_same_value_same_colour_everywhere(square_root):
    photo = torch.full((3, 16, 16), 0.5)
    rows = [row(photo, "a", 1, 4), row(photo.clone(), "b", 4, 16)]
    figure = draw_sweep(rows, ["x", "y"], unit="bits/pixel", title="", square_root=square_root)
    _, one, four, _, again, most = [np.asarray(axes.images[0].get_array())[0, 0] for axes in pictures(figure)]
    np.testing.assert_array_equal(four, again)
    assert one.sum() < four.sum() < most.sum()


def test_bar_of_a_root_scale_has_its_numbers_where_the_colours_are():
    photo = torch.full((3, 16, 16), 0.5)
    figure = draw_sweep([row(photo, "a", 1, 4)], ["x", "y"], unit="bits/pixel", title="", square_root=True)
    (bar,) = bars(figure)
    assert "square root" in bar.get_xlabel()
    numbers = [float(text.get_text()) for text in bar.get_xticklabels()]
    np.testing.assert_allclose(bar.get_xticks(), np.sqrt(numbers))
    assert {0, 0.5, 1, 2} <= set(numbers)
    assert bar.get_xlim() == (0, 2)


def test_a_wide_page_keeps_its_maps_legible():
    photo = torch.rand(3, 20, 20)
    figure = draw_sweep([row(photo, "a", *range(9))], [f"β = {n}" for n in range(9)], unit="bits/pixel", title="t")
    width, _ = figure.get_size_inches()
    widths = [axes.get_position().width * width for axes in pictures(figure)]
    assert min(widths) == pytest.approx(0.95)
    edges = [axes.get_position().x1 for axes in pictures(figure)]
    assert max(edges) < 1


def test_what_does_not_fit_together_is_refused():
    photo = torch.rand(3, 8, 8)
    with pytest.raises(InputError, match="empty"):
        draw_sweep([], ["x"], unit="bits/pixel", title="")
    with pytest.raises(InputError, match=r"rows\[1\] has 1 maps and 1 captions: expected 2"):
        draw_sweep([row(photo, "a", 1, 2), row(photo, "b", 1)], ["x", "y"], unit="bits/pixel", title="")
