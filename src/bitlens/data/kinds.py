"""What a network reads: images or texts."""

from typing import Literal

Kind = Literal["image", "text"]
