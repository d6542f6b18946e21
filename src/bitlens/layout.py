"""How the axes of one sample's features are meant: which one counts channels, which ones are places."""

import math
from dataclasses import dataclass

from bitlens.errors import LayerError

__all__ = ["LAYOUTS", "Layout", "detect_layout"]


@dataclass(frozen=True)
class Layout:
    """Axes of one sample's features (the samples' axis not counted).

    Attributes:
        name: "CHW", "HWC", "TD" (tokens, hidden units) or "D".
        channel: the axis of channels, hidden units or features.
        places: the axes of positions: two for images, one for tokens, none for vectors.
    """

    name: str
    channel: int
    places: tuple[int, ...]

    def grid(self, features: tuple[int, ...]) -> tuple[int, ...]:
        """How many positions there are along each place axis: (H, W), (T,) or ()."""
        return tuple(features[axis] for axis in self.places)


LAYOUTS = {
    layout.name: layout
    for layout in (Layout("CHW", 0, (1, 2)), Layout("HWC", 2, (0, 1)), Layout("TD", 1, (0,)), Layout("D", 0, ()))
}


def detect_layout(features: tuple[int, ...], image_size: tuple[int, int] | None = None) -> Layout:
    """The layout that the shape of one sample's features suggests.

    Three axes are (C, H, W) unless the first two keep the image's proportions and the last two do not (Swin and other
    networks that keep channels last); two axes are tokens; one axis is a vector.

    Raises:
        LayerError: for features without an axis or with more than three.
    """
    if len(features) == 1:
        return LAYOUTS["D"]
    if len(features) == 2:
        return LAYOUTS["TD"]
    if len(features) != 3:
        raise LayerError(f"the layer's features have shape {features} for one sample; 1 to 3 axes can be restricted")
    channels_last = image_size is not None and _distortion(features[:2], image_size) < _distortion(
        features[1:], image_size
    )
    return LAYOUTS["HWC" if channels_last else "CHW"]


def _distortion(grid: tuple[int, ...], image_size: tuple[int, int]) -> float:
    """How far a grid is from the proportions of the image, in e-folds; rounding of odd sizes counts as none."""
    height, width = image_size
    difference = abs(math.log(grid[0] * width / (grid[1] * height)))
    return max(difference - 1.0 / min(grid), 0.0)
