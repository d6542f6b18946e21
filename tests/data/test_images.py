import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitlens.data.images import find_images, read_image, read_layout
from bitlens.errors import BitlensWarning, DataError

ORIENTATION = 0x0112


def corner_picture() -> Image.Image:
    """8 x 6, black but for the upper left 3 x 2 pixels, which are red."""
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[:2, :3] = (255, 0, 0)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
def test_every_exif_orientation_shows_the_picture_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = corner_picture()
    backwards = {  # how a camera held that way stores it
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / f"photo.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    backwards[orientation].save(path, exif=exif, **options)
    np.testing.assert_array_equal(np.asarray(read_image(path)), np.asarray(upright))


def test_the_layout_is_that_of_the_stored_pixels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    corner_picture().save(tmp_path / "a.jpg", exif=exif)
    assert read_layout(tmp_path / "a.jpg") == ((8, 6), 6)
    assert read_image(tmp_path / "a.jpg").size == (6, 8)


def test_damaged_exif_leaves_the_pixels_readable(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    corner_picture().save(path, exif=b"Exif\x00\x00not a TIFF header")
    with pytest.warns(BitlensWarning, match="EXIF"):
        picture = read_image(path)
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(corner_picture()))


@pytest.mark.parametrize(("name", "mode"), [("a.png", "I;16"), ("a.tiff", "I;16"), ("big.tiff", "I;16B")])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path, name: str, mode: str) -> None:
    values = np.array([[0, 257, 128 * 257, 65535, 300]], np.uint16)
    stored = values.astype(">u2") if mode == "I;16B" else values
    Image.frombytes(mode, (5, 1), stored.tobytes()).save(tmp_path / name)
    assert np.asarray(read_image(tmp_path / name))[0, :, 0].tolist() == [0, 1, 128, 255, 1]


def test_sixteen_bit_pgm_is_scaled(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 2 1 65535\n" + np.array([32896, 65535], ">u2").tobytes())
    assert np.asarray(read_image(path))[0, :, 0].tolist() == [128, 255]


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_thirty_two_bit_numbers_are_refused(tmp_path: Path, dtype: type) -> None:
    Image.fromarray(np.ones((2, 2), dtype)).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match=r"a\.tiff.*32-bit"):
        read_image(tmp_path / "a.tiff")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_put_on_white(tmp_path: Path, mode: str) -> None:
    colour = (0, 0, 0) if mode == "RGBA" else (0,)
    picture = Image.new(mode, (3, 1), (*colour, 0))
    picture.putpixel((1, 0), (*colour, 255))
    picture.putpixel((2, 0), (*colour, 51))
    picture.save(tmp_path / "a.png")
    assert np.asarray(read_image(tmp_path / "a.png")).tolist() == [[[255] * 3, [0] * 3, [204] * 3]]


def test_transparent_palette_and_colour_key_are_put_on_white(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "p.png", transparency=0)
    assert np.asarray(read_image(tmp_path / "p.png")).tolist() == [[[255] * 3, [200, 100, 50]]]
    Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)).save(tmp_path / "k.png", transparency=(1, 2, 3))
    assert np.asarray(read_image(tmp_path / "k.png")).tolist() == [[[255] * 3, [4, 5, 6]]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    source = Image.new("RGB", (16, 16), "white" if mode == "1" else (204, 204, 204))  # a colour of the web palette
    name = "a.jpg" if mode in ("CMYK", "YCbCr") else "a.png"
    source.convert(mode).save(tmp_path / name)
    picture = read_image(tmp_path / name)
    assert picture.mode == "RGB"
    np.testing.assert_allclose(np.asarray(picture), np.asarray(source), atol=2)


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0)


def test_the_picture_outlives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    corner_picture().save(path)
    picture = read_image(path)
    path.unlink()
    assert picture.getpixel((0, 0)) == (255, 0, 0)


