"""The official ImageNet validation set on disk: where its files are, what its classes are, what an annotation says.

| below the folder (or its subfolder ILSVRC) | what |
|---|---|
| `Data/CLS-LOC/val/NAME.JPEG` | the photos |
| `Annotations/CLS-LOC/val/NAME.xml` | class (WordNet id) and boxes of each |
| `LOC_synset_mapping.txt` | the classes: a WordNet id at the start of each line; or, where this file is missing, |
| `Data/CLS-LOC/train/WNID/` | one folder for each class |
"""

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from bitlens.data.boxes import Box, check_box
from bitlens.errors import DataError
from bitlens.system.reading import reason_of, text_stream

_LARGEST = 1 << 20  # bytes; an annotation has a few hundred


@dataclass(frozen=True)
class ImageNet:
    """Places of the parts of a copy of ImageNet.

    Attributes:
        photos: the folder of validation photos.
        annotations: the folder of their XML files.
        classes: WordNet id → label: its position among the sorted ids.
    """

    photos: Path
    annotations: Path
    classes: dict[str, int]

    @classmethod
    def find(cls, root: Path) -> "ImageNet":
        """Look below `root` for the official layout.

        Raises:
            DataError: a part is missing.
        """
        top = root / "ILSVRC" if (root / "ILSVRC").is_dir() else root
        photos, annotations = (top / kind / "CLS-LOC" / "val" for kind in ("Data", "Annotations"))
        for folder in (photos, annotations):
            if not folder.is_dir():
                raise DataError(f"{root} is no copy of ImageNet in the official layout: there is no folder {folder}")
        return cls(photos, annotations, _classes(root, top))

    def annotation(self, photo: Path) -> "Annotation":
        """Read what is known about a validation photo."""
        return read_annotation(self.annotations / f"{photo.stem}.xml")

    def label(self, annotation: "Annotation") -> int:
        """Return index of the annotation's class; DataError where that class is not listed."""
        if annotation.wnid not in self.classes:
            raise DataError(
                f"the class {annotation.wnid!r} is none of the {len(self.classes)} classes of this data set"
            )
        return self.classes[annotation.wnid]


@dataclass(frozen=True)
class Annotation:
    """The content of one annotation file.

    Attributes:
        wnid: WordNet id of the class.
        size: (width, height) that the boxes refer to.
        boxes: in pixels of a photo of that size.
    """

    wnid: str
    size: tuple[int, int]
    boxes: tuple[Box, ...]


class _NoDoctype(ET.TreeBuilder):
    """Refuses a document type, the only place where entities can be declared."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:  # noqa: ARG002 - expat's signature
        raise DataError("it declares a document type, which no annotation needs")


def read_annotation(path: Path) -> Annotation:
    """Read one annotation in the PASCAL VOC form that ImageNet uses.

    Raises:
        DataError: the file is missing, too large, no such XML, or declares a document type.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(f"it is larger than {_LARGEST} bytes")
        tree = ET.parse(path, ET.XMLParser(target=_NoDoctype())).getroot()
        objects = tree.findall("object")
        names = {_text(thing, "name") for thing in objects}
        if len(names) != 1:
            raise DataError(f"expected objects of one class, found {sorted(names) or 'none'}")
        size = int(_text(tree, "size/width")), int(_text(tree, "size/height"))
        if min(size) < 1:
            raise DataError(f"bad size {size[0]} x {size[1]}")
        boxes = [
            [float(_text(thing, f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")] for thing in objects
        ]
        return Annotation(names.pop(), size, tuple(check_box(box) for box in boxes))
    except (OSError, ET.ParseError, ValueError, LookupError, RecursionError, OverflowError) as error:
        raise DataError(f"cannot read the annotation {path}: {reason_of(error)}") from error


def _text(element: ET.Element, path: str) -> str:
    text = element.findtext(path)
    if not text or not text.strip():
        raise DataError(f"<{path}> is missing")
    return text.strip()


def _classes(root: Path, top: Path) -> dict[str, int]:
    mapping, train = root / "LOC_synset_mapping.txt", top / "Data" / "CLS-LOC" / "train"
    if mapping.is_file():
        with text_stream(mapping, newline="\n") as stream:
            lines = list(stream)
        wnids = {line.split()[0] for line in lines if line.strip()}
    elif train.is_dir():
        wnids = {folder.name for folder in train.iterdir() if folder.is_dir() and not folder.name.startswith(".")}
    else:
        raise DataError(f"the list of classes is missing: expected the file {mapping} or the folder {train}")
    if not wnids:
        raise DataError(f"the list of classes in {mapping if mapping.is_file() else train} is empty")
    return {wnid: index for index, wnid in enumerate(sorted(wnids))}
