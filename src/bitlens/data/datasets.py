"""Data sets of photos by name, `folder:DIR`, `csv:FILE`, `imagenet:DIR`, `builtin:scenes`, and of signals, volumes and rows.

Each is a sequence of samples, built when asked for; pixels are read when a sample's image is asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from bitlens.data.boxes import Box, parse_boxes, upright_boxes
from bitlens.data.imagenet import ImageNet
from bitlens.data.images import find_images, read_image, read_indices, read_layout
from bitlens.data.inputs import Content, form_of, read_input
from bitlens.data.labels import Labels
from bitlens.data.named import FORMS, unknown_data
from bitlens.data.number_files import read_rows
from bitlens.data.numbers import Numbers
from bitlens.data.planted import Draw, PlantedSet
from bitlens.data.planted_signals import planted_signal
from bitlens.data.planted_table import planted_row
from bitlens.data.planted_volumes import planted_volume
from bitlens.data.scenes import Scenes, Split
from bitlens.data.tables import column, rows_of_csv, split_columns
from bitlens.errors import DataError
from bitlens.system.reading import read_text, readable, reason_of

_COLUMNS = {
    "file": ("file", "filename", "image", "photo"),
    "label": ("label", "labels", "class", "target"),
    "boxes": ("boxes",),
    "mask": ("mask",),
}
"""What columns of tables are called, the first that is there."""
_ON_A_SIDE = range(5, 9)  # EXIF orientations whose stored rows are columns of the upright photo
_PLANTED: dict[str, tuple[str, Draw]] = {
    "signals": ("signal", planted_signal),
    "volumes": ("volume", planted_volume),
    "table": ("row", planted_row),
}
"""Generated data sets of other forms: what one of their samples is called, and how it is drawn."""
Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Sample:
    """One input, a photo above all, and what is known about it.

    Attributes:
        name: unique within its data set.
        read: gives the photo, RGB and upright, or a signal, a volume or a row of a table.
        label: index of its class, None where unknown.
        boxes: around the objects of that class, (x0, y0, x1, y1) in pixels of the upright photo.
        mask: bool, the exact pixels (height, width) or other places of those objects, None where unknown.
        path: of its file, None for generated inputs.
    """

    name: str
    read: Callable[[], Content] = field(repr=False)
    label: int | None = None
    boxes: tuple[Box, ...] = ()
    mask: npt.NDArray[np.bool_] | None = field(default=None, repr=False)
    path: Path | None = field(default=None, repr=False)

    @property
    def fingerprint(self) -> str:
        """Tell the photo's file from one that replaced it or was written again."""
        if self.path is None:
            return self.name
        known = self.path.stat()
        return f"{readable(str(self.path.resolve()))} {known.st_size} {known.st_mtime_ns}"

    @property
    def image(self) -> Image.Image:
        """Read the photo anew.

        Raises:
            DataError: if that fails, or it is none.
        """
        content = self.read()
        if not isinstance(content, Image.Image):
            what = content.form if isinstance(content, Numbers) else "file"
            raise DataError(f"{self.name} is a {what}, no photo: choose photos, or a network for a {what}")
        return content


class _Samples(Sequence[Sample], Generic[Item]):
    """Samples built from `items` when asked for; a slice is again such a sequence."""

    def __init__(self, items: Sequence[Item], build: Callable[[Item], Sample]) -> None:
        self.items, self.build = items, build

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return _Samples(self.items[index], self.build)
        return self.build(self.items[index])


