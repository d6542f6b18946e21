"""Where a bottleneck belongs in a network that nobody said it for."""

import math

import torch
from torch import nn

from bitlens.errors import LayerError
from bitlens.inputs import ModelInputs
from bitlens.layout import detect_layout
from bitlens.probe.modules import frozen
from bitlens.probe.trace import Call, all_calls, trace_calls

__all__ = ["KNOWN_LAYERS", "default_layer"]

KNOWN_LAYERS = {"torchvision/vgg16": "features.17", "torchvision/resnet50": "layer2"}
"""The layers of the paper's own networks (algorithms A7), by the model's name."""


def default_layer(model: nn.Module, image: torch.Tensor) -> str:
    """The last layer at about 1/8 of the image's resolution (the papers' choice), by its dotted name.

    Deep enough to know what it sees and fine enough to say where. Of all modules with such a grid the least nested count:
    a stage rather than its last block. Small images get 1/4 (below 96 pixels) or 1/2 (below 64).

    Args:
        model: the network.
        image: (1, C, H, W), one input.

    Raises:
        LayerError: if no layer has a grid of that resolution.
    """
    inputs = ModelInputs.of(image)
    size = inputs.image_size
    if size is None:
        raise LayerError(
            f"a default layer is known for images (N, C, H, W) only, not for {tuple(image.shape)}: name one"
        )
    halvings = 3 if min(size) >= 96 else 2 if min(size) >= 64 else 1
    names: dict[nn.Module, str] = {module: name for name, module in reversed(list(model.named_modules()))}
    with frozen(model):
        calls = list(all_calls(trace_calls(model, inputs)))
    found = [names[call.module] for call in calls if call.parent and _halvings(call, size) == (halvings, halvings)]
    if not found:
        raise LayerError(
            f"{type(model).__name__} has no layer with a grid at 1/{2**halvings} of the image's {size[0]}x{size[1]} pixels: "
            "name a layer"
        )
    depth = min(name.count(".") for name in found)
    return [name for name in found if name.count(".") == depth][-1]


def _halvings(call: Call, size: tuple[int, int]) -> tuple[int, int] | None:
    """How often the image was halved on the way to the call's first output, up and across; None if it is no grid."""
    shape = call.shapes[0] if call.shapes else None
    if shape is None or len(shape) != 4:
        return None
    height, width = detect_layout(tuple(shape[1:]), size).grid(tuple(shape[1:]))
    return round(math.log2(size[0] / height)), round(math.log2(size[1] / width))
