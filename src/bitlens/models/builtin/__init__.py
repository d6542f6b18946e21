"""Small networks that come with bitlens, weights included: `builtin/NAME`. Their list does not wait for torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitlens.data.kinds import Form

if TYPE_CHECKING:
    from torch import nn

    from bitlens.bottlenecks.token_statistics import TokenStatistics
    from bitlens.data.words import WordTokenizer

__all__ = ["BUILTIN", "BUILTIN_LANGUAGE", "BUILTIN_TEXT", "Builtin", "BuiltinText"]

_SHAPES = ("arrow", "crescent", "cross", "drop", "flower", "heart", "ring", "square", "star", "triangle")
_READOUT = Path(__file__).with_name("scenes_readout.safetensors")


def _in_file(file: str, function: str) -> Callable[[], Any]:
    """Return a function that calls one of a file of this folder, which is imported only then."""

    def call() -> Any:
        return getattr(import_module(f"{__name__}.{file}"), function)()

    return call


@dataclass(frozen=True)
class Builtin:
    """A network that comes with bitlens.

    Attributes:
        build: gives the network in evaluation mode and its preprocessing.
        classes: the names of its outputs, in their order.
        layer: where a bottleneck belongs unless the user says otherwise.
        parameters: how many.
        beta: its price of information by default. The papers' 10 is for ImageNet networks with far more features.
        readout: the file of a readout that was trained for it; None where there is none.
        learns_from: the data set that methods learn from unless the user names another.
        form: what it reads.
    """

    build: "Callable[[], tuple[nn.Module, Callable[..., Any]]]"
    classes: tuple[str, ...]
    layer: str
    parameters: int
    beta: float
    readout: Path | None = None
    learns_from: str = "builtin:scenes-train"
    form: Form = "photo"


def _planted(name: str, form: Form, classes: tuple[str, ...], layer: str, parameters: int) -> Builtin:
    """Describe a network for generated inputs of another form."""
    learns_from = f"builtin:{name}-train"
    return Builtin(_in_file(name, name), classes, layer, parameters, beta=1.0, learns_from=learns_from, form=form)


BUILTIN: dict[str, Builtin] = {
    "scenes": Builtin(_in_file("scenes", "scenes"), _SHAPES, "layer2", 968_986, beta=1.0, readout=_READOUT),
    "scenes-vit": Builtin(_in_file("scenes_vit", "scenes_vit"), _SHAPES, "blocks.0", 506_618, beta=3.0),
    "signals": _planted("signals", "signal", ("rising", "falling", "pressed", "stretched"), "layer2", 34_196),
    "volumes": _planted("volumes", "volume", ("ball", "cube", "ring", "cross"), "layer1", 121_236),
    "table": _planted("table", "table", ("sound", "worn bearing", "leak", "worn bearing and leak"), "scaled", 1_860),
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

    build: "Callable[[], tuple[nn.Module, WordTokenizer]]"
    classes: tuple[str, ...]
    layer: str
    beta: float
    statistics: "Callable[[], Mapping[str, TokenStatistics]]"


BUILTIN_TEXT: dict[str, BuiltinText] = {
    "reviews": BuiltinText(
        _in_file("reviews", "reviews"),
        ("negative", "positive"),
        "embedding",
        3.0,
        _in_file("reviews", "bundled_statistics"),
    )
}

BUILTIN_LANGUAGE: "dict[str, Callable[[], tuple[nn.Module, WordTokenizer]]]" = {
    "recall": _in_file("recall", "recall"),
    "recall-trained": _in_file("recall_trained", "recall_trained"),
}
"""Language models that come with bitlens, and their tokenizers."""