def open_dataset(spec: str, labels: Labels | None = None) -> Sequence[Sample]:
    """Open a data set by name.

    `folder:DIR` (or the folder alone): where every photo lies in one of at least two subfolders, the label is the class
    that its subfolder is called by (see `labels`), or where not all of them are, the position of that subfolder among the
    sorted names of all subfolders; otherwise there are no labels.
    `csv:FILE`: label is a number, the name of a class (see `labels`), or empty; boxes are `x0 y0 x1 y1` in pixels of the
    stored file, several separated by `;`; mask is a picture whose pixels are indices of classes, of the photo's upright size;
    further columns are ignored. Columns are called file (filename, image, photo) and
    label (class, target), or chosen: `csv:FILE?file=NAME&label=NAME`.
    `imagenet:DIR`: the label is the position of the class among the sorted WordNet ids; boxes are scaled where the
    photos were. `builtin:scenes`: 1,000 test scenes with boxes and masks; `builtin:signals`, `builtin:volumes` and
    `builtin:table`: as many signals, volumes and rows of a table, with masks of the places that decide.

    Args:
        spec: the name.
        labels: how labels of tables are read; without, they are numbers, true or false, or missing.

    Returns:
        At least one sample. Boxes and annotations are read when a sample is asked for.

    Raises:
        DataError: the name is of no known form, or the data set is missing, empty or malformed.
    """
    labels = labels or Labels()
    if spec and Path(spec).expanduser().is_dir():
        return _folder(Path(spec).expanduser(), labels)
    kind, _, place = spec.partition(":")
    openers: dict[str, Callable[[Path], Sequence[Sample]]] = {
        "folder": partial(_folder, labels=labels),
        "imagenet": _imagenet,
    }
    if kind == "builtin" and spec in FORMS:
        name, _, split = place.partition("-")
        return _generated(name, "train" if split else "test")
    if kind == "csv" and place:
        return _csv(place, labels)
    if kind == "table" and place:
        return _rows(place, labels)
    if kind not in openers or not place:
        raise unknown_data(spec, FORMS)
    return openers[kind](Path(place).expanduser())


def _folder(folder: Path, labels: Labels) -> Sequence[Sample]:
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder")
    paths = find_images([folder])
    places = [path.relative_to(folder) for path in paths]
    used = {place.parts[0] for place in places if len(place.parts) > 1}
    classed = len(used) > 1 and all(len(place.parts) > 1 for place in places)
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    numbers = _numbered(folder, names, labels) if classed else {}

    def build(place: Path) -> Sample:
        return Sample(
            readable(place.as_posix()),
            partial(read_image, folder / place),
            numbers.get(place.parts[0]),
            path=folder / place,
        )

    return _Samples(places, build)


def _numbered(folder: Path, names: Sequence[str], labels: Labels) -> dict[str, int]:
    """Give the class of each subfolder: by the names of classes if all are called so, else by their order."""
    named = {name: labels.named(name) for name in names}
    found = {name: index for name, index in named.items() if index is not None}
    if len(found) == len(names):
        return found
    most = labels.classes
    if labels.needed and most is not None and len(names) > most:
        raise DataError(
            f"{folder} has {len(names)} subfolders, each a class, but the network tells {most} apart: name them as its classes, "
            "or take away what is none"
        )
    return {name: index for index, name in enumerate(names)}


def _csv(place: str, labels: Labels) -> Sequence[Sample]:
    place, chosen = split_columns(place, tuple(_COLUMNS))
    table = Path(place).expanduser()
    rows: dict[str, Sample] = {}
    masks: dict[str, Path] = {}
    try:
        every = rows_of_csv(read_text(table))
        names = list(every[0].cells) if every else []
        places = {part: column(names, [chosen[part]] if part in chosen else own) for part, own in _COLUMNS.items()}
        missing = [chosen.get(part, part) for part in ("file", "label") if places[part] is None]
        if missing:
            raise DataError(f"the column {' and '.join(missing)} is missing: found {names}")
        for line in every[1:]:
            cells = {part: "" if place is None else line.cells[place] for part, place in places.items()}
            row = _row(cells, table.parent, line.line, labels)
            if row.name in rows:
                raise DataError(f"line {line.line}: the file {row.name} is listed twice")
            rows[row.name] = row
            if drawn := cells["mask"].strip():
                masks[row.name] = _file(drawn, table.parent, line.line)
    except (OSError, UnicodeDecodeError, DataError) as error:
        raise DataError(f"cannot read the table {table}: {reason_of(error)}") from error
    if not rows:
        raise DataError(f"the table {table} has no rows")
    return _Samples(list(rows.values()), lambda sample: _masked(_upright(sample), masks.get(sample.name)))


