"""Print docs/supported.md: which kinds of network each family of methods explains, refuses, or explains with a warning.

    python tools/supported.py > docs/supported.md

Every cell is tried. The networks are small and their decisive places are known (tools/planted_networks.py): a map whose
largest value lies elsewhere ends the command. Sentences are those that a user reads, numbers left out.
"""

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

import bitlens
from bitlens.bottlenecks.tokens import TokenIBA
from bitlens.core.attribution import Attribution
from bitlens.errors import BitlensError, BitlensWarning
from bitlens.models.load_text import described, word_embedding
from bitlens.models.loaded import Loaded
from bitlens.training.settings import TrainingSettings
from planted_networks import PLANTED, Place, Planted, inside, peak
from planted_paths import Dense, Dropping, Glance, Mixing, Residual, Told, UNet, bart, seeded, t5

HEADER = """# What is supported

Printed by `python tools/supported.py`, which tries every cell on a small network whose decisive place is known; a test checks
that this page is what it prints. How features lie, what goes round a layer, what the output is and which arguments follow the
samples is read from modules or measured, with a few passes the first time ([what they cost](speed.md)); where neither tells,
one sentence says what to do.

- **works**: the map is largest where the network decides, or, where every place decides, there is a map.
- **works, warns**: the same, and the numbered sentence is said.
- **refused**: the numbered sentence says why and what to do. Nothing is explained by guessing.
"""


@dataclass(frozen=True)
class Kind:
    """One row: a kind of network, and how it is asked.

    Attributes:
        name: of the row.
        make: builds the network.
        layer: that methods which need one look at.
        inputs: what is explained.
        learn: what methods learn from.
        advice: what to do.
        decisive: where maps of the layer are largest, if the network says so.
        pixels: where maps of pixels are.
        output: what the user says of it.
    """

    name: str
    make: Callable[[], nn.Module]
    layer: str
    inputs: Any
    learn: Any
    advice: str = ""
    decisive: Place | None = None
    pixels: Place | None = None
    output: Any = None

    @classmethod
    def of(cls, planted: Planted, advice: str) -> "Kind":
        """Make a row of a planted network."""
        learn = planted.ordinary(4 if max(planted.size) > 100 else 32)
        return cls(
            planted.kind,
            planted.network,
            planted.layer,
            planted.inputs(),
            learn,
            advice,
            planted.decisive,
            planted.pixels,
        )


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
    """Explain with a readout that was hardly taught: it shows that one can be."""
    made = bitlens.ReadoutIBA(kind.make(), kind.layer, output=kind.output)
    batch = (*kind.learn, _labels(kind.learn)) if isinstance(kind.learn, tuple) else (kind.learn, _labels(kind.learn))
    made.fit_weights([batch], TrainingSettings(epochs=1, batch=4, held_out=0.0))
    return made.explain(kind.inputs), None


def at_input(kind: Kind) -> tuple[Attribution, Place | None]:
    """Explain with InputIBA."""
    made: Any = bitlens.method("input-iba", kind.make(), layer=kind.layer, output=kind.output)
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


def _of_config(name: str, **changes: Any) -> nn.Module:
    transformers: Any = import_module("transformers")

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    given = {"vocab_size": 30, "num_labels": 2, "pad_token_id": 0, "eos_token_id": 29, **sizes, **changes}
    config = getattr(transformers, f"{name}Config")(**given)
    return seeded(getattr(transformers, f"{name}ForSequenceClassification"), config)


class Behind(nn.Module):
    """A function of what a small network gives."""

    def __init__(self, columns: int, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        layers = (nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
        self.within = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, columns))
        self.function = function

    def forward(self, x: Tensor) -> Any:
        """Return the function's value."""
        return self.function(self.within(x))


