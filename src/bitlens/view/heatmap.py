"""Draws attribution maps over the photos they explain: one explanation as a figure, many as a contact sheet.

Pure drawing from arrays: a photo is what the network saw, a map is what the attribution says, a text is the caller's.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bitlens.errors import DataError
from bitlens.system.files import write_bytes
from bitlens.view.arrays import Array, as_floats, as_map, as_photo
from bitlens.view.canvas import add_axes, line_height, new_page, save_figure, wrap, write
from bitlens.view.colours import Scale
from bitlens.view.panels import draw_bar, draw_box, draw_map, draw_outline, draw_photo, fit
from bitlens.view.sheet import draw_grid

__all__ = ["draw_explanation", "draw_grid", "save_figure", "save_raw"]

# Inches. A page of 7 inches shown 700 pixels wide has letters of about 12 pixels.
_PAGE, _NARROWEST, _MARGIN, _GAP = 7.0, 4.4, 0.15, 0.12
_BAR, _BAR_TEXT = 0.13, 0.62
# Points.
_TITLE, _BODY = 12.0, 9.0


def draw_explanation(
    photo: Array,
    map: Array,  # noqa: A002
    *,
    unit: str,
    title: str,
    caption: str = "",
    scale: Scale | None = None,
    vmax: float | None = None,
    percentile: float | None = None,
    signed: bool = False,
    boxes: Sequence[tuple[float, float, float, float]] = (),
    outline: Array | None = None,
) -> Figure:
    """Draw the photo, and beside it (below, if it is very wide) the map over the dimmed photo, with a colour bar.

    Args:
        photo: (3, H, W) or (1, H, W) in [0, 1], as the network saw it, before normalisation.
        map: (h, w), finite. Another size than the photo's is interpolated bilinearly if the aspect agrees; the
            values stay what they are.
        unit: what the values count, written at the colour bar: ``"bits/pixel"``, ``"score"``.
        title: what was explained, usually the name of the class; at most two lines of it are shown.
        caption: written below, in as many lines as it takes.
        scale: what the colours mean, in place of what makes one: `vmax`, `percentile` and `signed`.
        vmax: the value where the colours end; the largest by default. The same for several figures makes them
            comparable.
        percentile: let the colours end at this percentile of the magnitudes; the colour bar says so.
        signed: let the colours reach below 0 even if this map does not.
        boxes: x0, y0, x1, y1 in pixels of `photo`, outlined on it.
        outline: (H, W), non-zero inside an object, outlined on the photo.

    Raises:
        InputError: an array has the wrong shape or range or is empty or not finite, or a setting is out of range.
    """
    pixels = as_photo(photo)
    size = (pixels.shape[1], pixels.shape[2])
    values = as_map(map, size)
    scale = scale or Scale.over([values], unit, vmax, percentile, signed=signed)
    places = _side_by_side(size) if size[1] <= 1.9 * size[0] else _one_below_the_other(size)
    text_width = max(places.size[0], _NARROWEST - 2 * _MARGIN)
    heading = wrap(title, text_width, _TITLE, bold=True, max_lines=2)
    legend = wrap(caption, text_width, _BODY)
    top = _MARGIN + (len(heading) * line_height(_TITLE) + 0.06 if heading else 0)
    below = top + places.size[1] + 0.12
    page = new_page(text_width + 2 * _MARGIN, below + (len(legend) * line_height(_BODY) + 0.1 if legend else 0.03))
    write(page, heading, _MARGIN, _MARGIN - 0.02, _TITLE, bold=True)
    write(page, legend, _MARGIN, below, _BODY)
    seen, used, bar = (
        add_axes(page, _MARGIN + left, top + upper, width, height)
        for left, upper, width, height in (places.photo, places.map, places.bar)
    )
    draw_photo(seen, pixels)
    for box in boxes:
        draw_box(seen, box)
    if outline is not None:
        draw_outline(seen, outline, size)
    draw_map(used, pixels, values, scale)
    draw_bar(bar, scale, horizontal=places.bar[2] > places.bar[3])
    return page


def save_raw(map: Array, path: str | Path) -> None:  # noqa: A002
    """Write a map (H, W), (T,), (D, H, W) or (D,) as float32 into a .npy file, values as they are: all of it or no file.

    Raises:
        InputError: the map has another number of axes, is empty or not finite.
        DataError: the name does not end in .npy, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".npy":
        raise DataError(f"cannot save a map as {str(path)!r}: expected a name that ends in .npy")
    buffer = io.BytesIO()
    values = as_floats(map, "map")
    if values.ndim in (1, 3) and values.size and np.isfinite(values).all():
        np.save(buffer, values, allow_pickle=False)
    else:
        np.save(buffer, as_map(map), allow_pickle=False)
    write_bytes(path, buffer.getvalue())


@dataclass(frozen=True)
class _Places:
    """Places of photo, map and colour bar: left, top, width, height in inches from the upper left of them all."""

    photo: tuple[float, float, float, float]
    map: tuple[float, float, float, float]
    bar: tuple[float, float, float, float]
    size: tuple[float, float]


def _side_by_side(size: tuple[int, int]) -> _Places:
    beside = 0.1 + _BAR + _BAR_TEXT
    width, height = fit(size[1] / size[0], (_PAGE - 2 * _MARGIN - _GAP - beside) / 2, 4.0)
    right = width + _GAP
    bar = (right + width + 0.1, 0.0, _BAR, height)
    return _Places((0, 0, width, height), (right, 0, width, height), bar, (right + width + beside, height))


def _one_below_the_other(size: tuple[int, int]) -> _Places:
    width, height = fit(size[1] / size[0], _PAGE - 2 * _MARGIN, 2.4)
    lower = height + _GAP
    bar = (0.0, lower + height + 0.1, width, _BAR)
    return _Places((0, 0, width, height), (0, lower, width, height), bar, (width, bar[1] + _BAR + 0.33))
