"""A region of the output

A network that answers at every place (segmentation, depth, heat maps) is asked about a part of its answer: a target is any
function from the output to one number per sample. Bits lie where that region looks, and nowhere else.
"""

import torch
from torch import nn
from torchvision.transforms.functional import to_tensor

import bitlens
from bitlens.data.datasets import open_dataset
from bitlens.view.heatmap import draw_explanation, save_figure

torch.manual_seed(0)
layers = [
    nn.Conv2d(3, 16, 5, padding=2),
    nn.ReLU(),
    nn.Conv2d(16, 16, 5, padding=2),
    nn.ReLU(),
    nn.Conv2d(16, 1, 5, padding=2),
]
network = nn.Sequential(*layers).eval()  # one number for each pixel
image = to_tensor(open_dataset("builtin:scenes")[5].image)[None]


def region(output):
    """Return the mean answer in a window, for each sample."""
    return output[:, 0, 24:48, 40:72].mean((1, 2))


attribution = bitlens.explain(network, image, region, layer="1", beta=0.1)
figure = draw_explanation(
    image[0], attribution.map[0], unit=attribution.unit, title="the mean answer in the box", boxes=[(40, 24, 72, 48)]
)
save_figure(figure, "region.png")
