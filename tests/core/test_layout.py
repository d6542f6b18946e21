"""Axes are found from shapes."""

import pytest

from bitlens.core.layout import LAYOUTS, detect_layout, named_layout, patch_grid
from bitlens.errors import LayerError

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
        ((15, 10, 7), (300, 200), "CHW"),  # 15 x 10 is 300 x 200 exactly, but 10 x 7 is what rounding makes of it
        ((8, 5, 5), None, "CHW"),
        ((205, 768), SQUARE, "PD"),
        ((206, 768), SQUARE, "TD"),
        ((1, 768), SQUARE, "TD"),
        ((12, 768), None, "TD"),
        ((768,), SQUARE, "D"),
    ],
)
def test_layouts(features: tuple[int, ...], image: tuple[int, int] | None, layout: str) -> None:
    assert detect_layout(features, image).name == layout


@pytest.mark.parametrize("features", [(), (2, 3, 4, 5)])
def test_other_numbers_of_axes_are_refused(features: tuple[int, ...]) -> None:
    with pytest.raises(LayerError, match="1 to 3 axes"):
        detect_layout(features)


def test_channels_and_places() -> None:
    assert LAYOUTS["CHW"].grid((6, 4, 5)) == LAYOUTS["HWC"].grid((4, 5, 6)) == (4, 5)
    assert LAYOUTS["TD"].grid((9, 16)) == (9,)
    assert LAYOUTS["D"].grid((16,)) == ()


@pytest.mark.parametrize(
    ("tokens", "size", "grid"),
    [
        (197, (224, 224), (14, 14)),
        (198, (224, 224), (14, 14)),
        (261, (224, 224), (16, 16)),
        (50, (224, 224), (7, 7)),
        (577, (384, 384), (24, 24)),
        (29, (64, 96), (4, 6)),
        (281, (224, 320), (14, 20)),
        (197, (230, 224), (14, 14)),
        (29, (70, 97), (4, 6)),
        (621, (333, 500), (20, 31)),
        (30, (34, 48), (5, 6)),
        (9 * 12, (34, 48), (9, 12)),
        (3136, (224, 224), (56, 56)),
    ],
)
def test_the_grid_of_patches(tokens: int, size: tuple[int, int], grid: tuple[int, int]) -> None:
    """Also where the image is no multiple of a patch, and what is over is cut off or filled up."""
    assert patch_grid(tokens, size) == grid
    layout = detect_layout((tokens, 8), size)
    assert layout == named_layout("PD", tokens - grid[0] * grid[1])
    assert (layout.patches, layout.grid((tokens, 8)), layout.on_grid) == (grid, grid, True)


@pytest.mark.parametrize(("tokens", "size"), [(220, (224, 224)), (3, (64, 96)), (512, (224, 224)), (77, (224, 224))])
def test_tokens_that_are_no_grid(tokens: int, size: tuple[int, int]) -> None:
    assert patch_grid(tokens, size) is None


def test_one_layout_for_images_of_all_sizes() -> None:
    small, wide = detect_layout((17, 8), (16, 16)), detect_layout((25, 8), (16, 24))
    assert small == wide == named_layout("PD", 1)
    assert named_layout("PD", 1).over((25, 8), (16, 24)).patches == (4, 6)
    assert small.over((25, 8), None).patches is None
    assert small.over((18, 8), (16, 16)).patches is None  # one token more than these layouts have
    assert LAYOUTS["TD"].over((17, 8), (16, 16)) is LAYOUTS["TD"]
    with pytest.raises(KeyError):
        named_layout("XY")
