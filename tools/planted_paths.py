"""Small networks whose answer goes round their layer, that do not answer twice alike, or whose samples mix.

The layer of each is `within.2`.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def seeded(make: Callable[..., nn.Module], *given: object) -> nn.Module:
    """Build a network, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(*given).eval()


def _convolutions() -> nn.Sequential:
    """Two convolutions, 2 x 2 cells of what they find, four classes."""
    layers = (nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4))


class Dense(nn.Module):
    """Later layers read everything before them, as in DenseNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 2, 1)
        self.within = nn.Sequential(nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU())
        self.head = nn.Sequential(nn.Conv2d(12, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.classes = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        x = self.stem(x)
        found: Tensor = self.classes(self.head(torch.cat([x, self.within(x)], 1)))
        return found


class UNet(nn.Module):
    """The finest features skip the coarse ones."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, 6, 3, padding=1)
        self.within = nn.Sequential(nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1))
        self.up, self.head = nn.ConvTranspose2d(6, 6, 2, 2), nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        fine = self.fine(x).relu()
        found: Tensor = self.head(torch.cat([self.up(self.within(fine)), fine], 1)).mean((2, 3)) * 20
        return found


class Residual(nn.Module):
    """A branch beside what it is added to."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 6, 3, 2, 1), nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.within = nn.Sequential(nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6))
        self.classes = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        x = self.stem(x)
        found: Tensor = self.classes(self.head(x + self.within(x)))
        return found


class Glance(nn.Module):
    """The mean colour of the image is looked at again, by no module."""

    def __init__(self) -> None:
        super().__init__()
        self.within, self.head = _convolutions(), nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        found: Tensor = self.head(torch.cat([self.within(x), x.mean((2, 3))], 1))
        return found


class Told(nn.Module):
    """An image, and a table that says the answer, or next to nothing of it."""

    def __init__(self, loud: float) -> None:
        super().__init__()
        self.within, self.table, self.loud = _convolutions(), nn.Linear(5, 4), loud

    def forward(self, image: Tensor, meta: Tensor) -> Tensor:
        """Return logits."""
        found: Tensor = self.within(image) + self.loud * self.table(meta)
        return found


class Dropping(nn.Module):
    """Dropout that nothing turns off."""

    def __init__(self) -> None:
        super().__init__()
        self.within, self.head = (
            nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, 1, 1)),
            nn.Linear(24, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        found: Tensor = self.head(F.dropout(F.adaptive_avg_pool2d(self.within(x), 2).flatten(1), 0.3))
        return found


class Mixing(nn.Sequential):
    """Batch norm that takes its means of the batch."""

    def __init__(self) -> None:
        norm = nn.BatchNorm2d(6, track_running_stats=False)
        super().__init__(nn.Conv2d(3, 6, 3, 2, 1), norm, nn.Conv2d(6, 6, 3, 1, 1), nn.Flatten(), nn.Linear(384, 4))


def bart() -> nn.Module:
    """Make a classifier with random weights whose decoder reads the text again."""
    transformers: Any = import_module("transformers")

    sizes = {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    config = transformers.BartConfig(
        vocab_size=30, d_model=16, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=32, num_labels=3,
        pad_token_id=1, bos_token_id=0, eos_token_id=29, decoder_start_token_id=29, init_std=0.3, **sizes,
    )  # fmt: skip
    return seeded(transformers.BartForSequenceClassification, config)


def t5() -> nn.Module:
    """Make a classifier with random weights whose decoder reads the text again."""
    transformers: Any = import_module("transformers")

    config = transformers.T5Config(
        vocab_size=30, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_decoder_layers=2, num_heads=2, num_labels=3,
        pad_token_id=0, eos_token_id=29, decoder_start_token_id=0,
    )  # fmt: skip
    return seeded(transformers.T5ForSequenceClassification, config)
