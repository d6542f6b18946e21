"""A small perceptron that says what is wrong with a pump from a row of twenty readings, with its weights.

`scaled` puts out the readings themselves, each in standard deviations from its usual value. It is the place for a bottleneck:
there every feature is a reading, and its bits are those of the reading. What the layers behind it put out mixes them.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from bitlens.data.numbers import Numbers
from bitlens.data.planted_table import CLASSES, FEATURES, MEAN, STD
from bitlens.data.preprocessing import as_tensor
from bitlens.models.builtin.scenes import trained

WEIGHTS = Path(__file__).with_name("table.safetensors")


class Scaled(nn.Module):
    """Standard deviations from the usual value: (N, D) to the same shape."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN, dtype=torch.float32), persistent=False)
        self.register_buffer("std", torch.tensor(STD, dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return how far each reading is from the usual."""
        scaled: Tensor = (x - self.mean) / self.std
        return scaled


class TableNetwork(nn.Module):
    """(N, 20) readings to (N, 4) logits."""

    feature_names = FEATURES
    """The columns of a table that it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.scaled = Scaled()
        self.hidden1 = nn.Sequential(nn.Linear(len(FEATURES), 32), nn.ReLU())
        self.hidden2 = nn.Sequential(nn.Linear(32, 32), nn.ReLU())
        self.fc = nn.Linear(32, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of each row."""
        logits: Tensor = self.fc(self.hidden2(self.hidden1(self.scaled(x))))
        return logits


def table() -> tuple[nn.Module, Callable[[Numbers], Tensor]]:
    """Return the trained network in evaluation mode, and its preprocessing.

    Raises:
        ModelError: the weights are missing from the installation.
    """
    return trained(TableNetwork(), WEIGHTS, "train_planted.py table"), as_tensor
