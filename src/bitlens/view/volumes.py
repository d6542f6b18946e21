"""A volume with what a network uses of it: three slices through the place that it uses most, and a montage."""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from bitlens.core.seen import Seen
from bitlens.view.arrays import Floats
from bitlens.view.colours import Scale, dim, overlay

NAMES = ("D", "H", "W")
"""The axes of a volume."""
_LEAST = 0.05
"""Slices with less of the bits than this share are not worth a place in the montage."""


def grey_of(seen: Seen) -> Floats:
    """Return a volume (D, H, W) in dark grey, the mean of its channels between its 1st and 99.8th percentile."""
    assert seen.values is not None
    volume = seen.values.float().mean(0).numpy()
    low, high = np.percentile(volume, (1, 99.8))
    shown = np.clip((volume - low) / max(float(high - low), 1e-12), 0, 1).astype(np.float32)
    flat = dim(np.broadcast_to(shown.reshape(1, 1, -1), (3, 1, shown.size)))
    return flat.reshape(shown.shape)


def centre_of(values: Floats) -> tuple[int, int, int]:
    """Return the place of a map (D, H, W) that is used most: the middle of the voxels with a half of its maximum or more."""
    magnitude = np.abs(values)
    top = np.unravel_index(int(magnitude.argmax()), values.shape)
    if magnitude.max() == 0:
        return values.shape[0] // 2, values.shape[1] // 2, values.shape[2] // 2
    return int(top[0]), int(top[1]), int(top[2])


def slices_of(values: Floats, most: int) -> list[int]:
    """Return at most so many slices along D, evenly through those that hold the bits; through all for a map of zeros."""
    share = np.abs(values).sum((1, 2))
    held = np.flatnonzero(share >= max(_LEAST * share.max(), 1e-30)) if share.any() else np.arange(len(share))
    chosen = np.unique(np.linspace(held[0], held[-1], most).round().astype(int))
    return [int(number) for number in chosen]


def sides_of(seen: Seen, axis: int) -> tuple[float, float]:
    """Return height and width of a slice across an axis, in millimetres or voxels."""
    assert seen.values is not None
    size = np.array(seen.values.shape[1:]) * np.array(seen.spacing or (1.0, 1.0, 1.0))
    down, across = (size[other] for other in range(3) if other != axis)
    return float(down), float(across)


def draw_slice(
    axes: Axes,
    grey: Floats,
    values: Floats,
    scale: Scale,
    axis: int,
    place: tuple[int, int, int],
    *,
    cross: bool = True,
) -> None:
    """Draw one slice of a map over its volume.

    Args:
        axes: where.
        grey: (D, H, W), from `grey_of`.
        values: (D, H, W) of the map.
        scale: what its colours mean.
        axis: across which axis the slice lies.
        place: which slice, and where the other two cross it.
        cross: whether thin lines show where.
    """
    picture = picture_of(grey, values, scale, axis, place[axis])
    height, width, _ = picture.shape
    axes.imshow(picture, origin="upper", aspect="auto", extent=(0, width, height, 0), interpolation="antialiased")
    axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    if cross:
        down, across = (place[other] + 0.5 for other in range(3) if other != axis)
        axes.axhline(down, color="#ffffff", alpha=0.35, linewidth=0.5)
        axes.axvline(across, color="#ffffff", alpha=0.35, linewidth=0.5)
    for spine in axes.spines.values():
        spine.set(edgecolor="#bbbbbb", linewidth=0.6, visible=True)


def picture_of(grey: Floats, values: Floats, scale: Scale, axis: int, number: int) -> npt.NDArray[np.float32]:
    """Return one slice (h, w, 3) in [0, 1]."""
    return overlay(np.take(grey, number, axis), np.take(values, number, axis), scale)
