import numpy as np
import pytest
from numpy.typing import NDArray

from bitlens.view.colours import Scale, dim, overlay

# Viénot, Brettel and Mollon (1999): linear RGB as seen without the long or the middle wavelength cones.
PROTANOPE = np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]])
DEUTERANOPE = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])
RAMP = np.linspace(0, 1, 101, dtype=np.float32)[None]


def linear(srgb: NDArray[np.float32]) -> NDArray[np.float64]:
    srgb = np.asarray(srgb, dtype=np.float64)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lightness(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L* of linear RGB."""
    luminance = rgb @ [0.2126, 0.7152, 0.0722]
    return np.where(luminance > 216 / 24389, 116 * np.cbrt(luminance) - 16, luminance * 24389 / 27)


def over(brightness: float, values: NDArray[np.float32], scale: Scale) -> NDArray[np.float32]:
    photo = np.full((3, *values.shape), brightness, dtype=np.float32)
    return overlay(dim(photo), values, scale)


@pytest.mark.parametrize("brightness", [0.0, 0.05, 0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("seen", [np.eye(3), PROTANOPE, DEUTERANOPE], ids=["all", "protanope", "deuteranope"])
def test_more_is_lighter_on_every_photo_for_every_eye(brightness: float, seen: NDArray[np.float64]) -> None:
    scale = Scale("bits/pixel", 1.0)
    steps = np.diff(lightness(linear(over(brightness, RAMP, scale)) @ seen.T)[0])
    assert steps.min() > 0.05
    assert steps.sum() > 45


@pytest.mark.parametrize("brightness", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_magnitude_is_lighter_on_both_sides_of_zero(brightness: float, sign: int) -> None:
    scale = Scale("score", 1.0, signed=True)
    steps = np.diff(lightness(linear(over(brightness, sign * RAMP, scale)))[0])
    assert steps.min() > 0


@pytest.mark.parametrize("seen", [np.eye(3), PROTANOPE, DEUTERANOPE], ids=["all", "protanope", "deuteranope"])
def test_signs_differ_in_colour_not_in_lightness(seen: NDArray[np.float64]) -> None:
    scale = Scale("score", 1.0, signed=True)
    plus, minus = (linear(over(0.5, sign * RAMP[:, 20:], scale)) @ seen.T for sign in (1, -1))
    assert np.abs(lightness(plus) - lightness(minus)).max() < 12
    blueness = [rgb[0, :, 2] / rgb[0].sum(-1) for rgb in (plus, minus)]
    assert (blueness[1] - blueness[0]).min() > 0.05


def test_nothing_is_seen_of_a_map_that_is_zero() -> None:
    photo = np.random.default_rng(0).random((3, 5, 6), dtype=np.float32)
    grey = dim(photo)
    shown = overlay(grey, np.zeros((5, 6), dtype=np.float32), Scale("bits/pixel", 1.0))
    assert shown == pytest.approx(np.repeat(grey[..., None], 3, axis=-1))


def test_dark_photo_is_brightened_and_order_is_kept() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 50, dtype=np.float32), (3, 1, 50))
    assert (np.diff(dim(ramp)[0]) > 0).all()
    assert dim(0.2 * ramp).max() > 0.6 * dim(ramp).max()


def test_bar_has_the_colours_of_the_picture() -> None:
    for scale, values in ((Scale("bits/pixel", 2.0), 2 * RAMP), (Scale("score", 2.0, signed=True), 4 * RAMP - 2)):
        bar = scale.colour_bar()(np.linspace(0, 1, 101))[:, :3]
        grey = np.full(RAMP.shape, bar[0 if not scale.signed else 50].mean(), dtype=np.float32)
        assert overlay(grey, values.astype(np.float32), scale)[0] == pytest.approx(bar, abs=0.02)


def test_scale_runs_from_zero_to_the_largest_value_of_all_maps() -> None:
    scale = Scale.over([np.float32([[0.1, 0.2]]), np.float32([[0.7]])], "bits/pixel")
    assert (scale.bottom, scale.top, scale.extend, scale.label) == (0, pytest.approx(0.7), "neither", "bits/pixel")


def test_scale_of_signed_maps_is_symmetric() -> None:
    scale = Scale.over([np.float32([[-3, 1]])], "score")
    assert (scale.bottom, scale.top, scale.signed) == (-3, 3, True)


def test_scale_of_a_signed_method_reaches_below_zero_without_such_values() -> None:
    values = np.array([0.1, 0.5], dtype=np.float32)
    assert Scale.over([values], "score", signed=True).bottom == -0.5
    assert Scale.over([values], "score").bottom == 0
    assert Scale.over([values], "score", vmax=0.3, signed=True).extend == "max"


def test_rounding_below_zero_is_no_sign() -> None:
    scale = Scale.over([np.float32([[-1e-9, 1]])], "bits/pixel")
    assert not scale.signed
    assert overlay(np.zeros((1, 1), np.float32), np.float32([[-1e-9]]), scale).max() == 0


def test_percentile_ends_the_scale_and_says_so() -> None:
    values = np.arange(101, dtype=np.float32)[None]
    scale = Scale.over([values], "score", percentile=90)
    assert (scale.top, scale.extend, scale.label) == (90, "max", "score (ends at 90th percentile)")
    both = Scale.over([values - 50], "score", percentile=50)
    assert (both.extend, both.top) == ("both", pytest.approx(25, abs=0.5))
    assert Scale.over([-values], "score", percentile=90).extend == "min"
    assert Scale.over([values], "score", percentile=100).label == "score"


def test_percentile_that_is_zero_does_not_hide_a_sparse_map() -> None:
    values = np.zeros((10, 10), dtype=np.float32)
    values[0, 0] = 5
    assert Scale.over([values], "score", percentile=90).top == 5


@pytest.mark.parametrize(
    ("number", "name"), [(1, "1st"), (2, "2nd"), (11, "11th"), (93, "93rd"), (99, "99th"), (99.5, "99.5th")]
)
def test_percentiles_are_named(number: float, name: str) -> None:
    values = np.arange(1, 1001, dtype=np.float32)[None]
    assert f"at {name} percentile" in Scale.over([values], "score", percentile=number).label


def test_given_end_is_kept() -> None:
    assert Scale.over([np.float32([[5]])], "score", vmax=2).extend == "max"
    assert Scale.over([np.float32([[1]])], "score", vmax=2).top == 2
    assert Scale.over([np.float32([[0]])], "score").top == 1
