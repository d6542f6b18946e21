"""A picture like a chest, with a network of one's own

One grey channel, no photos for statistics, no class names: a small network learns to tell drawn chests with a nodule from those
without. Noise looks like the other places of the same picture.
"""

import torch
from torch import nn

import bitlens
from bitlens.view.heatmap import save_figure
from gallery_things import chests, fitted

torch.manual_seed(0)
stages = [
    nn.Conv2d(1, 8, 5, 2, 2),
    nn.ReLU(),
    nn.Conv2d(8, 16, 5, 2, 2),
    nn.ReLU(),
    nn.Conv2d(16, 16, 5, 2, 2),
    nn.ReLU(),
]
network = nn.Sequential(nn.BatchNorm2d(1), *stages, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(16, 2))
fitted(network, *chests(512, seed=1), steps=150)
pictures, _ = chests(8, seed=2)

attribution = bitlens.explain(network, pictures[3:4])
figure = attribution.show(pictures[3:4])
save_figure(figure, "chest.png")
print(attribution)
