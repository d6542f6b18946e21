"""Small networks that come with bitlens, weights included: `builtin/NAME`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from bitlens.bottlenecks.token_statistics import TokenStatistics
from bitlens.data.scenes import CLASSES
from bitlens.data.words import WordTokenizer
from bitlens.models.builtin import reviews, scenes, scenes_vit

__all__ = ["BUILTIN", "BUILTIN_TEXT", "Builtin", "BuiltinText"]


@dataclass(frozen=True)
class Builtin:
    """A network that comes with bitlens.

    Attributes:
        build: gives the network in evaluation mode and its preprocessing.
        classes: the names of its outputs, in their order.
        layer: where a bottleneck belongs unless the user says otherwise.
        beta: its price of information by default. The papers' 10 is for ImageNet networks with far more features.
        readout: the file of a readout that was trained for it; None where there is none.
        learns_from: the data set that methods learn from unless the user names another.
    """

    build: Callable[[], tuple[nn.Module, Callable[..., Any]]]
    classes: tuple[str, ...]
    layer: str
    beta: float
    readout: Path | None = None
    learns_from: str = "builtin:scenes-train"


BUILTIN: dict[str, Builtin] = {
    "scenes": Builtin(scenes.scenes, CLASSES, scenes.LAYER, beta=1.0, readout=scenes.READOUT),
    "scenes-vit": Builtin(scenes_vit.scenes_vit, CLASSES, scenes_vit.LAYER, beta=3.0),
}


@dataclass(frozen=True)
class BuiltinText:
    """A network for texts that comes with bitlens.

    Attributes:
        build: gives the network in evaluation mode and its tokenizer.
        classes: the names of its outputs, in their order.
        layer: where a bottleneck belongs unless the user says otherwise.
        beta: its price of information unless the user says otherwise.
        statistics: gives those of its layers, by name.
    """

    build: Callable[[], tuple[nn.Module, WordTokenizer]]
    classes: tuple[str, ...]
    layer: str
    beta: float
    statistics: Callable[[], Mapping[str, TokenStatistics]]


BUILTIN_TEXT: dict[str, BuiltinText] = {
    "reviews": BuiltinText(reviews.reviews, ("negative", "positive"), reviews.LAYER, 3.0, reviews.bundled_statistics)
}
