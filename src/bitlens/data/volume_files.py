"""Volumes from files: .npy or .npz (D, H, W) or (C, D, H, W), and NIfTI by nibabel."""

from pathlib import Path

import numpy as np

from bitlens.data.numbers import MOST, Array, Numbers, as_floats
from bitlens.errors import BitlensError
from bitlens.system.arrays import read_any_array, read_archive_array
from bitlens.system.optional import need


def read_volume(file: Path, suffix: str) -> Numbers:
    """Read a volume.

    Args:
        file: it is there.
        suffix: what its name ends in.

    Raises:
        DependencyError: if its format needs a package that is not installed.
        ValueError: if it is damaged, too large, or holds something else.
    """
    spacing: Array | None = None
    if suffix == ".npy":
        values = read_any_array(file, MOST)
    elif suffix == ".npz":
        held, spacing = read_archive_array(file, MOST, "spacing")
        values = np.asarray(held)
    else:
        values, spacing = _nifti(file)
    values = values[None] if values.ndim == 3 else values
    if values.ndim != 4:
        raise ValueError(f"it has shape {values.shape}, expected (D, H, W) or (C, D, H, W)")
    return Numbers(as_floats(values), "volume", spacing=_spacing(spacing))


def _spacing(given: Array | None) -> tuple[float, float, float] | None:
    if given is None:
        return None
    found = given.astype(np.float64).ravel()
    if found.shape != (3,) or not np.isfinite(found).all() or found.min() <= 0:
        raise ValueError("its spacing is not three lengths above 0, of voxels along D, H and W")
    return float(found[0]), float(found[1]), float(found[2])


def _nifti(file: Path) -> tuple[Array, Array]:
    """Read a NIfTI file as it lies there: its first three axes are D, H and W, a fourth one channels."""
    nibabel = need("nibabel", "volumes")
    try:
        image = nibabel.load(str(file))
        shape = tuple(int(side) for side in image.shape)
        if len(shape) not in (3, 4) or not 0 < np.prod([float(side) for side in shape]) <= MOST:
            raise ValueError(
                f"it says that it has shape {shape}, expected (D, H, W) or (D, H, W, C) with at most {MOST} voxels"
            )
        values = np.asanyarray(image.dataobj, dtype=np.float32)
        spacing = np.asarray(image.header.get_zooms()[:3])
    except BitlensError:
        raise
    except Exception as error:  # a damaged file raises whatever its parts raise
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return (np.moveaxis(values, 3, 0) if values.ndim == 4 else values), spacing
