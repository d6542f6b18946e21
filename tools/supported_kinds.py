"""The rows of docs/supported.md: kinds of network, and how each is asked."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from planted_marks import MARKED, Marked, taught
from planted_networks import PLANTED, Place, Planted
from planted_paths import Dense, Dropping, Glance, Mixing, Residual, Told, UNet, bart, seeded, t5


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
        taught: trains a readout that finds the decisive place, if one can.
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
    taught: Callable[[], Any] | None = None

    @classmethod
    def seeking(cls, marked: Marked) -> "Kind":
        """Make a row of a network that looks for a mark."""
        inputs, _, places = marked.draw(1, seed=9)
        learn, place = marked.draw(128, seed=1)[0], places[0][0]
        advice = "nothing to say; readouts find the mark"
        return cls(
            marked.kind,
            marked.network,
            "features",
            inputs,
            learn,
            advice,
            place,
            place,
            taught=partial(taught, marked),
        )

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


def image_kinds() -> list[Kind]:
    """Return the rows of images, series and volumes."""
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
        *map(Kind.seeking, MARKED),
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


def text_kinds() -> list[Kind]:
    """Return the rows of texts."""
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
