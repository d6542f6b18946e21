"""A volume

Volumes (N, C, D, H, W) give maps (N, D, H, W), of which three slices are shown. Each has a bright rod; the network tells
those that have a ball as well.
"""

import torch
from torch import nn

import bitlens
from bitlens.view.heatmap import save_figure
from bitlens.view.sweep import SweepRow, draw_sweep
from gallery_things import fitted, volumes

torch.manual_seed(0)
layers = [
    nn.Conv3d(1, 8, 5, 2, 2),
    nn.ReLU(),
    nn.Conv3d(8, 8, 3, 1, 1),
    nn.ReLU(),
    nn.AdaptiveMaxPool3d(1),
    nn.Flatten(),
]
network = fitted(nn.Sequential(*layers, nn.Linear(8, 2)), *volumes(128, seed=1))
drawn, _ = volumes(2, seed=3)
attribution = bitlens.explain(network, drawn[1:], layer="1")

bits = attribution.map[0]  # at the layer's own grid, half as fine
planes = sorted({2, int(bits.sum((1, 2)).argmax()), 9})
rows = [
    SweepRow(drawn[1, :, 2 * k], f"slice {2 * k}", "", [bits[k]], [f"{float(bits[k].sum()):.0f} bits"]) for k in planes
]
figure = draw_sweep(rows, ["bits"], unit=attribution.unit, title="a ball")
save_figure(figure, "volume.png")
print(f"{float(attribution.total_bits):,.0f} bits, {float(attribution.evidence.kept):.2f} of the decision kept")
