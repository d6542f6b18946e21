"""Arrays in files: with text about them as safetensors, single maps as .npy. Nothing that is read can run code.

What reads arrays of NumPy does not wait for torch.
"""

import hashlib
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bitlens.errors import DataError
from bitlens.system.checks import A, plain
from bitlens.system.files import write_bytes
from bitlens.system.reading import check_archive, whole

if TYPE_CHECKING:
    from torch import Tensor

Required = Callable[[Mapping[str, str]], bool]
_NPY: Any = np.lib.format
_WORDS = {"format", "details", "provenance", "statistics_provenance", "counts", "identity", "method", "plan"}
"""Under which names text stands in the files that bitlens writes. A damaged name must not hide what stands under it."""

_SUM = "sha256"
"""Under this name a file keeps a checksum of all else that it holds: no flipped bit goes unseen. Those of 0.1 have none."""


def write_arrays(path: str | Path, arrays: "Mapping[str, Tensor]", metadata: Mapping[str, str]) -> None:
    """Write tensors and text as safetensors, whole or not at all."""
    from safetensors.torch import save

    held = {name: tensor.contiguous() for name, tensor in arrays.items()}
    # Not save_file: what it writes is readable by its owner alone.
    write_bytes(path, save(held, {**metadata, _SUM: _checksum(held, metadata)}))


def read_arrays(path: str | Path, kind: str, required: Required) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Read what `write_arrays` wrote.

    Args:
        path: the file.
        kind: what the file should hold, for the error.
        required: whether the metadata are those of such a file.

    Raises:
        DataError: if the file is missing, damaged, changed, or holds something else.
    """
    return _read(path, "pt", kind, required)


def read_plain_arrays(
    path: str | Path, kind: str, required: Required
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Read the same as arrays of NumPy; see `read_arrays`."""
    return _read(path, "np", kind, required)


