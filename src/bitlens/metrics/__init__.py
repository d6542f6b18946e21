"""Whether a map is right: pure functions, batched, on the device of what they are given."""

from bitlens.metrics.localization import bounding_box_ratio

__all__ = ["bounding_box_ratio"]