def _kinds() -> list[Kind]:
    advice = {
        "Conv1d": "nothing to say; maps (N, T)",
        "Conv2d": "nothing to say",
        "channels": "nothing to say",
        "patches of": "nothing to say",
        "patches in": "nothing to say; a readout needs another layer",
        "LSTM": "places are steps: explain with IBA, or look at pixels",
        "queries": "places are queries: explain with IBA, or look at pixels",
        "Conv3d": "nothing to say; maps (N, D, H, W)",
        "the same": "nothing to say",
    }
    rows = [Kind.of(p, next(said for start, said in advice.items() if p.kind.startswith(start))) for p in PLANTED]
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    meta = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))
    layer, choose = "within.2", "choose a layer that nothing goes round, or allow_bypass=True"

    def plain(name: str, make: Callable[[], nn.Module], said: str = "nothing to say", output: Any = None) -> Kind:
        return Kind(name, make, layer, images[:1], images, said, output=output)

    def behind(columns: int, function: Callable[[Tensor], Any]) -> Callable[[], nn.Module]:
        return partial(seeded, Behind, columns, function)

    number = "say output='binary' or output='regression'"
    return [
        *rows,
        plain("dense skip past the layer", partial(seeded, Dense), choose),
        plain("U-Net skip past the layer", partial(seeded, UNet), choose),
        plain("residual branch as the layer", partial(seeded, Residual), "choose the whole block"),
        plain("the input is read again", partial(seeded, Glance), choose),
        Kind(
            *(
                "a table that says the answer",
                partial(seeded, Told, 30.0),
                layer,
                (images[:1], meta[:1]),
                (images, meta),
            ),
            "ask what the image adds, or hold the table fixed",
        ),
        plain("dropout that is never off", partial(seeded, Dropping), "turn it off in evaluation mode"),
        Kind(
            *("batch norm without running statistics", partial(seeded, Mixing), "2", images[:1], images),
            "explain single samples, or keep running statistics",
        ),
        plain("probabilities out (softmax)", behind(3, partial(torch.softmax, dim=1))),
        plain("a probability out (sigmoid, one column)", behind(1, torch.sigmoid)),
        plain("one column of any value", behind(1, lambda x: x * 1.0), number),
        plain("the same, output='regression'", behind(1, lambda x: x * 1.0), output="regression"),
        plain("several tensors out", behind(3, lambda x: (x.tanh(), x)), "say output=1, or its name"),
        plain("the same, output=1", behind(3, lambda x: (x.tanh(), x)), output=1),
    ]


def _text_kinds() -> list[Kind]:
    ids = torch.randint(3, 28, (4, 8), generator=torch.Generator().manual_seed(0))
    ids[:, -1] = 29
    learn = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    one = {name: value[:1] for name, value in learn.items()}
    left = {"input_ids": ids[:1].clone(), "attention_mask": torch.ones_like(ids[:1])}
    left["input_ids"][:, :3], left["attention_mask"][:, :3] = 0, 0
    again = "use methods that look at the text itself, or allow_bypass=True"
    heads = {"num_key_value_heads": 2}
    return [
        Kind("encoder (BERT)", partial(_of_config, "Bert"), "bert.encoder.layer.1", one, learn, "nothing to say"),
        Kind(
            "one block called per layer (ALBERT)",
            partial(_of_config, "Albert", embedding_size=16),
            *("albert.encoder.albert_layer_groups.0.albert_layers.0#1", one, learn, "name a call: `layer#1`"),
        ),
        Kind(
            "decoder, padded left",
            partial(_of_config, "Qwen2", **heads),
            "model.layers.0",
            left,
            learn,
            "nothing to say",
        ),
        Kind("encoder and decoder (BART)", bart, "model.encoder.layers.1", one, learn, again),
        Kind("encoder and decoder (T5)", t5, "transformer.encoder.final_layer_norm", one, learn, again),
    ]


def _cell(kind: Kind, family: Callable[[Kind], tuple[Attribution, Place | None]], notes: dict[str, int]) -> str:
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
    text = re.sub(r"^[\w-]+ needs images", "the method needs images", text)
    text = re.sub(r"(a tensor|got) \(\d+, ", r"\1 (N, ", text)
    return re.sub(r"\bshows [\d.e-]+", "shows some", re.sub(r"\d+(\.\d+)?%", "…%", text))


def _numbered(said: Sequence[str], notes: dict[str, int]) -> str:
    plain = [_without_numbers(text) for text in said]
    return ", ".join(dict.fromkeys(str(notes.setdefault(text, len(notes) + 1)) for text in plain))


def _table(
    title: str, kinds: Sequence[Kind], families: dict[str, Callable[[Kind], tuple[Attribution, Place | None]]]
) -> str:
    notes: dict[str, int] = {}
    lines = [f"## {title}\n", f"| network | {' | '.join(families)} | what to do |", "|---" * (len(families) + 2) + "|"]
    for kind in kinds:
        cells = [_cell(kind, family, notes) for family in families.values()]
        lines.append(f"| {kind.name} | {' | '.join(cells)} | {kind.advice} |")
    lines += ["", *(f"{number}. {text}" for text, number in notes.items())]
    return "\n".join(lines)


def page() -> str:
    """Return the page."""
    images = _table("Images, series and volumes", _kinds(), FAMILIES)
    return f"{HEADER}\n{images}\n\n{_table('Texts', _text_kinds(), TEXT_FAMILIES)}\n"


if __name__ == "__main__":
    print(page(), end="")
