"""Signals, volumes and rows as they are drawn: what is used is light, what is not is dark, and units stand beside."""

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from bitlens.core.attribution import Attribution
from bitlens.core.evidence import Spread
from bitlens.core.seen import Seen, seen_of
from bitlens.errors import InputError
from bitlens.view.canvas import png_of
from bitlens.view.colours import Scale
from bitlens.view.comparison import Panel
from bitlens.view.features import MOST, shown_of
from bitlens.view.readings import Reading, draw_readings
from bitlens.view.volumes import centre_of, grey_of, picture_of, slices_of

SIGNAL = Seen(values=torch.sin(torch.arange(400.0) / 9).repeat(3, 1), names=("I", "II", "V1"), rate=100.0)
VOLUME = Seen(values=torch.rand(1, 6, 8, 10, generator=torch.Generator().manual_seed(0)), spacing=(2.0, 1.0, 1.0))
ROW = Seen(values=torch.arange(30.0), names=tuple(f"reading {i}" for i in range(30)))


def hot(seen: Seen, *place: int) -> np.ndarray:
    values = np.zeros(seen.places, np.float32)
    values[place] = 3.0
    return values


def drawn(seen: Seen, values: np.ndarray, unit: str = "bits/sample") -> Figure:
    return draw_readings([Reading(seen, [Panel(values, Scale.over([values], unit), "")], "a title", "a caption")])


def words(figure: Figure) -> str:
    figure.canvas.draw() if figure.canvas else None
    own = [text.get_text() for text in figure.texts]
    beside = [
        label.get_text()
        for axes in figure.axes
        for label in (axes.xaxis.label, axes.yaxis.label, *axes.get_yticklabels(), *axes.get_xticklabels())
    ]
    return "\n".join([*own, *beside])


def test_a_signal_is_light_where_it_is_used_and_says_its_leads_unit_and_seconds() -> None:
    figure = drawn(SIGNAL, hot(SIGNAL, slice(100, 120)))
    told = words(figure)
    assert all(word in told for word in ("I", "II", "V1", "bits/sample", "seconds", "Hz", "a title", "a caption"))
    leads = next(one for one in figure.axes[0].collections if isinstance(one, LineCollection))
    lightness = np.asarray(leads.get_colors())[:, :3].max(1)
    assert lightness[105:115].min() > 0.85
    assert lightness[:90].max() < 0.5
    assert figure.axes[0].get_xlim()[1] == pytest.approx(3.99)


def test_long_signals_keep_their_peaks() -> None:
    values = torch.zeros(1, 50_000)
    values[0, 31_234] = 5.0
    seen = Seen(values=values)
    figure = drawn(seen, hot(seen, 20_001))
    leads = figure.axes[0].collections[0]
    assert isinstance(leads, LineCollection)
    points = np.concatenate(leads.get_segments())
    assert len(points) < 4_000
    assert points[:, 1].max() == pytest.approx(5.0)
    assert np.asarray(leads.get_colors())[:, :3].max() > 0.85
    assert "sample" in words(figure)


def test_a_volume_is_cut_through_its_most_informative_place() -> None:
    values = hot(VOLUME, 4, 2, 7)
    assert centre_of(values) == (4, 2, 7)
    assert slices_of(values, 7) == [4]
    assert slices_of(np.zeros((6, 8, 10), np.float32), 3) == [0, 2, 5]
    told = words(drawn(VOLUME, values, "bits/voxel"))
    assert all(word in told for word in ("D = 4", "H = 2", "W = 7", "bits/voxel"))
    picture = picture_of(grey_of(VOLUME), values, Scale.over([values], "bits/voxel"), 1, 2)
    assert picture.shape == (6, 10, 3)
    bright = np.argwhere(picture.max(2) > 0.8)
    assert bright.tolist() == [[4, 7]]


def test_a_row_names_its_features_the_largest_first_and_tells_of_the_others() -> None:
    values = np.linspace(0, 1, 30).astype(np.float32)
    chosen, rest = shown_of(ROW, values)
    assert chosen == list(range(29, 29 - MOST, -1))
    assert rest == f"10 other features, {values[:10].sum():.2g} together"
    told = words(drawn(ROW, values, "bits/feature"))
    assert "reading 29 = 29" in told
    assert "reading 3 =" not in told
    assert "bits/feature" in told


@pytest.mark.parametrize("seen", [SIGNAL, VOLUME, ROW])
def test_several_maps_each_have_a_name_and_signed_scores_both_signs(seen: Seen) -> None:
    first, second = hot(seen, 3), np.random.default_rng(0).normal(size=seen.places).astype(np.float32)
    panels = [
        Panel(first, Scale.over([first], "bits"), "iba", "layer2"),
        Panel(second, Scale.over([second], "score"), "gradient"),
    ]
    outline = np.zeros(seen.places, bool)
    outline[3] = True
    figure = draw_readings([Reading(seen, panels, "two", "", outline)])
    assert all(word in words(figure) for word in ("iba", "layer2", "gradient", "score"))
    assert png_of(figure) == png_of(draw_readings([Reading(seen, panels, "two", "", outline)]))


def test_maps_of_another_size_or_not_finite_are_refused() -> None:
    for wrong in (np.zeros(7, np.float32), np.full(400, np.nan, np.float32)):
        with pytest.raises(InputError, match="is no map of an input with places"):
            draw_readings([Reading(SIGNAL, [Panel(wrong, Scale("bits", 1.0), "")], "x")])
    with pytest.raises(InputError, match="nothing to draw"):
        draw_readings([])


def test_an_attribution_shows_signals_volumes_and_rows() -> None:
    for values in (torch.rand(2, 3, 300), torch.rand(2, 1, 5, 6, 7), torch.rand(2, 12)):
        places = values.shape[1:] if values.dim() == 2 else values.shape[2:]
        spread = Spread(torch.rand(2, *places), torch.tensor([0.5, 0.5]), 4)
        found = Attribution(
            torch.rand(2, *places), "bits/place", "iba", ("0", "1"), spread=spread, seen=seen_of(values, None, places)
        )
        figure = found.show()
        assert isinstance(figure, Figure)
        assert "class 1" in words(figure)
        assert "standard deviation over 4 seeds" in words(found[0].show(spread=True))
        assert found._repr_html_().startswith("<img alt=")
    timed = seen_of(torch.rand(1, 300, 3), None, (300,))
    assert timed is not None
    assert timed[0].places == (300,)
