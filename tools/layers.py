"""Print docs/layers.md: the layer that bitlens takes by default in the architectures that people use.

    python tools/layers.py > docs/layers.md

Networks have random weights, nothing is downloaded: the layer follows from what the modules put out, not from the weights.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import torch
from PIL import Image
from torch import nn

import bitlens
from bitlens.errors import BitlensError, LayerError
from bitlens.probe import Probe
from supported import loaded_of

HEADER = """# The layer of each architecture

Printed by `python tools/layers.py`, with random weights: which layer `bitlens.explain` and `bitlens explain` take where none is
named, for one square image of the size given. It is the last at about 1/8 of the resolution (at 1/4 or 1/16 if something goes
round each layer there, at the nearest if none is there), or an early block where patches are tokens
([why](layer_and_beta.md#the-layer)). *Grid* is how many places of the image the layer tells apart; a map was made at
each of these layers.

`bitlens.default_layer(model, images)` says it for a network of yours, `bitlens grid` shows others beside it, and `layer="…"`
takes any module by its dotted name.
"""
TORCHVISION = """
alexnet convnext_tiny densenet121 efficientnet_b0 googlenet inception_v3 mnasnet1_0 mobilenet_v2 mobilenet_v3_small
regnet_y_400mf resnet18 resnet50 shufflenet_v2_x1_0 squeezenet1_1 swin_t vgg16 vit_b_32
"""
TIMM = """
convnext_atto deit_tiny_patch16_224 dla34 edgenext_xx_small efficientnet_b0 hrnet_w18_small levit_128s mixer_s32_224 mobilevit_xxs
poolformerv2_s12 pvt_v2_b0 resnest14d tiny_vit_5m_224 vit_tiny_patch16_224
"""
TRANSFORMERS = """
Beit ConvNext DeiT Dinov2 MobileViT PoolFormer RegNet ResNet Segformer ViT
"""
TEXTS = """
Bert DistilBert Roberta Albert Electra ModernBert GPT2 Llama Qwen2 OPT
"""
"""Built from a configuration, twelve layers deep."""
_SMALL = {
    "vocab_size": 30,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 12,
    "pad_token_id": 0,
}
_NARROW = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2}
_OTHER_NAMES = {
    "DistilBert": {"dim": 16, "hidden_dim": 16, "n_heads": 2, "n_layers": 12},
    "GPT2": {"n_embd": 16, "n_head": 2, "n_layer": 12},
    "Llama": {"num_key_value_heads": 2},
    "Qwen2": {"num_key_value_heads": 2},
    "OPT": {"word_embed_proj_dim": 16, "ffn_dim": 16},
    "Albert": {"embedding_size": 16},
}


def of_text(name: str) -> str:
    """Return the line of a network for texts."""
    library = import_module("transformers")
    config = getattr(library, f"{name}Config")(**{**_SMALL, **_OTHER_NAMES.get(name, {})})
    model = getattr(library, f"{name}ForSequenceClassification")(config).eval()
    made: Any = bitlens.method("token-iba", loaded_of(model))
    layers: tuple[str, ...] = made.layers
    stem = layers[0].rstrip("0123456789")
    return (
        f"| `{name}ForSequenceClassification` | `{stem}N` | {', '.join(layer.removeprefix(stem) for layer in layers)} |"
    )


def row(name: str, model: nn.Module, layer: str, size: int) -> str:
    """Return a line of the table, once a map was made at the layer: what goes round it is found then."""
    image = torch.rand(1, 3, size, size)
    probe = Probe(model, layer)
    layout = probe.geometry(image).layout
    grid = " × ".join(str(side) for side in layout.grid(tuple(probe.features(image).shape[1:])))
    try:
        bitlens.IBA(model, layer, beta=1.0, steps=1, noise_samples=1).explain(image, 0, evidence_samples=0)
    except BitlensError as error:
        if "goes round" not in str(error):
            return _none(name)
        return f"| `{name}` | name one: something goes round `{layer}` | {grid} | {size} |"
    return f"| `{name}` | `{layer}` | {grid} | {size} |"


def _none(name: str) -> str:
    return f"| `{name}` | name one: none suits by default | | |"


def of_library(name: str) -> str:
    """Return the line of a network that `load_model` knows."""
    loaded = bitlens.load_model(f"{name}@random")
    size = loaded.preprocess(Image.new("RGB", (256, 256), "grey")).shape[-1]
    return row(name, loaded.model, bitlens.default_layer(loaded), size)


def of_transformers(name: str) -> str:
    """Return the line of a network of transformers, built from its own default configuration."""
    library = import_module("transformers")
    small = _NARROW if name in ("Beit", "DeiT", "Dinov2", "ViT") else {}
    model = getattr(library, f"{name}ForImageClassification")(getattr(library, f"{name}Config")(**small)).eval()
    size = getattr(model.config, "image_size", 224)
    layer = bitlens.default_layer(model, torch.rand(1, 3, size, size))
    return row(f"{name}ForImageClassification", model, layer, size)


def _safely(make: Callable[[str], str], name: str) -> str:
    """Return a line, which says so where no layer suits."""
    try:
        return make(name)
    except LayerError:
        return _none(name)


def lines() -> Iterator[str]:
    """Yield the page line by line, as soon as each is known."""
    torch.manual_seed(0)
    yield HEADER
    tables = (
        ("torchvision", of_library, [f"torchvision/{name}" for name in TORCHVISION.split()]),
        ("timm", of_library, [f"timm/{name}" for name in TIMM.split()]),
        ("Hugging Face transformers", of_transformers, TRANSFORMERS.split()),
    )
    for title, make, names in tables:
        yield from (f"## {title}", "", "| network | layer | grid | side of the image |", "|---|---|---|---|")
        for name in names:
            yield _safely(make, name)
        yield ""
    yield from (
        "## Texts",
        "",
        "Maps of texts are means over several layers, here of twelve ([why](transformers.md)).",
        "",
    )
    yield from ("| network | layers | N |", "|---|---|---|", *map(of_text, TEXTS.split()))


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
