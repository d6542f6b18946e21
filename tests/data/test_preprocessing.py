import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from bitlens.data.images import read_image
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import BitlensWarning, InputError

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TENSOR = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
IMAGENET = v2.Compose([v2.Resize(64), v2.CenterCrop(48), TENSOR, v2.Normalize(MEAN, STD)])
PLAIN = v2.Compose([v2.Resize(64), v2.CenterCrop(48), TENSOR])


@pytest.fixture
def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8))


def test_the_result_is_a_plain_float_tensor(photo: Image.Image) -> None:
    result = Preprocessing(lambda image: TENSOR(image).double().requires_grad_())(photo)
    assert (type(result), result.dtype, result.requires_grad) == (torch.Tensor, torch.float32, False)


def test_display_undoes_the_normalisation_of_imagenet(photo: Image.Image) -> None:
    preprocess = Preprocessing(IMAGENET)
    torch.testing.assert_close(preprocess.display(preprocess(photo)), torch.Tensor(PLAIN(photo)), atol=1e-5, rtol=0)


def test_display_undoes_swapped_channels_and_other_ranges(photo: Image.Image) -> None:
    preprocess = Preprocessing(
        lambda image: PLAIN(image).flip(0) * 255 - torch.tensor([104.0, 117, 123])[:, None, None]
    )
    torch.testing.assert_close(preprocess.display(preprocess(photo)), torch.Tensor(PLAIN(photo)), atol=1e-5, rtol=0)


def test_display_undoes_inverted_colours(photo: Image.Image) -> None:
    preprocess = Preprocessing(lambda image: 1 - 2 * PLAIN(image))
    torch.testing.assert_close(preprocess.display(preprocess(photo)), torch.Tensor(PLAIN(photo)), atol=1e-5, rtol=0)


def test_one_channel_is_shown_in_grey(photo: Image.Image) -> None:
    grey = v2.Compose([v2.Grayscale(), PLAIN, v2.Normalize([0.5], [0.25])])
    preprocess = Preprocessing(grey)
    shown = preprocess.display(preprocess(photo))
    expected = torch.Tensor(PLAIN(v2.Grayscale()(photo))).expand(3, -1, -1)
    torch.testing.assert_close(shown, expected, atol=0.01, rtol=0)  # grey of each primary is rounded to 8 bits


def test_display_stays_in_range_and_leaves_its_input_alone(photo: Image.Image) -> None:
    preprocess = Preprocessing(IMAGENET)
    wild = preprocess(photo) * 10
    before = wild.clone()
    shown = preprocess.display(wild)
    assert shown.min() >= 0
    assert shown.max() <= 1
    assert torch.equal(wild, before)


@pytest.mark.parametrize(
    "transform",
    [
        lambda image: (PLAIN(image) - PLAIN(image).mean()) / PLAIN(image).std(),  # by its own spread
        lambda image: PLAIN(image) ** 2.2,
        lambda image: torch.cat([PLAIN(image)] * 2),
    ],
)
def test_what_cannot_be_undone_is_stretched_and_said(photo: Image.Image, transform: object) -> None:
    preprocess = Preprocessing(transform)  # type: ignore[arg-type]
    with pytest.warns(BitlensWarning, match="stretched"):
        shown = preprocess.display(preprocess(photo))
    assert shown.shape == (3, 48, 48)
    assert (shown.min(), shown.max()) == (0, 1)


def test_the_transform_is_measured_once(photo: Image.Image) -> None:
    calls = []
    preprocess = Preprocessing(lambda image: calls.append(0) or IMAGENET(image))
    for _ in range(3):
        preprocess.display(preprocess(photo))
    assert len(calls) == 3 + 6


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (np.asarray, "gave ndarray"),
        (lambda image: TENSOR(image)[None], r"shape \(1, 3, 80, 100\)"),
        (lambda image: TENSOR(image)[0], r"shape \(80, 100\)"),
        (lambda image: TENSOR(image).to(torch.uint8), "uint8"),
        (lambda image: TENSOR(image) / 0, "NaN"),
        (lambda image: image.nonsense, "AttributeError"),
    ],
)
def test_a_transform_that_does_not_fit_is_named(photo: Image.Image, transform: object, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Preprocessing(transform)(photo)  # type: ignore[arg-type]


def test_the_description_is_the_same_every_time() -> None:
    class Mine:
        def __call__(self, image: Image.Image) -> torch.Tensor:
            return torch.Tensor(PLAIN(image))

    assert "0x" not in Preprocessing(Mine()).description
    assert "Normalize(mean=[0.485" in Preprocessing(IMAGENET).description
    assert "\n" not in Preprocessing(IMAGENET).description
    assert Preprocessing(read_image).description == "bitlens.data.images.read_image"
    assert Preprocessing(IMAGENET, "mine").description == "mine"
