"""A signal

Series (N, C, T) go as images do; maps are (N, T). Each has a hump; the network tells those that have a small wave as well.
"""

import torch
from matplotlib.figure import Figure
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
bits = attribution.map[0]

figure = Figure(figsize=(7, 2.6), layout="constrained")
axes = figure.subplots()
axes.plot(signals[1, 0], color="#777777", linewidth=0.9)
axes.set(xlabel="step", ylabel="signal", ylim=(-1.2, 2.4))
beside = axes.twinx()
beside.fill_between(
    torch.arange(len(bits)) * len(signals[1, 0]) / len(bits), bits, color="#d65f0c", alpha=0.6, linewidth=0
)
beside.set(ylabel=attribution.unit, ylim=(0, 2 * float(bits.max())))
figure.savefig("series.png", dpi=200)
print(f"{float(attribution.total_bits):,.0f} bits, {float(attribution.evidence.kept):.2f} of the decision kept")