def encoded(form: str) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("cut.jpg", encoded("JPEG")[:2000], "cut short"),
        ("cut.png", encoded("PNG")[:2000], "cut short"),
        ("empty.jpg", b"", "empty"),
        ("text.jpg", b"this is a text", "none of the supported formats"),
        ("drawing.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "none of the supported formats"),
    ],
)
def test_unusable_files_give_one_sentence_with_their_name(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.filterwarnings("ignore")
def test_damage_anywhere_ends_in_a_picture_or_a_data_error(tmp_path: Path, form: str) -> None:
    content, random = encoded(form), np.random.default_rng(1)
    for trial in range(60):
        damaged = bytearray(content)
        for place in random.integers(0, min(len(damaged), 300 if trial % 2 else len(damaged)), 6):
            damaged[place] = random.integers(256)
        path = tmp_path / "damaged"
        path.write_bytes(damaged)
        try:
            picture = read_image(path)
        except DataError:
            continue
        assert picture.mode == "RGB"


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(DataError, match="it is a folder"):
        read_image(tmp_path)


def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"bomb\.png.*MAX_IMAGE_PIXELS"):
        read_image(tmp_path / "bomb.png")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    names = [
        "p10.jpg",
        "p2.JPG",
        "notes.txt",
        ".hidden.png",
        "sub/ü name.png",
        "sub/[x].gif",
        ".git/a.png",
        "sub/._p.png",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    return tmp_path


def test_a_folder_is_searched_in_natural_order_without_hidden_files(tree: Path) -> None:
    found = [path.relative_to(tree).as_posix() for path in find_images([tree])]
    assert found == ["p2.JPG", "p10.jpg", "sub/[x].gif", "sub/ü name.png"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["p10.jpg"]),
        ("p*", ["p2.JPG", "p10.jpg"]),
        ("**/*.png", ["sub/ü name.png"]),
        ("**", ["p2.JPG", "p10.jpg", "sub/[x].gif", "sub/ü name.png"]),
        ("sub/[x].gif", ["sub/[x].gif"]),  # a file of that name comes before the pattern
    ],
)
def test_patterns(tree: Path, pattern: str, expected: list[str]) -> None:
    assert [path.relative_to(tree).as_posix() for path in find_images([f"{tree}/{pattern}"])] == expected


def test_sources_keep_their_order_and_nothing_comes_twice(tree: Path) -> None:
    found = find_images([tree / "sub", tree / "notes.txt", tree / "sub/../p10.jpg", tree])
    assert [path.name for path in found] == ["[x].gif", "ü name.png", "notes.txt", "p10.jpg", "p2.JPG"]
    assert find_images(tree) == find_images([tree])


def test_sources_without_images(tree: Path) -> None:
    with pytest.raises(DataError, match="none does not exist"):
        find_images([tree / "none"])
    with pytest.raises(DataError, match=r"holds no image.*\.jpeg"):
        find_images([tree / "folder.png"])
    with pytest.raises(DataError, match="holds no image"):
        find_images([f"{tree}/*.webp"])
    with pytest.raises(DataError, match="no image was given"):
        find_images([])


@pytest.mark.parametrize(
    ("name", "content", "advice"),
    [
        ("scan", bytes(128) + b"DICM", "it is DICOM; save the picture as PNG first"),
        ("scan.dcm", b"no preamble", "it is DICOM"),
        ("brain.nii.gz", b"\x1f\x8b", "it is a volume; a network for volumes"),
        ("phone.jpg", b"\0\0\0\x18ftypheic", "HEIC, AVIF or a film; save it as JPEG"),
        ("paper.pdf", b"%PDF-1.7", "it is a drawing; save it as PNG"),
        ("maps.npy", b"\x93NUMPY", "it holds arrays"),
        ("scans.csv", b"file,label\n", r"it is a table; name the photos or their folder .*--data csv:FILE"),
    ],
)
def test_what_is_no_photo_is_told_what_to_do_with(tmp_path: Path, name: str, content: bytes, advice: str) -> None:
    (tmp_path / name).write_bytes(content)
    for read in (read_image, read_layout):
        with pytest.raises(DataError, match=advice):
            read(tmp_path / name)
    if not name.endswith("jpg"):
        with pytest.raises(DataError, match=f"holds no image: of {name}, {advice}"):
            find_images([tmp_path])
