"""Inputs of every form from files: which a person means, and how one is read."""

from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from bitlens.data.images import find_images, natural_key, read_image
from bitlens.data.kinds import Form
from bitlens.data.number_files import SUFFIXES, is_numbers, read_numbers, split_row, suffix_of
from bitlens.data.numbers import Numbers
from bitlens.errors import DataError
from bitlens.system.arrays import axes_of_array

Content: TypeAlias = Image.Image | Numbers | Path
"""What a preprocessing is given: a photo, a signal, a volume or a row; or the file itself, where it reads that."""


def find_inputs(sources: Sequence[str]) -> list[Path]:
    """List the files that a person means: photos as `find_images` does, or signals, volumes and tables by name or pattern.

    Raises:
        DataError: if one is missing, a pattern matches nothing, or photos are among others.
    """
    numbers = [source for source in sources if is_numbers(Path(source)) or _means_numbers(source)]
    if not numbers:
        return find_images(sources)
    if len(numbers) < len(sources):
        raise DataError(f"{numbers[0]} is no photo, and others given with it are: explain them apart")
    found: dict[Path, None] = {}
    for source in numbers:
        files = sorted((match for match in _matches(source) if split_row(match)[0].is_file()), key=natural_key)
        if not files:
            raise DataError(f"{source} does not exist: expected files that end in {', '.join(SUFFIXES)}")
        found |= dict.fromkeys(files)
    return list(found)


def _matches(source: str) -> list[Path]:
    """Return the files that a pattern matches, or the one that is named."""
    path = Path(source).expanduser()
    several = has_magic(str(path)) and not path.exists()
    return [Path(one) for one in glob(str(path), recursive=True)] if several else [path]  # noqa: PTH207 - absolute patterns


def _means_numbers(source: str) -> bool:
    """Say whether a pattern of files with any ending, `ecg.*`, matches such files and no others."""
    found = _matches(source) if has_magic(source) else []
    return bool(found) and all(is_numbers(one) for one in found)


def form_of(path: Path) -> Form:
    """Return what a file holds by its ending and, of .npy, by how many axes it has; a table of numbers is a signal.

    Raises:
        DataError: if it cannot be read.
    """
    if suffix_of(path) != ".npy":
        return SUFFIXES.get(suffix_of(path), ("photo",))[0]
    return "signal" if axes_of_array(path) < 3 else "volume"


def read_input(
    path: Path, form: Form | None = None, *, rate: float | None = None, names: Sequence[str] = ()
) -> Content:
    """Read one input.

    Args:
        path: the file; of a table `FILE#3`.
        form: what it should hold; by default what `form_of` says.
        rate: see `read_numbers`.
        names: see `read_numbers`.

    Raises:
        DataError: if it is missing or damaged, or holds something else.
    """
    form = form or form_of(path)
    if form == "file":
        return path
    return read_image(path) if form == "photo" else read_numbers(path, form, rate=rate, names=names)
