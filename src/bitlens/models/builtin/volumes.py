"""A small convolutional network that names the body in a volume, with its weights.

| stage | cells for 32 x 32 x 32 voxels | channels |
|---|---|---|
| `layer1` | 16 x 16 x 16 (1/2) | 8 |
| `layer2` | 8 x 8 x 8 (1/4) | 16 |
| `layer3` | 8 x 8 x 8 (1/4) | 32 |
| `layer4` | 4 x 4 x 4 (1/8) | 48 |

`layer1` is the place for a bottleneck: fine enough to point at a body, and what it puts out says little of its shape yet. Kernels
that stride are of even width, so that cells look at the voxels over which maps spread them.
"""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from bitlens.data.numbers import Numbers
from bitlens.data.planted_volumes import CLASSES
from bitlens.data.preprocessing import as_tensor
from bitlens.models.builtin.scenes import trained

WEIGHTS = Path(__file__).with_name("volumes.safetensors")


class VolumeNetwork(nn.Module):
    """(N, 1, D, H, W) volumes to (N, 4) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = _stage(1, 8, 2, 4)
        self.layer2 = _stage(8, 16, 2, 4)
        self.layer3 = _stage(16, 32, 1, 3)
        self.layer4 = _stage(32, 48, 2, 4)
        self.maxpool = nn.AdaptiveMaxPool3d(1)
        self.fc = nn.Linear(48, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of each volume."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.maxpool(x).flatten(1))
        return logits


def volumes() -> tuple[nn.Module, Callable[[Numbers], Tensor]]:
    """Return the trained network in evaluation mode, and its preprocessing.

    Raises:
        ModelError: the weights are missing from the installation.
    """
    return trained(VolumeNetwork(), WEIGHTS, "train_planted.py volumes"), as_tensor


def _stage(inputs: int, channels: int, stride: int, width: int) -> nn.Sequential:
    convolution = nn.Conv3d(inputs, channels, width, stride, (width - 1) // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(channels), nn.ReLU())
