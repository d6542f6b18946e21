"""Print docs/layers.md: the layer that bitlens takes by default in the architectures that people use.

    python tools/layers.py > docs/layers.md

Networks have random weights, nothing is downloaded: the layer follows from what the modules put out, not from the weights.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

import bitlens
from bitlens.core.inputs import ModelInputs
from bitlens.errors import BitlensError
from bitlens.probe import Probe
from supported import loaded_of

HEADER = """# The layer of each architecture

Printed by `python tools/layers.py`, with random weights: which layer `bitlens.explain` and `bitlens explain` take where none is
named, for one image of the size given. It is the last at about 1/8 of the resolution, or an early block where patches are tokens
([why](layer_and_beta.md#the-layer)). *Grid* is how many places of the image the layer tells apart.

`bitlens.default_layer(model, images)` says it for a network of yours, `bitlens grid` shows others beside it, and `layer="…"`
takes any module by its dotted name.
"""
TORCHVISION = """
alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet1_0
mobilenet_v2 mobilenet_v3_small regnet_y_400mf resnet18 resnet50 resnext50_32x4d shufflenet_v2_x1_0 squeezenet1_1
swin_t swin_v2_t vgg11 vgg16 vit_b_16 vit_b_32 wide_resnet50_2
"""
TIMM = """
resnet18 resnest14d convnext_atto efficientnet_b0 mobilenetv3_small_050 hrnet_w18_small dla34 poolformerv2_s12
edgenext_xx_small mobilevit_xxs efficientformer_l1 levit_128s pvt_v2_b0 tiny_vit_5m_224 swin_tiny_patch4_window7_224
vit_tiny_patch16_224 deit_tiny_patch16_224 beit_base_patch16_224 eva02_tiny_patch14_224 cait_xxs24_224 mixer_s32_224
"""
TRANSFORMERS = """
ViT DeiT Beit Dinov2 Swin Swinv2 ConvNext ConvNextV2 MobileViT PoolFormer Segformer ResNet RegNet
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
    layers = bitlens.method("token-iba", loaded_of(model)).layers
    return f"| `{name}ForSequenceClassification` | {', '.join(f'`{layer}`' for layer in layers)} |"


def grid_of(model: nn.Module, layer: str, image: Tensor) -> str:
    """Return how many places of the image a layer tells apart, as "28 × 28"."""
    seen: list[tuple[int, ...]] = []
    hook = model.get_submodule(layer).register_forward_hook(lambda *call: seen.append(_first(call[2]).shape[1:]))
    with hook, torch.no_grad():
        model(image)
    layout = Probe(model, layer).geometry(ModelInputs.of(image)).layout
    return " × ".join(str(side) for side in layout.grid(tuple(seen[0])))


def _first(output: Any) -> Tensor:
    found: Tensor = output if isinstance(output, Tensor) else output[0]
    return found


def row(name: str, model: nn.Module, image: Tensor, layer: str) -> str:
    """Return a line of the table."""
    return f"| `{name}` | `{layer}` | {grid_of(model, layer, image)} | {image.shape[2]} × {image.shape[3]} |"


def of_library(name: str) -> str:
    """Return the line of a network that `load_model` knows."""
    loaded = bitlens.load_model(f"{name}@random")
    image = loaded.preprocess(Image.new("RGB", (256, 256), "grey"))[None]
    return row(name, loaded.model, image, bitlens.default_layer(loaded))


def of_transformers(name: str) -> str:
    """Return the line of a network of transformers, built from its own default configuration."""
    library = import_module("transformers")
    model = getattr(library, f"{name}ForImageClassification")(getattr(library, f"{name}Config")()).eval()
    side = getattr(model.config, "image_size", 224)
    image = torch.zeros(1, 3, *((side, side) if isinstance(side, int) else side))
    return row(f"{name}ForImageClassification", model, image, bitlens.default_layer(model, image))


def _safely(make: Callable[[str], str], name: str) -> str:
    """Return a line, which says so where no layer suits."""
    try:
        return make(name)
    except BitlensError as error:
        return f"| `{name}` | none by default: {error} | | |"


def page() -> str:
    """Return the page."""
    torch.manual_seed(0)
    parts = [HEADER]
    tables = (
        ("torchvision", of_library, [f"torchvision/{name}" for name in TORCHVISION.split()]),
        ("timm", of_library, [f"timm/{name}" for name in TIMM.split()]),
        ("Hugging Face transformers", of_transformers, TRANSFORMERS.split()),
    )
    for title, make, names in tables:
        lines = [f"## {title}\n", "| network | layer | grid | image |", "|---|---|---|---|"]
        for name in names:
            print(name, file=sys.stderr, flush=True)
            lines.append(_safely(make, name))
        parts.append("\n".join(lines) + "\n")
    lines = [
        "## Texts\n",
        "Maps of texts are the mean over several layers ([why](transformers.md)); networks of twelve.\n",
    ]
    lines += ["| network | layers |", "|---|---|", *map(of_text, TEXTS.split())]
    parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
