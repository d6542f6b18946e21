"""Names of the files that a run writes for each input: after the input's own, no two alike."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bitlens.data.number_files import split_row


def file_stems(photos: Sequence[Path], taken: Mapping[str, Path] | None = None) -> list[str]:
    """Find a name for each photo's files, no two alike.

    Args:
        photos: the photos.
        taken: names that files have already, and of which photo (in full): another gets another name.
    """
    taken = taken or {}
    own = {place: stem for stem, place in taken.items()}
    stems: dict[str, None] = {}  # a set that keeps its order
    for photo in photos:
        place = photo.resolve() if taken else photo
        tried = _numbered(_stem_of(photo))
        known = own.get(place)
        free = (stem for stem in tried if stem not in stems and stem not in taken)
        stems[known if known is not None and known not in stems else next(free)] = None
    return list(stems)


def _stem_of(photo: Path) -> str:
    file, row = split_row(photo)
    stem = file.stem.removesuffix(".nii")
    return stem if row is None else f"{stem}-row-{row}"


def _numbered(stem: str) -> Iterator[str]:
    return (stem if number == 1 else f"{stem}-{number}" for number in itertools.count(1))
