from pathlib import Path

import pytest
from PIL import Image

from bitlens.data.datasets import open_dataset
from bitlens.data.imagenet import read_annotation
from bitlens.errors import DataError

EDGES = "<xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax>"
OBJECT = f"<object><name>{{wnid}}</name><bndbox>{EDGES}</bndbox></object>"


def annotation(wnid: str, *boxes: tuple[int, int, int, int], size: tuple[int, int] = (500, 400)) -> str:
    objects = "".join(OBJECT.format(*box, wnid=wnid) for box in boxes)
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{objects}</annotation>"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Three photos of the classes n02 and n05; the second was halved after it was annotated."""
    top = tmp_path / "ILSVRC"
    photos, annotations = (top / kind / "CLS-LOC" / "val" for kind in ("Data", "Annotations"))
    for folder in (photos, annotations):
        folder.mkdir(parents=True)
    known = {
        "v_1": ((500, 400), annotation("n05", (10, 20, 110, 220), (0, 0, 5, 5))),
        "v_2": ((250, 200), annotation("n02", (10, 20, 110, 220))),
        "v_3": ((500, 400), annotation("n02", (1, 2, 3, 4))),
    }
    for name, (size, xml) in known.items():
        Image.new("RGB", size).save(photos / f"{name}.JPEG", "JPEG")
        (annotations / f"{name}.xml").write_text(xml)
    (tmp_path / "LOC_synset_mapping.txt").write_text("n02 cat, true cat\nn03 dog\nn05 bird\n")
    return tmp_path


def xml(copy: Path, name: str) -> Path:
    return copy / "ILSVRC/Annotations/CLS-LOC/val" / f"{name}.xml"


def test_labels_and_boxes(copy: Path) -> None:
    samples = open_dataset(f"imagenet:{copy}")
    assert [(sample.name, sample.label, sample.boxes) for sample in samples] == [
        ("v_1.JPEG", 2, ((10, 20, 110, 220), (0, 0, 5, 5))),
        ("v_2.JPEG", 0, ((5, 10, 55, 110),)),
        ("v_3.JPEG", 0, ((1, 2, 3, 4),)),
    ]
    assert samples[1].image.size == (250, 200)


def test_the_inner_folder_and_train_folders_do_too(copy: Path) -> None:
    for wnid in ("n05", "n02", "n01"):
        (copy / "ILSVRC/Data/CLS-LOC/train" / wnid).mkdir(parents=True)
    assert [sample.label for sample in open_dataset(f"imagenet:{copy}/ILSVRC")] == [2, 1, 1]


def test_missing_parts_are_named(copy: Path, tmp_path: Path) -> None:
    (copy / "LOC_synset_mapping.txt").write_text("n07 fish\n")
    with pytest.raises(DataError, match="'n05' is none of the 1 classes"):
        open_dataset(f"imagenet:{copy}")[0]
    (copy / "LOC_synset_mapping.txt").unlink()
    with pytest.raises(DataError, match=r"LOC_synset_mapping\.txt or the folder"):
        open_dataset(f"imagenet:{copy}")
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match=r"official layout: there is no folder .*CLS-LOC"):
        open_dataset(f"imagenet:{tmp_path / 'other'}")


BOMB = '<!DOCTYPE a [<!ENTITY x "lol"><!ENTITY y "&x;&x;&x;">]><annotation>&y;</annotation>'
FILE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (BOMB.encode(), "document type"),
        (BOMB.encode("utf-16"), "document type"),
        (FILE.encode(), "document type"),
        (b"<annotation>", "no element found"),
        (b"", "no element found"),
        (annotation("n02").encode(), "objects of one class, found none"),
        (annotation("n02", (5, 5, 5, 9)).encode(), "bad box"),
        (annotation("n02", (1, 2, 3, 4), size=(0, 5)).encode(), "bad size"),
        (annotation("n02", (1, 2, 3, 4)).replace("<xmin>1</xmin>", "").encode(), "<bndbox/xmin> is missing"),
        (annotation("n02", (1, 2, 3, 4)).replace("<xmin>1<", "<xmin>one<").encode(), "one"),
        (b" " * (1 << 20) + b"<a/>", "larger than"),
    ],
)
def test_bad_annotations_name_the_file(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "v.xml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        read_annotation(path)
    assert str(path) in str(caught.value)


def test_objects_of_two_classes_are_refused(copy: Path) -> None:
    both = annotation("n02", (1, 2, 3, 4)).replace(
        "</annotation>", OBJECT.format(1, 2, 3, 4, wnid="n05") + "</annotation>"
    )
    xml(copy, "v_1").write_text(both)
    with pytest.raises(DataError, match="one class, found"):
        open_dataset(f"imagenet:{copy}")[0]
    xml(copy, "v_1").unlink()
    with pytest.raises(DataError, match="no such file"):
        open_dataset(f"imagenet:{copy}")[0]
