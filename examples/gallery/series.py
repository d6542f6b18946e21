"""A signal

Series (N, C, T) go as images do; maps are (N, T). Each has a hump; the network tells those that have a small wave as well.
"""

import torch
from torch import nn

import bitlens
from gallery_things import fitted, series

torch.manual_seed(0)
layers = [
    nn.Conv1d(1, 8, 9, padding=4),
    nn.ReLU(),
    nn.Conv1d(8, 8, 9, 2, 4),
    nn.ReLU(),
    nn.AdaptiveMaxPool1d(1),
    nn.Flatten(),
]
network = fitted(nn.Sequential(*layers, nn.Linear(8, 2)), *series(256, seed=1))
signals, _ = series(2, seed=2)
attribution = bitlens.explain(network, signals[1:], layer="1")
figure = attribution.show()
figure.savefig("series.png", dpi=200)
print(f"{float(attribution.total_bits):,.0f} bits, {float(attribution.evidence.kept):.2f} of the decision kept")
