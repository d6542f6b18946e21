"""A region of the output

A network that answers at every place (segmentation, depth, heat maps) is asked about a part of its answer. Bits lie where that
region looks, and nowhere else.
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
    nn.Conv2d(16, 4, 5, padding=2),
]
network = nn.Sequential(*layers).eval()  # four classes at each pixel
image = to_tensor(open_dataset("builtin:scenes")[5].image)[None]
window = torch.zeros(image.shape[2:], dtype=torch.bool)
window[24:48, 40:72] = True

attribution = bitlens.explain(network, image, bitlens.targets.Region(1, window), layer="1", beta=0.1)
figure = draw_explanation(
    image[0], attribution.map[0], unit=attribution.unit, title="class 1 in the box", boxes=[(40, 24, 72, 48)]
)
save_figure(figure, "region.png")
