"""Print docs/supported.md: which kinds of network each family of methods explains, refuses, or explains with a warning.

    python tools/supported.py > docs/supported.md

Every cell is tried. The networks are small and their decisive places are known (tools/planted_networks.py): a map whose
largest value lies elsewhere ends the command. Sentences are those that a user reads, numbers left out.
"""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

import bitlens
from bitlens.bottlenecks.tokens import TokenIBA
from bitlens.core.attribution import Attribution
from bitlens.errors import BitlensError, BitlensWarning
from bitlens.models.load_text import described, word_embedding
from bitlens.models.loaded import Loaded
from bitlens.training.settings import TrainingSettings
from planted_networks import Place, inside, peak
from supported_kinds import Kind, image_kinds, text_kinds
from supported_shapes import METHOD_ROWS, SHAPES, MethodRow, Shape, decisive, tried

HEADER = """# What is supported

Printed by `python tools/supported.py`, which tries every cell on a small network whose decisive place is known; a test checks
that this page is what it prints. How features lie, what goes round a layer, what the output is and which arguments follow the
samples is read from modules or measured, with a few passes the first time ([what they cost](speed.md)); where neither tells,
one sentence says what to do.

- **works**: the map is largest where the network decides, or, where every place decides, there is a map. A readout reads what
  stands at a place and not where that is: it is taught, and its map looked at, in the rows of marks that may lie anywhere. So
  are `random`, which knows nothing, extremal masks, which are 1 at many places, and `lrp-alpha0-beta-1-eps5`, whose map is zero
  where no product is negative.
- **works, warns**: the same, and the numbered sentence is said.
- **refused**: the numbered sentence says why and what to do. Nothing is explained by guessing.
"""


_FEW = 1000
"""Values of an input, in a hundred times as many of which a photo's price is at home."""


def _labels(inputs: Any) -> Tensor:
    first = (
        inputs if isinstance(inputs, Tensor) else next(iter(inputs.values() if isinstance(inputs, dict) else inputs))
    )
    return torch.arange(len(first)) % 2


def bottleneck(kind: Kind) -> tuple[Attribution, Place | None]:
    """Explain with IBA; a map that is not drawn over the image has the layer's own places."""
    made = bitlens.IBA(kind.make(), kind.layer, smoothing=0.0, output=kind.output)
    return made.fit_statistics([kind.learn], granularity="channel").explain(kind.inputs), kind.decisive


def readout(kind: Kind) -> tuple[Attribution, Place | None]:
    """Explain with a readout that learnt where marks matter; elsewhere one that was hardly taught: it shows that one can be."""
    if kind.taught is not None:
        return kind.taught().explain(kind.inputs), kind.decisive
    made = bitlens.ReadoutIBA(kind.make(), kind.layer, output=kind.output)
    batch = (*kind.learn, _labels(kind.learn)) if isinstance(kind.learn, tuple) else (kind.learn, _labels(kind.learn))
    made.fit_weights([batch], TrainingSettings(epochs=1, batch=4, held_out=0.0))
    return made.explain(kind.inputs), None


def at_input(kind: Kind) -> tuple[Attribution, Place | None]:
    """Explain with InputIBA."""
    few = isinstance(kind.inputs, Tensor) and kind.inputs[0].numel() < _FEW
    price = {"beta_input": 1.0} if few else {}  # β weighs a mean over values: where there are few, each is dear
    made: Any = bitlens.method("input-iba", kind.make(), layer=kind.layer, output=kind.output, **price)
    found = made.fit_statistics([kind.learn], granularity="channel").explain(kind.inputs)
    return found, _wider(kind.pixels, 4)


def activations(kind: Kind) -> tuple[Attribution, Place | None]:
    """Explain with Layer-CAM."""
    return _plain("layer-cam", kind, layer=kind.layer)[0], kind.decisive


def covered(kind: Kind) -> tuple[Attribution, Place | None]:
    """Explain by occlusion."""
    return _plain("occlusion-8", kind)[0], _wider(kind.pixels, 7)


def slopes(kind: Kind) -> tuple[Attribution, Place | None]:
    """Explain with integrated gradients."""
    return _plain("integrated-gradients", kind, steps=16)


def _plain(name: str, kind: Kind, **settings: Any) -> tuple[Attribution, Place | None]:
    made = bitlens.method(name, kind.make(), output=kind.output, **settings)
    return made.explain(kind.inputs), kind.pixels


def _wider(place: Place | None, by: int) -> Place | None:
    return place and tuple(slice(max(part.start - by, 0), part.stop + by) for part in place)


FAMILIES: dict[str, Callable[[Kind], tuple[Attribution, Place | None]]] = {
    "IBA": bottleneck,
    "Readout": readout,
    "InputIBA": at_input,
    "Grad-CAM, Layer-CAM": activations,
    "occlusion and other changes": covered,
    "gradients": slopes,
}


