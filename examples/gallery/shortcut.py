"""Right for the wrong reason

The same network, taught on pictures where those with a nodule also carry a marker in a corner, as one scanner may leave it. It is
right, and the map holds: what it says is that the network reads the marker.
"""

import torch
from torch import nn

import bitlens
from bitlens.view.heatmap import draw_explanation, save_figure
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
fitted(network, *chests(512, seed=1, marker=True), steps=150)
pictures, _ = chests(8, seed=2, marker=True)
without, _ = chests(8, seed=2)

attribution = bitlens.explain(network, pictures[3:4])
figure = draw_explanation(pictures[3], attribution.map[0], unit=attribution.unit, title="nodule, it says")
save_figure(figure, "shortcut.png")
with torch.no_grad():
    for name, asked in (("with the marker", pictures[3:4]), ("without", without[3:4])):
        print(f"p(nodule) {name}: {float(network(asked).softmax(1)[0, 1]):.2f}")
