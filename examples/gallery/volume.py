"""A volume

Volumes (N, C, D, H, W) give maps (N, D, H, W), cut in three through the place that is used most. Each has a bright rod; the
network tells those that have a ball as well.
"""

import torch
from torch import nn

import bitlens
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
figure = attribution.show()
figure.savefig("volume.png", dpi=200)
print(f"{float(attribution.total_bits):,.0f} bits, {float(attribution.evidence.kept):.2f} of the decision kept")