def _read(path: str | Path, framework: str, kind: str, required: Required) -> tuple[dict[str, Any], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise DataError(f"there is no file {path}")
    try:
        with safe_open(path, framework) as file:
            metadata = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise DataError(f"{path} is not a readable safetensors file: {error}") from error
    if not required(metadata):
        raise DataError(f"{path} does not hold {kind} written by bitlens")
    if more := sorted(metadata.keys() - _WORDS - {_SUM}):
        raise DataError(
            f"{path} is damaged, or of a later version of bitlens: it holds {more[0][:60]!r}; make it again"
        )
    kept = metadata.pop(_SUM, None)
    if kept is not None and kept != _checksum(arrays, metadata):
        raise DataError(
            f"{path} is damaged: its checksum is not that of what it holds; make it again, or copy it again"
        )
    return arrays, metadata


def _checksum(arrays: Mapping[str, A], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(metadata.items()):
        digest.update(f"{len(name)} {len(value)} {name}{value}".encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{len(name)} {name} torch.{plain(array.dtype)} {tuple(array.shape)}".encode())
        digest.update(_bytes(array))
    return digest.hexdigest()


def _bytes(array: A) -> memoryview:
    if isinstance(array, np.ndarray):
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    import torch

    return array.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def read_array(path: str | Path, what: str, shape: tuple[int, ...] | None = None) -> npt.NDArray[np.float32]:
    """Read a map (H, W), or of one or three axes, of finite float32 numbers from an .npy file.

    Args:
        path: the file.
        what: it should hold, for the error.
        shape: that the map must have, if it is known.

    Raises:
        DataError: if it is missing, cut, or holds something else.
    """
    with whole(path, what, "remove it, and the command that wrote it makes it again"):
        with Path(path).open("rb") as file:
            kind = _header(file)
            if kind[0] != np.dtype(np.float32) or not 1 <= len(kind[1]) <= 3 or shape not in (None, kind[1]):
                wanted = "a map (H, W)" if shape is None else f"a map {shape}"
                raise ValueError(f"it is {kind[0]} of shape {kind[1]}, expected {wanted} of float32")
            left = Path(path).stat().st_size - file.tell()
            if left != 4 * math.prod(kind[1]):
                raise ValueError("it is cut short, or too long")
            file.seek(0)
            values: npt.NDArray[np.float32] = _NPY.read_array(file, allow_pickle=False)
        if not values.size or not np.isfinite(values).all():
            raise ValueError("it is empty, or holds NaN or infinite values")
    return values


def read_any_array(path: str | Path, most: int) -> npt.NDArray[Any]:
    """Read an .npy file of real numbers, at most so many; its head is checked before anything else of it is read.

    Raises:
        ValueError: if it is cut, holds something else, or more.
        OSError: if it cannot be read.
    """
    with Path(path).open("rb") as file:
        _check_head(file, Path(path).stat().st_size, most)
        file.seek(0)
        values: npt.NDArray[Any] = _NPY.read_array(file, allow_pickle=False)
    return values


def axes_of_array(path: str | Path) -> int:
    """Return how many axes the head of an .npy file promises; DataError where it cannot be read."""
    with whole(path, "an array", "save it anew by numpy.save"), Path(path).open("rb") as file:
        return len(_header(file)[1])


def read_archive_array(path: str | Path, most: int, *beside: str) -> tuple[npt.NDArray[Any] | None, ...]:
    """Read the one array of an .npz file, at most so many numbers, and others by name, None where they are missing.

    Raises:
        ValueError: if it is damaged, or holds several arrays besides.
        OSError: if it cannot be read.
    """
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        sizes = {part.filename.removesuffix(".npy"): part.file_size for part in archive.infolist()}
        main = [name for name in sizes if name not in beside]
        if len(main) != 1:
            raise ValueError(f"it holds {len(main)} arrays ({', '.join(main[:5])}), expected one")
        found: dict[str, npt.NDArray[Any]] = {}
        for name in (main[0], *(other for other in beside if other in sizes)):
            with archive.open(f"{name}.npy") as file:
                _check_head(file, sizes[name], most)
            with archive.open(f"{name}.npy") as file:
                found[name] = _NPY.read_array(file, allow_pickle=False)
    return (found[main[0]], *(found.get(name) for name in beside))


def _check_head(file: Any, size: int, most: int) -> None:
    """Refuse an .npy stream whose head promises anything but real numbers, at most so many, that fill the rest of it."""
    dtype, shape = _header(file)
    count = math.prod(shape)
    if dtype.kind not in "fiub" or dtype.hasobject:
        raise ValueError(f"it holds {dtype}, expected real numbers")
    if not 0 < count <= most:
        raise ValueError(f"it says that its shape is {shape}, expected 1 to {most} numbers")
    if size - file.tell() != count * dtype.itemsize:
        raise ValueError("it is cut short, or too long")


def _header(file: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return the type and the shape that the head of an .npy file tells."""
    version = _NPY.read_magic(file)
    read = {(1, 0): _NPY.read_array_header_1_0, (2, 0): _NPY.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"it has the version {version} of the format, expected (1, 0) or (2, 0)")
    try:
        shape, _, dtype = read(file)
    except Exception as error:  # the head is a literal of Python, and its reader raises whatever Python's own does
        raise ValueError(f"its head cannot be read ({type(error).__name__})") from error
    return dtype, shape


def read_archive(path: str | Path, what: str, remedy: str, names: tuple[str, ...]) -> tuple[npt.NDArray[Any], ...]:
    """Read named arrays from an .npz file; for errors see `whole`."""
    with whole(path, what, remedy):
        check_archive(path)
        try:
            with np.load(path, allow_pickle=False) as held:
                return tuple(held[name] for name in names)
        except KeyError:
            raise
        except Exception as error:  # a damaged archive raises whatever its parts raise
            raise ValueError(f"{type(error).__name__}: {error}") from error
