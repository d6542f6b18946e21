"""Pictures as text: what a page carries within itself instead of asking a server for it."""

import base64
import io
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from bitlens.system.files import write_bytes
from bitlens.view.arrays import Array, Floats, as_photo
from bitlens.view.colours import Scale

_QUALITY = 84


def as_data_uri(content: bytes, media_type: str) -> str:
    """Return the content as an address that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def picture_uri(picture: Image.Image | Floats, longest: int = 640) -> str:
    """Return a picture, as such or as (H, W, 3) in [0, 1], as WebP.

    Args:
        picture: the picture.
        longest: it is made smaller if its longer side has more pixels.
    """
    image = picture.copy() if isinstance(picture, Image.Image) else _image(picture)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=_QUALITY, method=1)
    return as_data_uri(stream.getvalue(), "image/webp")


def save_photo(photo: Array, path: str | Path) -> None:
    """Write a photo (3, H, W) or (1, H, W) in [0, 1] as JPEG, colours at full resolution.

    Raises:
        InputError: the shape or the range is another.
        DataError: the file cannot be written.
    """
    stream = io.BytesIO()
    _image(as_photo(photo).transpose(1, 2, 0)).save(stream, "JPEG", quality=92, subsampling=0)
    write_bytes(path, stream.getvalue())


def bar_uri(scale: Scale) -> str:
    """Return the colours of a scale from its lower end (left) to its upper end, one pixel high."""
    return _bar(scale.signed)


@cache
def _bar(signed: bool) -> str:
    colours = Scale("", 1.0, signed).colour_bar()(np.linspace(0, 1, 128))[None, :, :3]
    stream = io.BytesIO()
    _image(colours).save(stream, "PNG", optimize=True)
    return as_data_uri(stream.getvalue(), "image/png")


def _image(picture: Floats) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8))
