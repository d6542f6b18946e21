"""Boxes around objects: read them, turn them with the photo, and draw them as a mask at the network's input.

A box is (x0, y0, x1, y1) in pixels from the upper left corner of the photo, x1 and y1 exclusive. The mask takes the
same way as the photo: drawn white on black at the photo's size, put through the network's own preprocessing, and
de-normalised. So crop, scale and interpolation agree with what the network sees, whatever the preprocessing is.
"""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import DataError, InputError

Box: TypeAlias = tuple[float, float, float, float]


def parse_boxes(text: str) -> tuple[Box, ...]:
    """Read `x0 y0 x1 y1;x0 y0 x1 y1;…`; an empty text means no box.

    Raises:
        DataError: a box is not four finite numbers, or has no area.
    """
    return tuple(_parse(box) for box in text.split(";") if box.strip())


def check_box(box: Sequence[float]) -> Box:
    """Give back the four numbers, or raise DataError where they are no box."""
    if len(box) != 4 or not all(math.isfinite(value) for value in box):
        raise DataError(f"bad box {list(box)}: expected four numbers x0 y0 x1 y1")
    x0, y0, x1, y1 = (float(value) for value in box)
    if x0 >= x1 or y0 >= y1:
        raise DataError(f"bad box {list(box)}: expected x0 < x1 and y0 < y1")
    return x0, y0, x1, y1


def upright_boxes(boxes: Sequence[Box], size: tuple[int, int], orientation: int) -> tuple[Box, ...]:
    """Turn boxes given in stored pixels as the photo's EXIF orientation turns the photo.

    Args:
        boxes: in pixels of the stored file.
        size: (width, height) of the stored pixels.
        orientation: EXIF orientation, 1 to 8; any other value counts as 1.

    Returns:
        The boxes in pixels of the upright photo.
    """
    return tuple(_turned(box, size, orientation) for box in boxes)


def box_mask(boxes: Sequence[Box], image_size: tuple[int, int], preprocess: Preprocessing) -> Tensor:
    """Return union of the boxes as the network's input would show it.

    Args:
        boxes: in pixels of the upright photo, at least one; parts outside the photo are ignored.
        image_size: (width, height) of the upright photo, PIL's `image.size`.
        preprocess: the network's preprocessing, the same as for the photo.

    Returns:
        (H, W) float32 in [0, 1]: 1 inside, 0 outside, between on edges that were interpolated.

    Raises:
        DataError: there is no box, or one lies wholly outside the photo.
        InputError: as `object_mask`.
    """
    if not boxes:
        raise DataError("no box was given: a mask needs at least one")
    drawn = np.zeros((image_size[1], image_size[0]), bool)
    for box in boxes:
        drawn[_pixels(box, image_size)] = True
    return object_mask(drawn, preprocess)


def object_mask(pixels: npt.NDArray[np.bool_], preprocess: Preprocessing) -> Tensor:
    """Show the exact pixels of objects as the network's input would show them.

    Args:
        pixels: (height, width) of the upright photo, true on the objects.
        preprocess: the network's preprocessing, the same as for the photo.

    Returns:
        (H, W) float32 in [0, 1]: 1 inside, 0 outside, between on edges that were interpolated.

    Raises:
        InputError: the preprocessing is no affine map of colours (each picture normalised by itself, for example).
    """
    drawn = np.repeat(pixels[..., None].astype(np.uint8) * 255, 3, axis=2)
    prepared = preprocess(Image.fromarray(drawn))
    colours = preprocess.colours(prepared.shape[1], prepared.shape[2])
    if colours is None:
        raise InputError("boxes cannot follow this preprocessing: it is no affine map of the colour of each pixel")
    return colours.undo(prepared).mean(0)


def _parse(text: str) -> Box:
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError as error:
        raise DataError(f"bad box {text.strip()!r}: expected four numbers x0 y0 x1 y1") from error
    return check_box(numbers)


def _pixels(box: Box, image_size: tuple[int, int]) -> tuple[slice, slice]:
    """Return rows and columns of the pixels whose centre lies in the box, at least one of each."""
    spans = []
    for start, end, length in ((box[1], box[3], image_size[1]), (box[0], box[2], image_size[0])):
        if start >= length or end <= 0:
            raise DataError(f"the box {list(box)} lies outside a photo of {image_size[0]} x {image_size[1]} pixels")
        first = min(max(math.ceil(start - 0.5), 0), length - 1)
        spans.append(slice(first, max(math.ceil(end - 0.5), first + 1)))
    return spans[0], spans[1]


def _turned(box: Box, size: tuple[int, int], orientation: int) -> Box:
    (x0, y0, x1, y1), (width, height) = box, size
    if orientation in (2, 3, 7, 8):
        x0, x1 = width - x1, width - x0
    if orientation in (3, 4, 6, 7):
        y0, y1 = height - y1, height - y0
    return (y0, x0, y1, x1) if orientation in (5, 6, 7, 8) else (x0, y0, x1, y1)
