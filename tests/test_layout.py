"""Axes are found from shapes."""

import pytest

from bitlens.errors import LayerError
from bitlens.layout import LAYOUTS, detect_layout

SQUARE = (224, 224)


@pytest.mark.parametrize(
    ("features", "image", "layout"),
    [
        ((64, 56, 56), SQUARE, "CHW"),
        ((56, 56, 56), SQUARE, "CHW"),
        ((56, 56, 96), SQUARE, "HWC"),
        ((7, 7, 768), SQUARE, "HWC"),
        ((768, 7, 7), SQUARE, "CHW"),
        ((64, 27, 27), (227, 227), "CHW"),
        ((27, 27, 64), (227, 227), "HWC"),
        ((512, 1, 1), SQUARE, "CHW"),
        ((1, 1, 768), SQUARE, "HWC"),
        ((512, 1, 1), (480, 640), "CHW"),
        ((256, 60, 80), (480, 640), "CHW"),
        ((60, 80, 256), (480, 640), "HWC"),
        ((48, 10, 7), (300, 200), "CHW"),
        ((10, 7, 48), (300, 200), "HWC"),
        ((16, 4, 64), (32, 512), "CHW"),
        ((4, 64, 16), (32, 512), "HWC"),
        ((8, 5, 5), None, "CHW"),
        ((197, 768), SQUARE, "TD"),
        ((12, 768), None, "TD"),
        ((768,), SQUARE, "D"),
    ],
)
def test_layouts(features: tuple[int, ...], image: tuple[int, int] | None, layout: str) -> None:
    assert detect_layout(features, image) is LAYOUTS[layout]


@pytest.mark.parametrize("features", [(), (2, 3, 4, 5)])
def test_other_numbers_of_axes_are_refused(features: tuple[int, ...]) -> None:
    with pytest.raises(LayerError, match="1 to 3 axes"):
        detect_layout(features)


def test_channels_and_places() -> None:
    assert LAYOUTS["CHW"].grid((6, 4, 5)) == LAYOUTS["HWC"].grid((4, 5, 6)) == (4, 5)
    assert LAYOUTS["TD"].grid((9, 16)) == (9,)
    assert LAYOUTS["D"].grid((16,)) == ()