def _rows(place: str, labels: Labels) -> Sequence[Sample]:
    """Take each row of a table of numbers for an input."""
    place, chosen = split_columns(place, ("label",))
    file = Path(place).expanduser()
    values, names, column = read_rows(file, chosen.get("label"))
    known = [labels.read(label) for label in column]

    def build(number: int) -> Sample:
        return Sample(f"row {number}", partial(Numbers, values[number], "table", names), known[number])

    return _Samples(range(len(values)), build)


def _row(cells: Mapping[str, str], folder: Path, line: int, labels: Labels) -> Sample:
    name = cells["file"].strip()
    path = _file(name, folder, line)
    try:
        label, boxes = labels.read(cells["label"]), parse_boxes(cells["boxes"])
    except DataError as error:
        raise DataError(f"line {line}: {error}") from error
    return Sample(name, partial(read_input, path), label, boxes, path=path)


def _file(name: str, folder: Path, line: int) -> Path:
    if not name or "\0" in name or not (folder / name).is_file():
        raise DataError(f"line {line}: there is no file {folder / name}")
    return folder / name


def _masked(sample: Sample, drawn: Path | None) -> Sample:
    """Add the pixels that have the index of the sample's class in a picture of indices."""
    if drawn is None or sample.label is None or sample.path is None:
        return sample
    indices, ((width, height), orientation) = read_indices(drawn), read_layout(sample.path)
    upright = (height, width) if orientation in _ON_A_SIDE else (width, height)
    if indices.size != upright:
        raise DataError(
            f"the mask {drawn} is {indices.width} x {indices.height}, the photo upright {upright[0]} x {upright[1]}: they must "
            "be of one size"
        )
    return replace(sample, mask=np.asarray(indices) == sample.label)


def _upright(sample: Sample) -> Sample:
    """Turn boxes of the stored file as its photo is turned."""
    if not sample.boxes or sample.path is None or form_of(sample.path) != "photo":
        return sample
    return replace(sample, boxes=upright_boxes(sample.boxes, *read_layout(sample.path)))


def _imagenet(root: Path) -> Sequence[Sample]:
    data = ImageNet.find(root)

    def build(photo: Path) -> Sample:
        known = data.annotation(photo)
        size, orientation = read_layout(photo)
        across, down = size[0] / known.size[0], size[1] / known.size[1]
        stored = [(x0 * across, y0 * down, x1 * across, y1 * down) for x0, y0, x1, y1 in known.boxes]
        boxes = upright_boxes(stored, size, orientation)
        return Sample(readable(photo.name), partial(read_image, photo), data.label(known), boxes, path=photo)

    return _Samples(find_images([data.photos]), build)


def _generated(name: str, split: Split) -> Sequence[Sample]:
    return _scenes(split) if name == "scenes" else _planted(*_PLANTED[name], split)


def _planted(noun: str, draw: Draw, split: Split) -> Sequence[Sample]:
    inputs = PlantedSet(draw, split)

    def build(index: int) -> Sample:
        made = inputs[index]
        return Sample(f"{split} {noun} {index}", lambda: made.numbers, made.label, (), made.mask)

    return _Samples(range(len(inputs)), build)


def _scenes(split: Split) -> Sequence[Sample]:
    scenes = Scenes(split)

    def build(index: int) -> Sample:
        scene = scenes[index]
        return Sample(
            f"{split} scene {index}", partial(Image.fromarray, scene.image), scene.label, scene.boxes, scene.mask
        )

    return _Samples(range(len(scenes)), build)