def by_words(kind: Kind) -> tuple[Attribution, Place | None]:
    """Explain a text with IBA on tokens."""
    network = kind.make()
    layer = kind.layer or word_embedding(network)
    return TokenIBA(network, layer).fit_statistics([kind.learn]).explain(kind.inputs), None


def loaded_of(network: nn.Module) -> Loaded:
    """Return a network for texts with a tokenizer of 26 words."""
    return described(network, _tokenizer())


def _text(name: str, kind: Kind) -> tuple[Attribution, Place | None]:
    loaded = loaded_of(kind.make())
    return bitlens.method(name, loaded).explain(loaded.tokenizer(["w4 w5 w6 w7 w8 w9"])), None


TEXT_FAMILIES: dict[str, Callable[[Kind], tuple[Attribution, Place | None]]] = {
    "IBA": by_words,
    "occlusion and other changes": partial(_text, "occlusion"),
    "gradients": partial(_text, "integrated-gradients"),
}


def _tokenizer() -> Any:
    transformers: Any = import_module("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {"[PAD]": 0, "[UNK]": 1, "[BOS]": 2, "[EOS]": 29, **{f"w{i}": i for i in range(3, 29)}}
    own = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    own.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    own.post_processor = processors.TemplateProcessing(single="$A [EOS]", special_tokens=[("[EOS]", 29)])
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "eos_token": "[EOS]"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=own, model_input_names=["input_ids", "attention_mask"], model_max_length=32, **names
    )


def _by_method(shape: Shape, row: MethodRow) -> tuple[Attribution, Place | None]:
    return tried(row.name, shape), decisive(row.name, shape)


BY_SHAPE = {shape.name: partial(_by_method, shape) for shape in SHAPES}


class Row(Protocol):
    """What begins and ends a row."""

    @property
    def name(self) -> str:
        """What is tried."""

    @property
    def advice(self) -> str:
        """What is said of it at the end."""


RowT = TypeVar("RowT", bound=Row)


def _cell(kind: RowT, family: Callable[[RowT], tuple[Attribution, Place | None]], notes: dict[str, int]) -> str:
    """Try one kind by one family.

    Raises:
        AssertionError: if a map is largest where nothing decides.
    """
    said: list[str] = []
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            found, decisive = family(kind)
        except BitlensError as error:
            said.append(str(error))
            return "refused " + _numbered(said, notes)
    values = found.map[0].abs()
    if decisive is not None and not inside(peak(values), decisive):
        raise AssertionError(f"{kind.name}: the map of {found.method} is largest at {peak(values)}, not in {decisive}")
    texts = [str(one.message) for one in heard if issubclass(one.category, BitlensWarning)]
    said = [text for text in texts if "statistics" not in text.split(":")[0]]
    return "works, warns " + _numbered(said, notes) if said else "works"


def _without_numbers(text: str) -> str:
    """Return a sentence as it reads for every method of a family, and on every machine."""
    text = re.sub(r"^[\w-]+ needs (images|a vision)", r"the method needs \1", text)
    text = re.sub(r"(a tensor|got) \(\d+, ", r"\1 (N, ", text)
    return re.sub(r"\bshows [\d.e-]+", "shows some", re.sub(r"\d+(\.\d+)?%", "…%", text))


def _numbered(said: Sequence[str], notes: dict[str, int]) -> str:
    plain = [_without_numbers(text) for text in said]
    return ", ".join(dict.fromkeys(str(notes.setdefault(text, len(notes) + 1)) for text in plain))


def _table(
    title: str,
    kinds: Sequence[RowT],
    families: Mapping[str, Callable[[RowT], tuple[Attribution, Place | None]]],
    ends: tuple[str, str] = ("network", "what to do"),
) -> str:
    notes: dict[str, int] = {}
    lines = [f"## {title}\n", f"| {ends[0]} | {' | '.join(families)} | {ends[1]} |", "|---" * (len(families) + 2) + "|"]
    for kind in kinds:
        cells = [_cell(kind, family, notes) for family in families.values()]
        lines.append(f"| {kind.name} | {' | '.join(cells)} | {kind.advice} |")
    lines += ["", *(f"{number}. {text}" for text, number in notes.items())]
    return "\n".join(lines)


def page() -> str:
    """Return the page."""
    parts = (
        _table("Images, series and volumes", image_kinds(), FAMILIES),
        _table("Texts", text_kinds(), TEXT_FAMILIES),
        _table("Methods by kind of input", METHOD_ROWS, BY_SHAPE, ("method", "networks")),
    )
    return "\n\n".join((HEADER.rstrip(), *parts)) + "\n"


if __name__ == "__main__":
    print(page(), end="")
