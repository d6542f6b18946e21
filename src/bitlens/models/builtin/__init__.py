"""Small networks that come with bitlens, weights included: `builtin/NAME`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from bitlens.data.scenes import CLASSES
from bitlens.models.builtin import scenes

__all__ = ["BUILTIN", "Builtin"]


@dataclass(frozen=True)
class Builtin:
    """A network that comes with bitlens.

    Attributes:
        build: gives the network in evaluation mode and its preprocessing.
        classes: the names of its outputs, in their order.
        layer: where a bottleneck belongs unless the user says otherwise.
        beta: its price of information, likewise. The papers' 10 is for ImageNet networks with far more features.
    """

    build: Callable[[], tuple[nn.Module, Callable[..., Any]]]
    classes: tuple[str, ...]
    layer: str
    beta: float


BUILTIN: dict[str, Builtin] = {"scenes": Builtin(scenes.scenes, CLASSES, scenes.LAYER, beta=1.0)}
