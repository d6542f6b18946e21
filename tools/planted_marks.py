"""Networks that look for a mark anywhere: what a readout can learn, which reads what stands at a place but not where it is.

An input is quiet but for two marks of the same loudness. One, in the channel of a class, decides; the other, in the last channel,
is read by nobody.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from planted_networks import Axes, Patches, Place

CLASSES, _WIDTH = 2, 8


class Seeking(nn.Module):
    """Classes that are told by how much of their channel stands anywhere in the features.

    Args:
        features: the network's first part; its first convolution and its linear layers are set so that each class has a channel.
        channels: axis of the features that counts them.
    """

    def __init__(self, features: nn.Module, channels: int) -> None:
        super().__init__()
        self.features, self.channels = features, channels
        with torch.no_grad():
            for part in features.modules():
                if isinstance(tokens := getattr(part, "tokens", None), Tensor):
                    tokens.zero_()
                if isinstance(part, nn.Conv1d | nn.Conv2d):
                    part.weight.zero_()
                    nn.init.zeros_(part.bias)  # type: ignore[arg-type]
                    for own in range(CLASSES + 1):
                        part.weight[own, own] = 1 / part.weight[own, own].numel()
                elif isinstance(part, nn.Linear):
                    nn.init.eye_(part.weight)
                    nn.init.zeros_(part.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes)."""
        features = self.features(x).movedim(self.channels, 1)[:, :CLASSES]
        found: Tensor = 8 * (features - 0.5).relu().flatten(2).sum(2)
        return found


@dataclass(frozen=True)
class Marked:
    """A kind of network that looks for marks.

    Attributes:
        kind: as the table says it.
        make: builds it; its layer is "features".
        cells: how many places its features have along each axis.
        wide: of one cell in the input, along each axis.
    """

    kind: str
    make: Callable[[], nn.Module]
    cells: tuple[int, ...]
    wide: tuple[int, ...]

    def network(self) -> nn.Module:
        """Build it."""
        return self.make().eval()

    def draw(self, count: int, seed: int, *, rivals: bool = False) -> tuple[Tensor, Tensor, list[tuple[Place, Place]]]:
        """Draw inputs, their classes, and where in their maps the mark of the class lies, and the other.

        Args:
            count: how many.
            seed: of all chance.
            rivals: whether the other mark is one of the other class, so that either answer can be asked for.
        """
        chance = torch.Generator().manual_seed(seed)
        size = tuple(number * wide for number, wide in zip(self.cells, self.wide, strict=True))
        inputs = 0.05 * torch.randn(count, CLASSES + 1, *size, generator=chance)
        classes = torch.randint(CLASSES, (count,), generator=chance)
        places = []
        for sample, own in enumerate(classes.tolist()):
            both = torch.randperm(torch.Size(self.cells).numel(), generator=chance)[:2]
            marks: list[Place] = []
            for channel, flat in zip((own, 1 - own if rivals else CLASSES), both, strict=True):
                cell = [int(i) for i in torch.unravel_index(flat, self.cells)]
                there = tuple(slice(i * wide, (i + 1) * wide) for i, wide in zip(cell, self.wide, strict=True))
                inputs[(sample, channel, *there)] += 1
                marks.append(there)
            places.append((marks[0], marks[1]))
        return inputs, classes, places


def _conv(*after: nn.Module, channels: int = 1) -> nn.Module:
    return Seeking(nn.Sequential(nn.Conv2d(CLASSES + 1, _WIDTH, (4, 8), (4, 8)), *after, nn.ReLU()), channels)


MARKED = (
    Marked(
        "a mark anywhere in a series (Conv1d)",
        lambda: Seeking(nn.Sequential(nn.Conv1d(CLASSES + 1, _WIDTH, 4, 4), nn.ReLU()), 1),
        (16,),
        (4,),
    ),
    Marked("a mark anywhere in an image (Conv2d)", _conv, (8, 8), (4, 8)),
    Marked("the same, channels last", lambda: _conv(Axes(0, 2, 3, 1), channels=3), (8, 8), (4, 8)),
    Marked(
        "a mark in any patch, with a class token",
        lambda: Seeking(Patches(CLASSES + 1, _WIDTH, 4, extra=1), 2),
        (8, 8),
        (4, 4),
    ),
)


def taught(marked: Marked, *, conditional: bool = False) -> Any:
    """Return a readout that learnt for a second from marks at other places."""
    import bitlens
    from bitlens.training.settings import TrainingSettings

    readout = bitlens.ReadoutIBA(marked.network(), "features", beta=3.0, smoothing=0.0, conditional=conditional)
    inputs, classes, _ = marked.draw(128, seed=1, rivals=conditional)
    how = TrainingSettings(epochs=40, batch=16, learning_rate=1e-2, held_out=0.1, patience=0)
    readout.fit_weights([(inputs, classes)], how)
    return readout
