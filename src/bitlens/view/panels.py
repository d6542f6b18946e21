"""The parts of which heat map figures are made: checked arrays, picture panels, colour bars."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from bitlens.errors import InputError
from bitlens.view.canvas import FONT, width_of
from bitlens.view.colours import Floats, Scale, dim, overlay

if TYPE_CHECKING:
    from torch import Tensor

    Array: TypeAlias = Tensor | NDArray[Any]
else:
    Array = Any

_FRAME = "#bbbbbb"
_TICK, _PAD = 2.5, 2.0  # points: the length of a tick mark, and from there to its number
_HALO_AND_LINE = (("#000000a0", 2.2), ("#ffffff", 1.1))
# Resampled photos overshoot [0, 1] by rounding; more than this is a photo in other units.
_OVERSHOOT = 1e-3


def as_photo(photo: Array) -> Floats:
    """Check a photo, (3, H, W) or (1, H, W) in [0, 1], and return it as (3, H, W).

    Raises:
        InputError: the shape or the range is another, or it is empty or not finite.
    """
    pixels = _as_floats(photo, "photo")
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or not pixels.size:
        raise InputError(f"photo has shape {pixels.shape}: expected (3, H, W) or (1, H, W), one photo at a time")
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT):
        raise InputError(f"photo holds values from {low:.3g} to {high:.3g}: expected [0, 1], before normalisation")
    return np.broadcast_to(np.clip(pixels, 0, 1), (3, *pixels.shape[1:]))


def as_map(values: Array, size: tuple[int, int] | None = None) -> Floats:
    """Check a map (h, w) and return it, interpolated bilinearly to `size` (H, W) if that is given and another.

    Raises:
        InputError: it is not two-dimensional, empty, not finite, or its aspect is not that of `size`.
    """
    checked = _as_floats(values, "map")
    if checked.ndim != 2 or not checked.size:
        raise InputError(f"map has shape {checked.shape}: expected (H, W), one map at a time")
    if not np.isfinite(checked).all():
        raise InputError(f"map holds {int((~np.isfinite(checked)).sum())} values that are NaN or infinite")
    if size is None or checked.shape == size:
        return checked
    (h, w), (height, width) = checked.shape, size
    if round(h * width / height) != w and round(w * height / width) != h:
        raise InputError(f"map is {h}x{w} and photo {height}x{width}: expected the same aspect; cut them alike")
    import torch

    resized = torch.nn.functional.interpolate(
        torch.from_numpy(checked)[None, None], size=size, mode="bilinear", align_corners=False, antialias=True
    )
    return resized[0, 0].numpy()


def sized(photos: Sequence[Array], maps: Sequence[Sequence[Array]]) -> tuple[list[Floats], list[list[Floats]]]:
    """Check photos and the maps of each, and bring the maps to the sizes of their photos."""
    pixels = [as_photo(photo) for photo in photos]
    pairs = zip(pixels, maps, strict=True)
    return pixels, [[as_map(one, (photo.shape[1], photo.shape[2])) for one in row] for photo, row in pairs]


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
    inside = _as_floats(outline, "outline") != 0
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
    shown, numbers = _ticks(scale, ticks)
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
        bar.set_label(scale.label, fontfamily=FONT, fontsize=size, color="#222222", labelpad=4, parse_math=False)


def bar_text_width(scale: Scale, *, ticks: int, size: float) -> float:
    """Measure how many inches the numbers beside a vertical bar take, with their tick marks."""
    _, numbers = _ticks(scale, ticks)
    return (_TICK + _PAD) / 72 + max((width_of(number, size) for number in numbers), default=0.0)


def _ticks(scale: Scale, most: int) -> tuple[list[float], list[str]]:
    """Say where the numbers at a colour bar stand, at most so many, and how they are written."""
    places = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(scale.bottom, scale.top)
    slack = 1e-6 * scale.top
    shown = [float(place) for place in places if scale.bottom - slack <= place <= scale.top + slack]
    return shown, _numbers(shown)


def _as_floats(array: Array, name: str) -> Floats:
    if not isinstance(array, np.ndarray) and hasattr(array, "detach"):  # a tensor, and its library is there already
        array = array.detach().float().cpu().numpy()
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise InputError(f"{name} is a {type(array).__name__}: expected a tensor or a NumPy array of real numbers")
    return array.astype(np.float32)


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


def _numbers(places: list[float]) -> list[str]:
    """Write the places with the fewest decimals that tell them apart and exactly."""
    largest = max(abs(place) for place in places)
    if 1e-3 <= largest < 1e5:
        decimals = next(n for n in range(6) if n == 5 or all(abs(round(p, n) - p) < 1e-5 * largest for p in places))
        texts = [f"{place:.{decimals}f}" for place in places]
    else:
        texts = [re.sub(r"e([+-])0*", lambda sign: "e-" if sign[1] == "-" else "e", f"{p:.3g}") for p in places]
    return ["0" if abs(p) < 1e-9 * largest else t.replace("-", "−") for p, t in zip(places, texts, strict=True)]
