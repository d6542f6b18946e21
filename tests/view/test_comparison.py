import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bitlens.errors import InputError
from bitlens.view.colours import Scale
from bitlens.view.comparison import Panel, draw_comparison

RNG = np.random.default_rng(0)
CAPTION = "iba: p = 0.93, and 0.95 ± 0.02 with everything else under noise · 412 bits in total · layer2, β = 10\n" * 2


def panel(height: int, width: int, top: float = 0.3, low: float = 0.0, **settings: str) -> Panel:
    values = RNG.uniform(low, top, (height, width)).astype(np.float32)
    return Panel(values, Scale.over([values], "score", percentile=99.5), **{"title": "grad-cam", **settings})


def comparison(height: int = 40, width: int = 50, count: int = 6, **settings: str) -> Figure:
    tops = (0.3, 2e-9, 0.0025, 123456, 1.0)
    panels = [panel(height, width, tops[k % 5], -tops[k % 5] * (k % 2), title=f"method-{k}") for k in range(count)]
    return draw_comparison(np.ones((3, height, width)), panels, **{"title": "tabby", "caption": CAPTION, **settings})


FIGURES = {
    "one": lambda: comparison(count=1),
    "two": lambda: comparison(count=2, caption=""),
    "six": comparison,
    "many": lambda: comparison(count=21),
    "wide": lambda: comparison(40, 120),
    "very wide": lambda: comparison(20, 500),
    "tall": lambda: comparison(120, 40),
    "very tall": lambda: comparison(500, 20),
    "long texts": lambda: draw_comparison(
        np.ones((3, 9, 9)),
        [panel(9, 9, title="gradient-attention-rollout " * 4, details="samples=100 · blocks.10.mlp.fc1 · " * 4)] * 3,
        title="word " * 80,
        caption="x" * 500,
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_everything_lies_on_the_page_and_nothing_overlaps(name: str) -> None:
    figure = FIGURES[name]()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [axes.get_tightbbox(canvas.get_renderer()) for axes in figure.axes]
    boxes += [text.get_window_extent().shrunk(0.9, 0.9) for text in figure.texts if text.get_text().strip()]
    for number, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0
        assert figure.bbox.y0 <= box.y0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:number]), (name, number)


@pytest.mark.parametrize(("count", "columns"), [(1, 2), (3, 4), (4, 3), (6, 4), (8, 3), (11, 4)])
def test_rows_are_filled_evenly_and_aligned(count: int, columns: int) -> None:
    axes = comparison(count=count).axes
    pictures = [axes[0], *axes[1::2]]
    lefts = {round(one.get_position().x0, 6) for one in pictures}
    assert len(lefts) == columns
    for first in range(0, len(pictures), columns):
        assert len({round(one.get_position().y0, 6) for one in pictures[first : first + columns]}) == 1
    for picture, bar in zip(axes[1::2], axes[2::2], strict=True):
        assert (picture.get_position().y1, picture.get_position().height) == pytest.approx(
            (bar.get_position().y1, bar.get_position().height)
        )


def test_each_bar_has_its_own_scale_and_unit_and_what_is_cut_off_is_said_once() -> None:
    values = np.linspace(0, 2, 64, dtype=np.float32).reshape(8, 8)
    panels = [
        Panel(values, Scale.over([values], "bits/pixel"), "iba", "layer2"),
        Panel(values, Scale.over([values], "score", percentile=50, signed=True), "gradient"),
        Panel(values, Scale.over([values], "score", percentile=50), "rise"),
    ]
    figure = draw_comparison(np.ones((1, 8, 8)), panels, title="cat")
    bars = figure.axes[2::2]
    assert [bar.get_ylabel() for bar in bars] == ["bits/pixel", "score", "score"]
    assert [bar.get_ylim() for bar in bars] == [(0, 2), (-1, 1), (0, 1)]
    written = [text.get_text() for text in figure.texts]
    assert written == [
        "cat",
        "colour scale of gradient, rise: ends at 50th percentile",
        "iba",
        "layer2",
        "gradient",
        "rise",
    ]


def test_no_map_and_another_aspect_are_refused() -> None:
    with pytest.raises(InputError, match="no map"):
        draw_comparison(np.ones((3, 8, 8)), [], title="cat")
    with pytest.raises(InputError, match="same aspect"):
        draw_comparison(np.ones((3, 8, 8)), [panel(8, 16)], title="cat")
