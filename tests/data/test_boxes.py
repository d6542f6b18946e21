import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from bitlens.data.boxes import box_mask, object_mask, parse_boxes, upright_boxes
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import DataError, InputError

TENSOR = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
NORMALIZE = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
PLAIN = Preprocessing(v2.Compose([TENSOR, NORMALIZE]))


def rectangle(shape: tuple[int, int], rows: slice, columns: slice) -> torch.Tensor:
    mask = torch.zeros(shape)
    mask[rows, columns] = 1
    return mask


def test_boxes_are_parsed() -> None:
    assert parse_boxes("1 2 3 4; 0.5 0 1e2 7.25 ;") == ((1, 2, 3, 4), (0.5, 0, 100, 7.25))
    assert parse_boxes(" ") == ()


@pytest.mark.parametrize(
    "text", ["1 2 3", "1 2 3 4 5", "a b c d", "1,2,3,4", "3 0 1 4", "0 4 9 4", "nan 0 1 1", "0 0 inf 1"]
)
def test_bad_boxes_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="bad box"):
        parse_boxes(text)


def test_the_mask_is_the_union_of_the_boxes() -> None:
    mask = box_mask([(1, 2, 5, 4), (4, 3, 7, 6)], (10, 8), PLAIN)
    expected = torch.maximum(rectangle((8, 10), slice(2, 4), slice(1, 5)), rectangle((8, 10), slice(3, 6), slice(4, 7)))
    torch.testing.assert_close(mask, expected)


def test_pixels_belong_to_a_box_by_their_centre() -> None:
    mask = box_mask([(1.4, 0.6, 3.6, 2.4)], (6, 4), PLAIN)
    torch.testing.assert_close(mask, rectangle((4, 6), slice(1, 2), slice(1, 4)))
    thin = box_mask([(2.6, 0, 2.9, 4)], (6, 4), PLAIN)
    assert thin.sum() == 4  # never nothing


def test_parts_outside_the_photo_are_cut_off() -> None:
    torch.testing.assert_close(box_mask([(-5, 2, 3, 99)], (6, 4), PLAIN), rectangle((4, 6), slice(2, 4), slice(0, 3)))
    torch.testing.assert_close(box_mask([(5.9, 3.8, 7, 7)], (6, 4), PLAIN), rectangle((4, 6), slice(3, 4), slice(5, 6)))
    for box in [(6, 0, 8, 4), (-3, 0, 0, 4), (0, 4, 6, 5)]:
        with pytest.raises(DataError, match="outside a photo of 6 x 4"):
            box_mask([box], (6, 4), PLAIN)
    with pytest.raises(DataError, match="no box"):
        box_mask([], (6, 4), PLAIN)


def test_the_mask_follows_resize_and_crop() -> None:
    """1000 x 500, shorter side to 250 (halved), centre 200 x 200 of 500 x 250: starts at (150, 25)."""
    preprocess = Preprocessing(v2.Compose([v2.Resize(250), v2.CenterCrop(200), TENSOR, NORMALIZE]))
    mask = box_mask([(400, 100, 600, 300), (640, 300, 1000, 400)], (1000, 500), preprocess)
    first = rectangle((200, 200), slice(50 - 25, 150 - 25), slice(200 - 150, 300 - 150))
    second = rectangle((200, 200), slice(150 - 25, 200 - 25), slice(320 - 150, 200))
    expected = torch.maximum(first, second)
    assert mask.shape == (200, 200)
    assert torch.equal(mask > 0.5, expected > 0.5)
    torch.testing.assert_close(mask.sum(), expected.sum(), rtol=1e-3, atol=0)
    edges = (mask > 0.01) & (mask < 0.99)
    assert edges.sum() < 2 * (4 * 100 + 2 * 80)  # only interpolated outlines are soft


def test_the_mask_is_that_of_the_photo_itself() -> None:
    """A photo that is its own mask comes out as the mask does."""
    drawn = np.zeros((90, 130, 3), np.uint8)
    drawn[20:60, 31:77] = 255
    preprocess = Preprocessing(v2.Compose([v2.Resize((64, 64)), v2.RandomHorizontalFlip(1.0), TENSOR, NORMALIZE]))
    shown = preprocess.display(preprocess(Image.fromarray(drawn)))
    torch.testing.assert_close(box_mask([(31, 20, 77, 60)], (130, 90), preprocess), shown[0], atol=1e-6, rtol=0)


def test_a_box_over_everything_is_all_ones_and_stays_in_range() -> None:
    mask = box_mask([(0, 0, 30, 20)], (30, 20), Preprocessing(v2.Compose([v2.Resize(40), TENSOR, NORMALIZE])))
    torch.testing.assert_close(mask, torch.ones(40, 60))
    assert mask.max() <= 1


def test_a_preprocessing_that_cannot_be_undone_is_refused() -> None:
    stretched = Preprocessing(lambda image: TENSOR(image) / TENSOR(image).max().clamp(min=0.1) - TENSOR(image).mean())
    with pytest.raises(InputError, match="cannot follow"):
        box_mask([(0, 0, 2, 2)], (6, 4), stretched)


@pytest.mark.parametrize("orientation", [0, *range(1, 9)])
def test_boxes_turn_with_the_photo(orientation: int) -> None:
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    drawn = np.zeros((7, 11, 3), np.uint8)
    drawn[1:4, 2:8] = 255
    stored = Image.fromarray(drawn)
    upright = stored.transpose(turns[orientation]) if orientation in turns else stored
    (box,) = upright_boxes([(2, 1, 8, 4)], stored.size, orientation)
    torch.testing.assert_close(box_mask([box], upright.size, PLAIN), TENSOR(upright)[0].as_subclass(torch.Tensor))


def test_an_exact_mask_takes_the_way_of_the_photo() -> None:
    rows, columns = np.mgrid[:40, :60]
    pixels = (rows - 22) ** 2 + (columns - 30) ** 2 < 100
    flip = Preprocessing(v2.Compose([v2.CenterCrop(40), v2.RandomVerticalFlip(1.0), TENSOR, NORMALIZE]))
    expected = torch.from_numpy(pixels[::-1, 10:50].copy()).float()
    torch.testing.assert_close(object_mask(pixels, flip), expected)
