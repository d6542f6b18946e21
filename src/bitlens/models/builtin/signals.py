"""A small convolutional network that names the waveform in a signal, with its weights.

| stage | cells for 512 samples | channels |
|---|---|---|
| `layer1` | 256 (1/2) | 16 |
| `layer2` | 128 (1/4) | 32 |
| `layer3` | 64 (1/8) | 48 |
| `layer4` | 64 (1/8) | 48 |

`layer2` is the place for a bottleneck: it knows slow from fast swings, and not yet their order.
"""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from bitlens.data.numbers import Numbers
from bitlens.data.planted_signals import CLASSES, LEADS
from bitlens.data.preprocessing import as_tensor
from bitlens.models.builtin.scenes import trained

WEIGHTS = Path(__file__).with_name("signals.safetensors")


class SignalNetwork(nn.Module):
    """(N, 3, T) signals to (N, 4) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = _stage(LEADS, 16, 2, 7)
        self.layer2 = _stage(16, 32, 2, 5)
        self.layer3 = _stage(32, 48, 2, 5)
        self.layer4 = nn.Sequential(_stage(48, 48, 1, 5), _stage(48, 48, 1, 5))
        self.maxpool = nn.AdaptiveMaxPool1d(1)
        self.fc = nn.Linear(48, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of each signal."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.maxpool(x).flatten(1))
        return logits


def signals() -> tuple[nn.Module, Callable[[Numbers], Tensor]]:
    """Return the trained network in evaluation mode, and its preprocessing.

    Raises:
        ModelError: the weights are missing from the installation.
    """
    return trained(SignalNetwork(), WEIGHTS, "train_planted.py signals"), as_tensor


def _stage(inputs: int, channels: int, stride: int, width: int) -> nn.Sequential:
    convolution = nn.Conv1d(inputs, channels, width, stride, width // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm1d(channels), nn.ReLU())
