"""Small deterministic networks and inputs for tests."""

import copy
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from bitlens.bottlenecks.per_sample import IBA
from bitlens.core.statistics import FeatureStatistics

LAYER = "2"
"""The second convolution of `quadrant_net` and `small_net`, before its ReLU."""


@contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    """Let tensors be of a type unless they are told."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def small_net(channels: int = 3, classes: int = 4, seed: int = 0) -> nn.Sequential:
    """A convolutional network for images of any size from 8 x 8, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(channels, 6, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, classes),
        ).eval()


def small_vit(channels: int = 3, classes: int = 4, seed: int = 0) -> nn.Module:
    """A vision transformer for images of 16 x 16: a class token and 4 x 4 patches, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VisionTransformer(16, 4, 2, 2, 8, 16, num_classes=classes)
        model.conv_proj = nn.Conv2d(channels, 8, 4, stride=4)
        nn.init.normal_(model.heads.head.weight)  # torchvision begins with zeros, for which nothing matters
        return model.eval()


def noise_images(count: int, channels: int = 3, size: tuple[int, int] = (16, 16), seed: int = 0) -> Tensor:
    """Images without any content, (count, channels, H, W)."""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, *size, generator=random, dtype=torch.float32)


def quadrant_images(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images (count, 3, 16, 16) with a bright patch in one quadrant, and the number of that quadrant (count,)."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.5 * torch.randn(count, 3, 16, 16, generator=generator)
    classes = torch.randint(0, 4, (count,), generator=generator)
    for image, quadrant in zip(images, classes.tolist(), strict=True):
        row, column = 2 + 8 * (quadrant // 2), 2 + 8 * (quadrant % 2)
        image[:, row : row + 4, column : column + 4] += 2
    return images, classes


@functools.cache
def _trained() -> nn.Sequential:
    model = small_net(seed=1).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for step in range(80):
        images, classes = quadrant_images(64, seed=1000 + step)
        optimizer.zero_grad()
        F.cross_entropy(model(images), classes).backward()
        optimizer.step()
    model.zero_grad()
    return model.eval()


def quadrant_net() -> nn.Sequential:
    """A `small_net` that has learnt to name the quadrant of `quadrant_images`; a copy of its own for each caller."""
    return copy.deepcopy(_trained())


@functools.cache
def quadrant_statistics(layer: str = LAYER) -> FeatureStatistics:
    """Statistics per element of a layer of `quadrant_net` on 1,000 `quadrant_images`."""
    return IBA(quadrant_net(), layer).fit_statistics([quadrant_images(1000, seed=7)[0]]).statistics


def quadrant_iba(layer: str = LAYER, **settings: Any) -> IBA:
    """IBA on a `quadrant_net` of its own, with statistics; in float32 unless told otherwise, whatever the machine."""
    return IBA(quadrant_net(), layer, statistics=quadrant_statistics(layer), **{"precision": "float32", **settings})


def model_state(model: nn.Module) -> list[Any]:
    """All that a call could change in a network or leave behind, to compare before and after."""
    state: list[Any] = []
    for name, module in model.named_modules():
        tensors = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
        numbers = {n: (t.requires_grad, t.grad is None, t.detach().numpy().tobytes()) for n, t in tensors.items()}
        hooks = [len(hooks) for key, hooks in module.__dict__.items() if key.endswith("hooks")]
        state.append(
            (name, module.training, {key: id(value) for key, value in module.__dict__.items()}, numbers, hooks)
        )
    return state
