"""What a network reads."""

from typing import Literal

Kind = Literal["image", "text"]
"""Which list of methods and metrics applies: that for inputs with places, photos above all, or that for texts."""

Form = Literal["photo", "signal", "volume", "table", "file"]
"""What an input with places is: (C, H, W), (C, T), (C, D, H, W), or a row (D,) of which each feature is a place; or a file that a
preprocessing reads itself, which may hold any of them."""
