import os
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from bitlens.data.batches import tensor_batches
from bitlens.data.boxes import box_mask
from bitlens.data.datasets import FORMS, Sample, open_dataset
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import BitlensWarning, DataError, InputError

PLAIN = Preprocessing(v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]), "plain")
DATA = os.environ.get("BITLENS_DATA")
real = pytest.mark.skipif(not DATA, reason="BITLENS_DATA is not set")


def save(path: Path, size: tuple[int, int] = (8, 6), orientation: int = 1, level: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, (level, level, level)).save(path, exif=exif)
    return path


def table(folder: Path, text: str) -> str:
    (folder / "t.csv").write_text(text, "utf-8")
    return f"csv:{folder / 't.csv'}"


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    for name in ("p10.png", "p2.png"):
        save(tmp_path / name)
    samples = open_dataset(f"folder:{tmp_path}")
    assert [(sample.name, sample.label) for sample in samples] == [("p2.png", None), ("p10.png", None)]
    assert samples[0].image.size == (8, 6)
    assert [sample.name for sample in open_dataset(str(tmp_path))] == ["p2.png", "p10.png"]


def test_subfolders_are_classes_where_every_photo_lies_in_one(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/deep/1.png", "ape/2.png"):
        save(tmp_path / name)
    (tmp_path / "bee").mkdir()  # without photos, and yet a class
    labels = {sample.name: sample.label for sample in open_dataset(f"folder:{tmp_path}")}
    assert labels == {"ape/2.png": 0, "cat/1.png": 2, "dog/deep/1.png": 3}
    save(tmp_path / "loose.png")
    assert {sample.label for sample in open_dataset(f"folder:{tmp_path}")} == {None}


def test_one_subfolder_is_no_class(tmp_path: Path) -> None:
    save(tmp_path / "holiday/1.png")
    assert open_dataset(f"folder:{tmp_path}")[0].label is None


def test_slices_are_lazy_and_indices_work_from_the_end(tmp_path: Path) -> None:
    for index in range(5):
        save(tmp_path / f"{index}.png")
    samples = open_dataset(f"folder:{tmp_path}")
    assert [sample.name for sample in samples[1:4][::2]] == ["1.png", "3.png"]
    assert samples[-1].name == "4.png"
    with pytest.raises(IndexError):
        samples[5]


def test_a_table(tmp_path: Path) -> None:
    save(tmp_path / "a b.png")
    save(tmp_path / "sub/ü.png")
    text = '\ufefffile,label,who,boxes\na b.png,3,"me, you",1 2 5 6\nsub/ü.png,,,"1 1 2 2;3 3 4 4"\n'
    samples = open_dataset(table(tmp_path, text))
    assert [(sample.name, sample.label, sample.boxes) for sample in samples] == [
        ("a b.png", 3, ((1, 2, 5, 6),)),
        ("sub/ü.png", None, ((1, 1, 2, 2), (3, 3, 4, 4))),
    ]
    assert samples[0].mask is None


def test_boxes_of_a_turned_photo_turn_with_it(tmp_path: Path) -> None:
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[1:3, 2:7] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    sample = open_dataset(table(tmp_path, "file,label,boxes\na.png,0,2 1 7 3\n"))[0]
    assert sample.image.size == (6, 8)
    torch.testing.assert_close(box_mask(sample.boxes, sample.image.size, PLAIN), PLAIN(sample.image)[0])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,label\na.png,1\n", "column file is missing"),
        ("name\na.png\n", "column file and label is missing"),
        ("", "missing"),
        ("file,label\n", "no rows"),
        ("file,label\nb.png,1\n", r"line 2: there is no file .*b\.png"),
        ("file,label\n,1\n", "line 2: there is no file"),
        ("file,label\na.png,cat\n", "line 2: the label is 'cat'"),
        ("file,label\na.png,-1\n", "line 2: the label is '-1'"),
        ("file,label\na.png,1.5\n", "line 2: the label is '1.5'"),
        ("file,label,boxes\na.png,1,1 2 3\n", "line 2: bad box"),
        ("file,label\na.png,1,2\n", "line 2: expected as many cells"),
        ("file,label\na.png\n", "line 2: expected as many cells"),
        ("file,label\na.png,1\na.png,2\n", r"line 3: the file a\.png is listed twice"),
    ],
)
def test_bad_tables_name_line_and_reason(tmp_path: Path, text: str, reason: str) -> None:
    save(tmp_path / "a.png")
    with pytest.raises(DataError, match=reason) as caught:
        open_dataset(table(tmp_path, text))
    assert "t.csv" in str(caught.value)


def test_tables_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        open_dataset(f"csv:{tmp_path / 'none.csv'}")
    (tmp_path / "t.csv").write_bytes(b"file,label\n\xff\xfe\x00,1\n")
    with pytest.raises(DataError, match=r"t\.csv"):
        open_dataset(f"csv:{tmp_path / 't.csv'}")


@pytest.mark.parametrize("spec", ["", "nonsense", "zip:x", "csv:", "builtin:cats", "val.csv"])
def test_unknown_data_sets_list_the_forms(spec: str) -> None:
    with pytest.raises(DataError, match=r"folder:DIR, csv:FILE, table:FILE, imagenet:DIR, builtin:scenes"):
        open_dataset(spec)
    generated = [
        f"builtin:{name}{split}" for name in ("scenes", "signals", "volumes", "table") for split in ("", "-train")
    ]
    assert list(FORMS) == ["folder:DIR", "csv:FILE", "table:FILE", "imagenet:DIR", *generated]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    for kind in ("folder", "imagenet"):
        with pytest.raises(DataError, match="none"):
            open_dataset(f"{kind}:{tmp_path / 'none'}")


