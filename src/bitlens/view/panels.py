"""The parts of which heat map figures are made: picture panels and colour bars."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from bitlens.errors import InputError
from bitlens.view.arrays import Array, Floats, as_floats
from bitlens.view.canvas import FONT, width_of
from bitlens.view.colours import Scale, dim, overlay
from bitlens.view.numbers import ticks as numbers_at

_FRAME = "#bbbbbb"
_TICK, _PAD = 2.5, 2.0  # points: the length of a tick mark, and from there to its number
_HALO_AND_LINE = (("#000000a0", 2.2), ("#ffffff", 1.1))


def fit(aspect: float, width: float, height: float) -> tuple[float, float]:
    """Return the largest (width, height) with width / height = `aspect` inside a box."""
    return (width, width / aspect) if width / aspect <= height else (height * aspect, height)


def draw_photo(axes: Axes, photo: Floats) -> None:
    """Show a photo (3, H, W)."""
    _show(axes, photo.transpose(1, 2, 0))


def draw_map(axes: Axes, photo: Floats, values: Floats, scale: Scale) -> None:
    """Show a map (H, W) over its dimmed photo (3, H, W)."""
    _show(axes, overlay(dim(photo), values, scale))


def draw_box(axes: Axes, box: tuple[float, float, float, float]) -> None:
    """Outline x0, y0, x1, y1 (pixels of the photo) so that it is seen on any photo.

    Raises:
        InputError: it is not four numbers in this order.
    """
    if len(box) != 4 or not (box[0] < box[2] and box[1] < box[3]):
        raise InputError(f"box is {tuple(box)}: expected x0, y0, x1, y1 in pixels of the photo, x0 < x1 and y0 < y1")
    x0, y0, x1, y1 = box
    for colour, width in _HALO_AND_LINE:
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=width))


def draw_outline(axes: Axes, outline: Array, size: tuple[int, int]) -> None:
    """Outline the non-zero part of `outline` (H, W) so that it is seen on any photo of that `size`.

    Raises:
        InputError: the size is another, or nothing is inside.
    """
    inside = as_floats(outline, "outline") != 0
    if inside.shape != size or not inside.any():
        raise InputError(f"outline has shape {inside.shape}: expected {size}, the photo's, with something inside it")
    # A border of zeros closes the line around an object that reaches the edge.
    y, x = (np.arange(-0.5, side + 1) for side in size)
    for colour, width in _HALO_AND_LINE:
        axes.contour(x, y, np.pad(inside, 1).astype(float), levels=[0.5], colors=[colour], linewidths=[width])
    axes.set(xlim=(0, size[1]), ylim=(size[0], 0))


def draw_bar(
    axes: Axes, scale: Scale, *, label: bool = True, horizontal: bool = False, ticks: int = 6, size: float = 8.0
) -> None:
    """Fill axes with the colours of a scale, with at most `ticks` numbers of `size` points and its label beside it."""
    mappable = ScalarMappable(Normalize(scale.bottom, scale.top), scale.colour_bar())
    bar = Colorbar(
        axes, mappable, orientation="horizontal" if horizontal else "vertical", extend=scale.extend, extendfrac=0.04
    )
    shown, numbers = numbers_at(scale.bottom, scale.top, ticks)
    axis = axes.xaxis if horizontal else axes.yaxis
    axis.set_major_locator(FixedLocator(shown))
    axis.set_major_formatter(FixedFormatter(numbers))
    axis.set_minor_locator(NullLocator())
    if horizontal:  # numbers at the ends stay within the bar, and so within the page
        for place, text in zip(shown, axis.get_majorticklabels(), strict=True):
            away = (place - scale.bottom) / (scale.top - scale.bottom)
            text.set_horizontalalignment("left" if away < 0.02 else "right" if away > 0.98 else "center")
    axes.tick_params(labelsize=size, labelfontfamily=FONT, labelcolor="#222222", pad=_PAD)
    axes.tick_params(color=_FRAME, length=_TICK, width=0.6, direction="out", left=False, top=False)
    axes.grid(False)
    axes.set_axisbelow("line")
    bar.outline.set(edgecolor=_FRAME, linewidth=0.6)  # type: ignore[operator]
    if label:
        whole = axes.get_window_extent().transformed(axes.figure.dpi_scale_trans.inverted())  # in inches
        room = whole.width if horizontal else whole.height
        letters = size * min(1.0, room / width_of(scale.label, size))  # a label is no longer than its bar
        bar.set_label(scale.label, fontfamily=FONT, fontsize=letters, color="#222222", labelpad=4, parse_math=False)


def bar_text_width(scale: Scale, *, ticks: int, size: float) -> float:
    """Measure how many inches the numbers beside a vertical bar take, with their tick marks."""
    _, numbers = numbers_at(scale.bottom, scale.top, ticks)
    return (_TICK + _PAD) / 72 + max((width_of(number, size) for number in numbers), default=0.0)


def _show(axes: Axes, picture: Floats) -> None:
    height, width, _ = picture.shape
    axes.imshow(
        picture, origin="upper", aspect="auto", extent=(0, width, height, 0), interpolation="antialiased", resample=True
    )
    axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    for spine in axes.spines.values():
        spine.set(edgecolor=_FRAME, linewidth=0.6, visible=True)
    axes.grid(False)
    axes.set_axisbelow("line")
