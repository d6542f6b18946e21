"""How the axes of one sample's features are meant: which one counts channels, which ones are places."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from bitlens.errors import LayerError

_MOST_EXTRA = 9
"""Tokens besides patches: a class token and eight registers. With more, sequences that are no image would look like one."""


@dataclass(frozen=True)
class Layout:
    """Axes of one sample's features (the samples' axis not counted).

    Attributes:
        name: "CHW" or "HWC" (images), "TD" (tokens or times, hidden units), "CT" (channels, times), "PD" (tokens that are patches
            of an image, hidden units), "CDHW" or "DHWC" (volumes), or "D" (a vector).
        channel: the axis of channels, hidden units or features.
        places: the axes of positions: three for volumes, two for images, one for tokens and times, none for vectors.
        extra: how many tokens stand before the patches and are no part of the image: class token, registers.
        patches: (h, w), how the tokens behind them lie in the image, row by row, or (t,), that they lie along a series in its
            order; None if they do not, or before the size of the input is known. Layouts for inputs of different sizes are one.
    """

    name: str
    channel: int
    places: tuple[int, ...]
    extra: int = 0
    patches: tuple[int, ...] | None = field(default=None, compare=False)

    @property
    def on_grid(self) -> bool:
        """Return whether positions are cells of a grid: over the image or volume, or along the series."""
        return len(self.places) > 1 or self.patches is not None

    def grid(self, features: tuple[int, ...]) -> tuple[int, ...]:
        """Return how many positions there are along each axis of places: (D, H, W), (H, W), (T,) or ()."""
        return self.patches or tuple(features[axis] for axis in self.places)

    def over(self, features: tuple[int, ...], size: tuple[int, ...] | None) -> "Layout":
        """Return the same for features of an image or series of this size: finds the patches, if there are as many as fill it."""
        if self.name != "PD":
            return self
        if size is None or len(features) != 2:
            return replace(self, patches=None)
        if len(size) == 1:
            return replace(self, patches=(features[0] - self.extra,))
        patches = patch_grid(features[0], (size[0], size[1])) if len(size) == 2 else None
        fits = patches is not None and features[0] - math.prod(patches) == self.extra
        return replace(self, patches=patches if fits else None)


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("CHW", 0, (1, 2)),
        Layout("HWC", 2, (0, 1)),
        Layout("TD", 1, (0,)),
        Layout("CT", 0, (1,)),
        Layout("CDHW", 0, (1, 2, 3)),
        Layout("DHWC", 3, (0, 1, 2)),
        Layout("D", 0, ()),
    )
}
BY_CHANNEL = {(len(layout.places) + 1, layout.channel): layout for layout in LAYOUTS.values()}
"""The layouts by how many axes features have, and which of them counts channels."""


def named_layout(name: str, extra: int = 0) -> Layout:
    """Return one of `LAYOUTS`, or "PD" with so many extra tokens.

    Raises:
        KeyError: if there is none of that name.
    """
    return Layout("PD", 1, (0,), extra) if name == "PD" else LAYOUTS[name]


def detect_layout(features: tuple[int, ...], image_size: tuple[int, int] | None = None) -> Layout:
    """Return the layout that the shape of one sample's features suggests.

    Three axes are (C, H, W) unless the first two keep the image's proportions and the last two do not (Swin and other
    networks that keep channels last); two axes are tokens, patches of the image if as many patches can fill it; one axis
    is a vector.

    Raises:
        LayerError: for features without an axis or with more than three.
    """
    if len(features) == 1:
        return LAYOUTS["D"]
    if len(features) == 2:
        patches = patch_grid(features[0], image_size) if image_size is not None else None
        if patches is None:
            return LAYOUTS["TD"]
        return replace(named_layout("PD", features[0] - math.prod(patches)), patches=patches)
    if len(features) != 3:
        raise LayerError(f"the layer's features have shape {features} for one sample; 1 to 3 axes can be restricted")
    channels_last = image_size is not None and _distortion(features[:2], image_size) < _distortion(
        features[1:], image_size
    )
    return LAYOUTS["HWC" if channels_last else "CHW"]


def _distortion(grid: tuple[int, ...], image_size: tuple[int, int]) -> float:
    """Return how far a grid is from the proportions of the image, in e-folds; rounding of odd sizes counts as none."""
    height, width = image_size
    difference = abs(math.log(grid[0] * width / (grid[1] * height)))
    return max(difference - 1.0 / min(grid), 0.0)


def patch_grid(tokens: int, image_size: tuple[int, int]) -> tuple[int, int] | None:
    """Return how many patches there are up and across, (h, w), when a network makes so many tokens of an image.

    Square patches that fill the image, as many as there can be; if none do, patches over its border are cut off or
    filled up, as networks do with images of odd sizes. What is over (class token, registers) stands first.

    Args:
        tokens: of one image.
        image_size: (height, width) in pixels.

    Returns:
        None if so many are over that the tokens cannot be patches of the image.
    """
    for grids in (_filling, _cut_or_filled_up):
        fitting = [grid for grid in grids(*image_size) if _leaves_few(tokens, grid)]
        if fitting:
            return max(fitting, key=math.prod)
    return None


def _filling(height: int, width: int) -> Iterator[tuple[int, int]]:
    common = math.gcd(height, width)
    return ((height // side, width // side) for side in range(1, common + 1) if common % side == 0)


def _cut_or_filled_up(height: int, width: int) -> Iterator[tuple[int, int]]:
    for side in range(1, min(height, width) + 1):
        yield height // side, width // side
        yield -(-height // side), -(-width // side)


def _leaves_few(tokens: int, grid: tuple[int, int]) -> bool:
    """Return whether the tokens are enough for the grid, and too few for the next larger one."""
    more = tokens - math.prod(grid)
    return min(grid) > 1 and 0 <= more <= _MOST_EXTRA and tokens < (grid[0] + 1) * (grid[1] + 1)