def test_scenes_come_with_label_boxes_and_mask() -> None:
    samples = open_dataset("builtin:scenes")
    sample = samples[3]
    assert len(samples) == 1000
    assert sample.label is not None
    assert sample.mask is not None
    assert sample.mask.shape == sample.image.size[::-1]
    boxes = box_mask(sample.boxes, sample.image.size, PLAIN).numpy() > 0.5
    assert sample.mask.any()
    assert not (sample.mask & ~boxes).any()
    assert len({sample.name for sample in samples[:20]}) == 20


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for index in range(23):
        save(folder / f"{index}.png", level=index)
    return folder


def test_batches_keep_the_order(photos: Path) -> None:
    samples = open_dataset(str(photos))
    batches = list(tensor_batches(samples, PLAIN, 5))
    assert [len(tensor) for tensor, _ in batches] == [5, 5, 5, 5, 3]
    assert [sample.name for _, part in batches for sample in part] == [sample.name for sample in samples]
    levels = torch.cat([tensor for tensor, _ in batches])[:, 0, 0, 0] * 255
    torch.testing.assert_close(levels, torch.arange(23.0))


def test_reading_ahead_is_bounded_and_ends_with_the_consumer(photos: Path) -> None:
    asked = []

    class Watched(list[Sample]):
        def __getitem__(self, index: Any) -> Any:
            asked.append(index)
            return super().__getitem__(index)

    batches = tensor_batches(Watched(open_dataset(str(photos))), PLAIN, 2)
    next(batches)
    time.sleep(0.2)
    assert len(asked) <= 2 * 2 + 4
    batches.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("bitlens-read")]


def test_an_unreadable_photo_stops_or_is_skipped(tmp_path: Path) -> None:
    for index in range(4):
        save(tmp_path / f"{index}.png")
    (tmp_path / "1.png").write_bytes(b"no photo")
    samples = open_dataset(str(tmp_path))
    with pytest.raises(DataError, match=r"1\.png"):
        list(tensor_batches(samples, PLAIN, 2))
    with pytest.warns(BitlensWarning, match=r"skipped.*1\.png"):
        batches = list(tensor_batches(samples, PLAIN, 2, on_error="skip"))
    assert [[sample.name for sample in part] for _, part in batches] == [["0.png", "2.png"], ["3.png"]]
    assert [len(tensor) for tensor, _ in batches] == [2, 1]


@pytest.mark.filterwarnings("ignore::bitlens.errors.BitlensWarning")
def test_nothing_readable_is_an_error_also_when_skipping(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"no photo")
    with pytest.raises(DataError, match="none of the 1 samples"):
        list(tensor_batches(open_dataset(str(tmp_path)), PLAIN, 2, on_error="skip"))


def test_a_failing_preprocessing_names_the_sample(photos: Path) -> None:
    with pytest.raises(DataError, match=r"^0\.png: the preprocessing gave ndarray"):
        list(tensor_batches(open_dataset(str(photos)), Preprocessing(np.asarray), 2))


def test_batch_size_is_checked(tmp_path: Path) -> None:
    save(tmp_path / "0.png")
    with pytest.raises(InputError, match="batch_size is 0"):
        tensor_batches(open_dataset(str(tmp_path)), PLAIN, 0)


@real
def test_real_photos_with_boxes() -> None:
    samples = open_dataset(f"csv:{DATA}/imagenet/val.csv")
    crop = Preprocessing(v2.Compose([v2.Resize(256), v2.CenterCrop(224), PLAIN.transform]))
    assert len(samples) == 800
    tensor, part = next(iter(tensor_batches(samples, crop, 16)))
    assert tensor.shape == (16, 3, 224, 224)
    masks = [box_mask(sample.boxes, sample.image.size, crop) for sample in part]
    assert all(0 < mask.mean() <= 1 for mask in masks)


def test_inputs_of_another_size_begin_a_new_batch() -> None:
    samples = [Sample(str(i), partial(Image.new, "RGB", (width, 8))) for i, width in enumerate((9, 9, 12, 9, 9, 9))]
    batches = list(tensor_batches(samples, PLAIN, 2))
    assert [tuple(images.shape) for images, _ in batches] == [(2, 3, 8, 9), (1, 3, 8, 12), (2, 3, 8, 9), (1, 3, 8, 9)]
    assert [sample.name for _, part in batches for sample in part] == list("012345")


def test_a_mask_marks_the_pixels_that_hold_the_index_of_the_label(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    indices = np.zeros((6, 8), np.uint8)
    indices[1:3, 2:5], indices[4, 0] = 3, 255
    drawn = Image.fromarray(indices, "P")
    drawn.putpalette(list(range(256)) * 3)
    drawn.save(tmp_path / "m.png")
    sample = open_dataset(table(tmp_path, "file,label,mask\na.png,3,m.png\n"))[0]
    assert sample.mask is not None
    assert np.array_equal(sample.mask, indices == 3)
    assert open_dataset(table(tmp_path, "file,label,mask\na.png,,m.png\n"))[0].mask is None


@pytest.mark.parametrize(
    ("mode", "size", "said"),
    [
        ("L", (8, 5), "the photo upright 8 x 6"),
        ("RGB", (8, 6), "its pixels are colours"),
        (None, (8, 6), "there is no file"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(
    tmp_path: Path, mode: str | None, size: tuple[int, int], said: str
) -> None:
    save(tmp_path / "a.png")
    if mode is not None:
        Image.new(mode, size).save(tmp_path / "m.png")
    with pytest.raises(DataError, match=said):
        open_dataset(table(tmp_path, "file,label,mask\na.png,3,m.png\n"))[0]
