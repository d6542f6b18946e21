"""Checks what people hand over to be drawn: photos and maps as arrays of one form."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bitlens.errors import InputError

Floats = NDArray[np.float32]

if TYPE_CHECKING:
    from torch import Tensor

    Array: TypeAlias = Tensor | NDArray[Any]
else:
    Array = Any

# Resampled photos overshoot [0, 1] by rounding; more than this is a photo in other units.
_OVERSHOOT = 1e-3


def as_photo(photo: Array) -> Floats:
    """Check a photo, (3, H, W) or (1, H, W) in [0, 1], and return it as (3, H, W).

    Raises:
        InputError: the shape or the range is another, or it is empty or not finite.
    """
    pixels = as_floats(photo, "photo")
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
    checked = as_floats(values, "map")
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


def as_floats(array: Array, name: str) -> Floats:
    """Return an array or a tensor as float32.

    Raises:
        InputError: it is neither, or holds other than real numbers.
    """
    if not isinstance(array, np.ndarray) and hasattr(array, "detach"):  # a tensor, and its library is there already
        array = array.detach().float().cpu().numpy()
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise InputError(f"{name} is a {type(array).__name__}: expected a tensor or a NumPy array of real numbers")
    return array.astype(np.float32)
