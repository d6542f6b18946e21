"""Charts: what is drawn, that nothing is cut off, that it is the same again."""

import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from bitlens.errors import InputError
from bitlens.view.canvas import save_figure
from bitlens.view.charts import Chart, Curve, Dots
from bitlens.view.curves import draw_charts, draw_dots

NAMES = [f"method-{i}" for i in range(18)]
X = np.linspace(0, 1, 20)


def chart(names=NAMES, **settings):
    curves = [Curve(name, X, np.exp(-(i + 1) * X), np.full(20, 0.02)) for i, name in enumerate(names)]
    return Chart("one", curves, "share", "probability", **settings)


def dots(names=NAMES, **settings):
    values = np.linspace(0, 1, len(names))
    return Dots(
        **{"title": "degradation 14x14", "better": "higher", "values": values, "errors": values / 10, **settings}
    )


def border(figure):
    """Whether anything touches the edge of the page."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    edges = (pixels[:6], pixels[-6:], pixels[:, :6], pixels[:, -6:])
    return any((edge != 255).any() for edge in edges)


@pytest.mark.parametrize(
    "figure",
    [
        draw_charts([chart()], title="One", caption="words " * 60),
        draw_charts([chart(), chart()], title="Two " * 30),
        draw_charts([chart(NAMES[:2])], title="Few"),
        draw_charts([Chart("", [Curve("a", np.arange(9.0), np.arange(9.0), np.empty(0))], "layer", "SSIM",
                           x_names=[f"features.{i}.very-long-name" for i in range(9)])], title="Names"),
        draw_charts([Chart("", [Curve("a", 10.0 ** np.arange(1, 5), np.arange(4.0), np.empty(0))], "n", "y",
                           logarithmic=True)], title="Logarithmic"),
        draw_dots([dots()] * 9, NAMES, title="Dots", caption="words " * 60),
        draw_dots([dots(NAMES[:1])], NAMES[:1], title="One"),
    ],
)  # fmt: skip
def test_nothing_is_cut_off(figure):
    assert not border(figure)


def test_one_name_has_one_colour_in_all_charts_and_the_legend():
    figure = draw_charts([chart(NAMES[:3]), chart(NAMES[:0:-1][-2:])], title="x", names=NAMES[:3])
    left, right, legend = figure.axes
    colours = [line.get_color() for line in legend.lines]
    assert len(set(colours)) == 3
    assert {line.get_color() for line in right.lines} == set(colours[1:3])
    assert [line.get_color() for line in left.lines][::-1] == colours


def test_eighteen_lines_can_be_told_apart():
    figure = draw_charts([chart()], title="x")
    styles = {(line.get_color(), str(line.get_linestyle()), line.get_dash_capstyle(), str(line._dash_pattern))
              for line in figure.axes[1].lines}  # fmt: skip
    assert len(styles) == 18


def test_charts_beside_each_other_share_their_y_axis():
    figure = draw_charts([chart(NAMES[:2]), chart(NAMES[:2])], title="x")
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    low, high = figure.axes[0].get_ylim()
    assert low < float(np.exp(-2)) - 0.02
    assert high > 1.02


def test_dots_and_their_errors_are_where_they_belong():
    figure = draw_dots([dots(NAMES[:3], errors=np.array([np.nan, 0.1, 0.2]))], NAMES[:3], title="x")
    (axes,) = figure.axes
    points = axes.containers[0].lines[0]
    np.testing.assert_allclose(points.get_xdata(), [0, 0.5, 1])
    np.testing.assert_allclose(points.get_ydata(), [0.5, 1.5, 2.5])
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    segments = axes.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([segment[:, 0].tolist() for segment in segments], [[0, 0], [0.4, 0.6], [0.8, 1.2]])


def test_titles_say_which_direction_is_better():
    figure = draw_dots([dots(), dots(better="lower")], NAMES, title="x")
    texts = [text.get_text() for text in figure.texts]
    assert any(text.endswith("14x14 ↑") for text in texts)
    assert any(text.endswith("14x14 ↓") for text in texts)


def test_what_was_not_measured_is_left_out():
    figure = draw_dots([dots(NAMES[:2], values=np.array([np.nan, 0.5]))], NAMES[:2], title="x")
    np.testing.assert_allclose(figure.axes[0].containers[0].lines[0].get_xdata(), [0.5])
    nothing = np.full(2, np.nan)
    assert not border(draw_dots([dots(NAMES[:2], values=nothing, errors=nothing)], NAMES[:2], title="x"))


def test_the_same_numbers_give_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png", "a.svg", "b.svg"):
        save_figure(draw_charts([chart()], title="x"), tmp_path / name)
    for suffix in ("png", "svg"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    assert Image.open(io.BytesIO((tmp_path / "a.png").read_bytes())).width == 1400


@pytest.mark.parametrize("charts", [[], [chart()] * 3, [Chart("", [], "x", "y")]])
def test_charts_that_make_no_sense_are_refused(charts):
    with pytest.raises(InputError, match="one or two charts"):
        draw_charts(charts, title="x")


@pytest.mark.parametrize("columns", [[], [dots(NAMES[:2])]])
def test_dots_that_make_no_sense_are_refused(columns):
    with pytest.raises(InputError, match="18 values"):
        draw_dots(columns, NAMES, title="x")
