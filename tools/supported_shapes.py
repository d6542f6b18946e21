"""The table of docs/supported.md that says which method takes which kind of input; every cell is tried.

Each network is decided by what stands at one place, which every map must find; the order that knows nothing is only made.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import bitlens
from bitlens.core.attribution import Attribution
from bitlens.core.places import Places
from bitlens.methods import METHODS
from bitlens.probe.following import prepared
from bitlens.training.settings import TrainingSettings
from planted_networks import PLANTED, Axes, Decided, Place


class Table(nn.Module):
    """A perceptron for rows of twelve features, of which two decide; behind its first layer each feature is still itself."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.mix, self.head = nn.Identity(), nn.Linear(2, 16), nn.Linear(16, 8)
        for layer in (self.mix, self.head):
            layer.weight.data *= 3
            layer.bias.data.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 8)."""
        logits: Tensor = self.head(self.mix(self.features(x)[:, 5:7]).relu())
        return logits


def _turned() -> nn.Module:
    layers = nn.Sequential(Axes(0, 2, 1), nn.Conv1d(2, 12, 5, padding=2), nn.ReLU())
    return Decided(layers, (slice(None), slice(40, 48)), (64, 2))


def _series() -> nn.Module:
    layers = nn.Sequential(nn.Conv1d(2, 12, 5, padding=2), nn.ReLU())
    return Decided(layers, (slice(None), slice(40, 48)), (2, 64))


def _image() -> nn.Module:
    layers = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU())
    return Decided(layers, (slice(None), slice(5, 6), slice(2, 3)), (3, 32, 32))


@dataclass(frozen=True)
class Shape:
    """One column: a kind of input, and a network for it.

    Attributes:
        name: of the column.
        make: builds the network; its layer is `features`.
        size: of one input.
        decisive: where it decides.
    """

    name: str
    make: Callable[[], nn.Module]
    size: tuple[int, ...]
    decisive: Place

    def network(self) -> nn.Module:
        """Build it, always the same."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.make().eval()

    def places(self) -> Places:
        """Return the places of its inputs, as the network tells them."""
        return prepared(self.network(), self.ordinary(1)).placed("the table")

    def inputs(self) -> Tensor:
        """Draw one input that is quiet but for what decides."""
        places = self.places()
        loud = places.first(self.ordinary(1, seed=1))
        quiet, where = 0.05 * loud, (slice(None), slice(None), *self.decisive)
        quiet[where] = loud[where]
        return places.back(quiet)

    def ordinary(self, count: int, seed: int = 5) -> Tensor:
        """Draw inputs that are as loud everywhere, to learn from."""
        return torch.randn(count, *self.size, generator=torch.Generator().manual_seed(seed))


_VOLUME = next(planted for planted in PLANTED if planted.kind.startswith("Conv3d"))

SHAPES = (
    Shape("images (N, C, H, W)", _image, (3, 32, 32), (slice(20, 24), slice(8, 12))),
    Shape("series (N, C, T)", _series, (2, 64), (slice(38, 50),)),
    Shape("series (N, T, C)", _turned, (64, 2), (slice(38, 50),)),
    Shape("volumes (N, C, D, H, W)", _VOLUME.make, (1, 8, 16, 16), (slice(4, 6), slice(10, 12), slice(6, 8))),
    Shape("tables (N, D)", Table, (12,), (slice(5, 7),)),
)

_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "extremal-perturbation": {"areas": 0.1, "flip": False},
    "rise": {"samples": 2000},
    "input-iba": {"keep": 0.9},
    "iba": {"keep": 0.9},
}
_BLIND = ("random", "centre", "edges", "constant")
_ANYWHERE = (*_BLIND, "readout", "lrp-alpha0-beta-1-eps5", "extremal-perturbation")
"""Four know nothing, one was hardly taught; one is zero where no product is negative, one is 1 at many places."""

_COARSE = (
    *("iba", "input-iba", "grad-cam", "layer-cam", "guided-grad-cam", "occlusion-8"),
    *("rise", "lime", "kernel-shap"),
)
"""What has cells, masks or windows of several places, and cannot tell those apart."""


def tried(name: str, shape: Shape) -> Attribution:
    """Explain one input of a kind by a method; what it must learn it learns on inputs like it."""
    entry = METHODS["image"][name]
    settings = dict(_SETTINGS.get(name, {}))
    if name == "input-iba" and shape.name.startswith("tables"):
        settings = {
            "prior": "none",
            "beta_input": 0.3,
        }  # β weighs a mean over values: where there are few, each is dear
    takes_layer = entry.needs_layer or "cam" in name
    made: Any = bitlens.method(name, shape.network(), **({"layer": "features"} if takes_layer else {}), **settings)
    batch = shape.ordinary(64)
    if entry.learns == "statistics" and settings.get("prior") != "none":
        made.fit_statistics([batch], granularity="channel")
    if entry.learns == "patterns":
        made.fit_patterns([batch])
    if entry.learns == "weights":
        made.fit_weights([(batch, torch.arange(64) % 8)], TrainingSettings(epochs=1, batch=16, held_out=0.0))
    found: Attribution = made.explain(shape.inputs())
    return found


def decisive(name: str, shape: Shape) -> Place | None:
    """Say where the largest value of a map may lie; None where it may lie anywhere."""
    if name in _ANYWHERE:
        return None
    places = shape.places()
    if places.unordered:
        return shape.decisive
    coarse = 13 if name == "occlusion-14" else 7 if name in _COARSE else 1
    return tuple(slice(max(part.start - coarse, 0), part.stop + coarse) for part in shape.decisive)


@dataclass(frozen=True)
class MethodRow:
    """One row: a method.

    Attributes:
        name: of the method.
        advice: on which networks it works.
    """

    name: str
    advice: str


METHOD_ROWS = [MethodRow(name, entry.supports) for name, entry in METHODS["image"].items()]
