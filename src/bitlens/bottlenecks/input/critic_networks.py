"""Networks that tell features of a layer apart: critics of images' features (C, H, W) and of texts' (units, tokens)."""

import torch.nn.functional as F
from torch import Tensor, nn

_SLOPE = 0.2  # of LeakyReLU


class _AtLeast(nn.Module):
    """Enlarges grids that two halvings would use up."""

    def __init__(self, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, features: Tensor) -> Tensor:
        return features if features.shape[2:] == self.grid else F.interpolate(features, self.grid, mode="bilinear")


def _enlarged(grid: tuple[int, ...]) -> tuple[int, int]:
    height, width = grid
    return max(height, 4), max(width, 4)


def published_critic(channels: int, grid: tuple[int, ...], *, batch_norm: bool = False) -> nn.Sequential:
    """Return the released critic (algorithms D4), for any grid: 64.4 million parameters for 512 x 28 x 28.

    Args:
        channels: C of the features.
        grid: H and W of the features.
        batch_norm: whether a batch norm follows each convolution, as in the released code.
    """
    c, (height, width) = channels, _enlarged(grid)
    layers: list[nn.Module] = [_AtLeast((height, width))]
    for inside, outside, kernel, stride in ((c, 2 * c, 4, 2), (2 * c, 4 * c, 4, 2), (4 * c, c, 3, 1)):
        layers.append(nn.Conv2d(inside, outside, kernel, stride, 1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(outside))
        layers.append(nn.LeakyReLU(_SLOPE))
    flat = c * (height // 2 // 2) * (width // 2 // 2)
    head = [nn.Linear(flat, 512), nn.LeakyReLU(_SLOPE), nn.Linear(512, 256), nn.LeakyReLU(_SLOPE), nn.Linear(256, 1)]
    return nn.Sequential(*layers, nn.Flatten(), *head)


def small_critic(channels: int, grid: tuple[int, ...]) -> nn.Sequential:
    """Return a hundredth of the published critic: channels are mixed down to 32 first."""
    height, width = _enlarged(grid)
    return nn.Sequential(
        _AtLeast((height, width)),
        nn.Conv2d(channels, 32, 1),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(32, 32, 4, 2, 1),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(32, 32, 4, 2, 1),
        nn.LeakyReLU(_SLOPE),
        nn.Flatten(),
        nn.Linear(32 * (height // 2 // 2) * (width // 2 // 2), 1),
    )


class _LastState(nn.Module):
    """An LSTM's state after the last token: (rows, units, tokens) → (rows, units)."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(units, units, batch_first=True)

    def forward(self, features: Tensor) -> Tensor:
        _, (state, _) = self.lstm(features.transpose(1, 2))
        last: Tensor = state[-1]
        return last


def published_token_critic(units: int, _tokens: tuple[int, ...]) -> nn.Sequential:
    """Return the released critic for texts (algorithms D8): an LSTM as wide as features, then half as wide, then one number."""
    half = max(1, units // 2)
    return nn.Sequential(_LastState(units), nn.Linear(units, half), nn.LeakyReLU(_SLOPE), nn.Linear(half, 1))


def small_token_critic(units: int, tokens: tuple[int, ...]) -> nn.Sequential:
    """Return one that mixes units down to 32 and sees neighbours together; not recurrent: its gradient has a gradient."""
    return nn.Sequential(
        nn.Conv1d(units, 32, 1),
        nn.LeakyReLU(_SLOPE),
        nn.Conv1d(32, 32, 3, padding=1),
        nn.LeakyReLU(_SLOPE),
        nn.Flatten(),
        nn.Linear(32 * tokens[0], 1),
    )
