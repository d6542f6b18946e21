"""From files to photos: find the image files that a person means, and read any of them as an upright RGB picture."""

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import glob, has_magic
from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError

from bitlens.data.foreign import advice_on
from bitlens.errors import BitlensWarning, DataError

SUFFIXES = (".bmp", ".gif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# The file's content decides, not its name; EPS is left out because PIL hands it to an external program.
_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_LOOKED_AT = 32
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: str | Path) -> Image.Image:
    """Read an image file as an upright, opaque, 8-bit RGB picture.

    The EXIF orientation is applied; transparent pixels are put on white; 16-bit grey is scaled, not clipped; of an
    animated file the first frame is taken. Colour profiles are not applied.

    Args:
        path: a file in one of the formats BMP, GIF, JPEG, JPEG 2000, PBM/PGM/PPM, PNG, TIFF, WebP.

    Returns:
        A picture of mode "RGB" that no longer depends on the file.

    Raises:
        DataError: the file is missing, empty, no image, corrupt, truncated, too large, or of 32-bit numbers.
    """
    with _opened(Path(path)) as stored:
        stored.load()
        orientation = _orientation(stored, Path(path))  # after load(), which turns TIFF files upright by itself
        picture = _rgb(stored)
    return picture.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else picture


def read_indices(path: str | Path) -> Image.Image:
    """Read a picture whose pixels are numbers, the index of a class for each: of a palette, or grey, as stored.

    Raises:
        DataError: as `read_image`, or if the pixels are colours.
    """
    with _opened(Path(path)) as stored:
        if stored.mode not in ("1", "L", "P") and not stored.mode.startswith("I;16"):
            raise DataError(
                f"its pixels are colours ({stored.mode}), not indices of classes: save it with a palette, or grey"
            )
        stored.load()
        return stored.copy()


def read_layout(path: str | Path) -> tuple[tuple[int, int], int]:
    """Read only the header: (width, height) of the stored pixels, and the EXIF orientation (1 = upright).

    Raises:
        DataError: as `read_image`, as far as the header shows it.
    """
    with _opened(Path(path)) as stored:
        return stored.size, _orientation(stored, Path(path))


def find_images(sources: Sequence[str | Path]) -> list[Path]:
    """List the image files that files, folders and glob patterns mean.

    A file is taken whatever its name; a folder is searched with its subfolders (links to folders are not followed)
    for the suffixes in `SUFFIXES`; so is what a pattern matches, and `**` in it means any depth. Hidden files and
    folders are skipped. Sources keep their order, and what one source holds is in natural order (2 before 10).

    Returns:
        Paths without duplicates, at least one.

    Raises:
        DataError: a source does not exist, or holds no image.
    """
    if isinstance(sources, (str, Path)):
        sources = [sources]
    found: dict[Path, Path] = {}
    for source in sources:
        for path in _images_of(source):
            found.setdefault(path.resolve(), path)
    if not found:
        raise DataError("no image was given: name files, folders or patterns such as 'photos/**/*.jpg'")
    return list(found.values())


def natural_key(path: Path) -> list[list[tuple[str, int]]]:
    """Sort key that compares runs of digits as numbers, folder by folder, and letters regardless of case."""
    return [
        [(text, int(digits or -1)) for text, digits in re.findall(r"([^0-9]*)([0-9]*)", part.casefold())]
        for part in path.parts
    ]


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a file, and say in one sentence why it cannot be read."""
    try:
        if path.stat().st_size == 0:
            raise DataError("the file is empty")
        with Image.open(path, formats=_FORMATS) as stored:
            if Image.MAX_IMAGE_PIXELS is not None and stored.width * stored.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError  # where Pillow only warns, a small file already takes half a gigabyte
            yield stored
    except Exception as error:  # a damaged file can raise anything at all inside a decoder
        raise _data_error(path, error) from error


def _orientation(stored: Image.Image, path: Path) -> int:
    try:
        return int(stored.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception as error:  # damaged metadata raises anything, and the pixels are still good
        warnings.warn(
            f"the EXIF data of {path} cannot be read ({error}): shown as stored", BitlensWarning, stacklevel=3
        )
        return 1


def _rgb(stored: Image.Image) -> Image.Image:
    if stored.mode.startswith("I;16") or (stored.mode == "I" and stored.format in ("PNG", "PPM")):
        import numpy as np

        levels = np.rint(np.asarray(stored, np.float32) / 257).clip(0, 255)
        return Image.fromarray(levels.astype(np.uint8)).convert("RGB")
    if stored.mode in ("I", "F"):
        raise DataError("its 32-bit numbers have no known range; save it with 8 or 16 bits per channel")
    if stored.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in stored.info:
        opaque = Image.new("RGBA", stored.size, "white")
        return Image.alpha_composite(opaque, stored.convert("RGBA")).convert("RGB")
    return stored.convert("RGB")


def _data_error(path: Path, error: Exception) -> DataError:
    match error:
        case FileNotFoundError():
            reason = "there is no such file"
        case IsADirectoryError():
            reason = "it is a folder"
        case PermissionError():
            reason = "permission denied"
        case UnidentifiedImageError():
            reason = advice_on(path) or f"its content is none of the supported formats ({', '.join(_FORMATS)})"
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():
            reason = "it has more pixels than PIL.Image.MAX_IMAGE_PIXELS allows; make it smaller first"
        case DataError():
            reason = str(error)
        case _:
            reason = f"it is corrupt or cut short ({type(error).__name__}: {' '.join(str(error).split())})"
    return DataError(f"cannot read the image {path}: {reason}")


def _images_of(source: str | Path) -> list[Path]:
    path = Path(source).expanduser()
    if path.is_dir():
        found = list(_walk(path))
    elif path.exists():
        return [path]
    elif has_magic(str(path)):
        matches = map(Path, glob(str(path), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        found = [match for match in matches if _is_image(match)]
    else:
        raise DataError(f"{source} does not exist: expected an image file, a folder or a pattern")
    if not found:
        raise DataError(f"{source} holds no image: {_in_place_of_images(path)}")
    return sorted(found, key=lambda match: (natural_key(match), match))


def _in_place_of_images(folder: Path) -> str:
    """Say what lies in a folder in place of images: what its first file is that tells, or what was looked for."""
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    told = ((path.name, advice_on(path)) for path in files[:_LOOKED_AT])
    return next(
        (f"of {name}, {text}" for name, text in told if text), f"looked for files ending in {', '.join(SUFFIXES)}"
    )


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _walk(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise DataError(f"cannot look into the folder {error.filename}: {error.strerror}") from error

    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (path for name in files if _is_image(path := Path(parent, name)))
