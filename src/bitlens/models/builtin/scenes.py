"""A small residual network that names the shape in a scene, with its weights.

| stage | cells for 96 x 96 pixels | channels |
|---|---|---|
| `layer1` | 24 x 24 (1/4) | 32 |
| `layer2` | 12 x 12 (1/8) | 64 |
| `layer3` | 6 x 6 (1/16) | 128 |
| `layer4` | 6 x 6 (1/16) | 128 |

`layer2` is the place for a bottleneck: fine enough to point at a part of an object, deep enough to know what it is.
No ReLU is shared and none works in place, so methods that hook every one of them can.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torchvision.transforms import v2

from bitlens.errors import ModelError

SIZE = 96
LAYER = "layer2"
MEAN, STD = 0.47, 0.25
WEIGHTS = Path(__file__).with_name("scenes.safetensors")
READOUT = Path(__file__).with_name("scenes_readout.safetensors")

_TRANSFORM = v2.Compose(
    [
        v2.Resize(SIZE, antialias=True),
        v2.CenterCrop(SIZE),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([MEAN] * 3, [STD] * 3),
    ]
)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut: (N, C, H, W) to (N, `channels`, H / stride, W / stride)."""

    def __init__(self, inputs: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != channels or stride != 1:
            projection = nn.Conv2d(inputs, channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels))
        self.relu2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add what the convolutions found to what came in."""
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out: torch.Tensor = self.relu2(self.shortcut(x) + residual)
        return out


class SceneNetwork(nn.Module):
    """(N, 3, H, W) normalised pictures to (N, `classes`) logits; named like a ResNet."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(ResidualBlock(16, 32, 2))
        self.layer2 = nn.Sequential(ResidualBlock(32, 64, 2), ResidualBlock(64, 64))
        self.layer3 = nn.Sequential(ResidualBlock(64, 128, 2), ResidualBlock(128, 128))
        self.layer4 = nn.Sequential(ResidualBlock(128, 128))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(128, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits of each picture."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: torch.Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def preprocess(image: Image.Image) -> torch.Tensor:
    """Return a picture of any size and mode to a (3, 96, 96) float32 tensor: shorter side resized, centre cut out."""
    tensor: torch.Tensor = _TRANSFORM(image.convert("RGB")).as_subclass(torch.Tensor)
    return tensor


def scenes() -> tuple[nn.Module, Callable[[Image.Image], torch.Tensor]]:
    """Return the trained network in evaluation mode, and its preprocessing.

    Raises:
        ModelError: the weights are missing from the installation.
    """
    return trained(SceneNetwork(), WEIGHTS), preprocess


def trained(network: nn.Module, weights: Path, script: str = "") -> nn.Module:
    """Return the network with its bundled weights, in evaluation mode.

    Args:
        network: fresh.
        weights: the file.
        script: in tools/ that makes it, `train_NAME.py` of the file's name by default.

    Raises:
        ModelError: they are missing from the installation.
    """
    if not weights.is_file():
        made_by = script or f"train_{weights.stem}.py"
        raise ModelError(
            f"the weights {weights} are missing: install bitlens again, or train them with python tools/{made_by}"
        )
    network.load_state_dict(load_file(weights))  # copies float16 into float32
    return network.eval()
