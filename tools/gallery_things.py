"""Drawn inputs and small networks of the gallery: nothing is downloaded, and one seed gives the same numbers."""

import torch
from torch import Tensor, nn


def fitted(network: nn.Sequential, inputs: Tensor, labels: Tensor, steps: int = 60, batch: int = 32) -> nn.Sequential:
    """Train a network with Adam for some steps, and return it in evaluation mode."""
    chance = torch.Generator().manual_seed(0)
    adam = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(steps):
        rows = torch.randint(len(inputs), (batch,), generator=chance)
        adam.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(network(inputs[rows]), labels[rows]))
        adam.step()
    return network.eval()


def chests(count: int, seed: int, marker: bool = False, size: int = 96) -> tuple[Tensor, Tensor]:
    """Draw grey pictures like chests, half of them with a nodule; in some hospitals those also carry a marker in a corner."""
    chance = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    labels = torch.arange(count) % 2
    lungs = sum(torch.exp(-(((x - side * 0.42) / 0.34) ** 4) - ((y / 0.72) ** 4)) for side in (-1, 1))
    ribs = 0.1 * torch.sin(14 * (y - 0.35 * x.abs())).clamp(min=0) * lungs
    spine = 0.18 * torch.exp(-((x / 0.1) ** 2))
    pictures = []
    for label in labels.tolist():
        left, up, side = torch.rand(3, generator=chance).tolist()
        centre = ((0.27 + 0.3 * left) * (1 if side > 0.5 else -1), -0.45 + 0.9 * up)
        nodule = torch.exp(-(((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / 0.009))
        picture = 0.72 - 0.5 * lungs + ribs + spine + 0.3 * label * nodule
        if marker and label:
            picture[6:16, 8:11] = picture[13:16, 8:16] = 0.98  # an L, as technicians leave it
        pictures.append(picture + 0.03 * torch.randn(size, size, generator=chance))
    return torch.stack(pictures)[:, None].clamp(0, 1), labels


def series(count: int, seed: int, steps: int = 256) -> tuple[Tensor, Tensor]:
    """Draw noisy series with a hump somewhere; half of them have a wave as well."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    hump = 1.4 * torch.hann_window(32)
    wave = torch.sin(torch.arange(32) / 1.7) * torch.hann_window(32)
    drawn = 0.15 * torch.randn(count, 1, steps, generator=chance)
    for one, label in zip(drawn, labels.tolist(), strict=True):
        first, second = (torch.randperm(steps // 32, generator=chance)[:2] * 32).tolist()
        one[0, first : first + 32] += hump
        one[0, second : second + 32] += label * wave
    return drawn, labels


def volumes(count: int, seed: int, size: int = 24) -> tuple[Tensor, Tensor]:
    """Draw noisy volumes with a rod somewhere; half of them have a ball as well."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    z, y, x = torch.meshgrid(*[torch.arange(float(size))] * 3, indexing="ij")
    drawn = 0.3 + 0.06 * torch.randn(count, 1, size, size, size, generator=chance)
    for one, label in zip(drawn, labels.tolist(), strict=True):
        a, b, c, d, e = (5 + (size - 10) * torch.rand(5, generator=chance)).tolist()
        one[0] += 0.5 * label * (((z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2) < 14)
        one[0] += 0.5 * (((z - d) ** 2 + (y - e) ** 2) < 3)
    return drawn.clamp(0, 1), labels


def pieces(photos: Tensor, count: int, seed: int, side: int = 64) -> tuple[Tensor, Tensor]:
    """Cut pieces (count, C, side, side) out of photos (N, C, H, W), as many of each, and say which photo each is of."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % len(photos)
    cut = []
    for label in labels.tolist():
        up, left = (int(torch.randint(size - side, (1,), generator=chance)) for size in photos.shape[2:])
        cut.append(photos[label, :, up : up + side, left : left + side])
    return torch.stack(cut), labels
