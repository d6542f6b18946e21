"""Remove and retrain (ROAR): what a network can still learn when the pixels that a map calls important are gone.

Hooker et al., NeurIPS 2019, in the protocol of Zhang et al. (NeurIPS 2021, algorithms G6). Each network is trained from
scratch by itself, from its seed; what has been trained is on disk, so that a run that was stopped goes on.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.baselines.baseline import fixed_seed
from bitlens.errors import DataError, FitError, InputError, SettingError, at_least
from bitlens.metrics.ranking import ranks
from bitlens.system.checks import listed, mapping, number, whole_number
from bitlens.system.files import write_text
from bitlens.system.reading import read_json, whole

_FORMAT = "bitlens.roar/1"


@dataclass(frozen=True, eq=False)
class ExplainedImages:
    """The training, validation or test part of a data set, with its maps.

    Attributes:
        images: (N, C, H, W), normalised as the network wants them; or other inputs with their channels first.
        labels: (N,) class indices.
        maps: (N, H, W) of the network trained on the whole images.
    """

    images: Tensor
    labels: Tensor
    maps: Tensor

    def __post_init__(self) -> None:
        count, size = len(self.images), self.images.shape[2:]
        if count == 0 or not size or self.labels.shape != (count,) or self.maps.shape != (count, *size):
            shapes = [tuple(t.shape) for t in (self.images, self.labels, self.maps)]
            raise InputError(
                f"images, labels and maps must be (N, C, H, W), (N,) and (N, H, W) with N > 0, got {shapes}"
            )
        if not bool(torch.isfinite(self.maps).all()):
            raise InputError("maps hold NaN or infinite values: they cannot be ranked")


@dataclass(frozen=True)
class RetrainingSettings:
    """Settings of training each network: AdamW, the learning rate falling to zero along a half cosine, no augmentation.

    Attributes:
        epochs: passes over the training part (30 in the paper, which does not tell the rest).
        batch_size: images per step; a rest that fills no batch waits for the next epoch's order.
        learning_rate: at the start.
        weight_decay: of AdamW.
    """

    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        at_least(1, epochs=self.epochs)
        at_least(2, batch_size=self.batch_size)


@dataclass(frozen=True)
class Retrained:
    """Accuracy that one network reached.

    Attributes:
        rate: share of pixels that was removed from every image, of all parts.
        seed: of its parameters and the order of its batches.
        validation_accuracy: in [0, 1], to choose a training by.
        test_accuracy: in [0, 1]; lower is better: the map removed what matters.
    """

    rate: float
    seed: int
    validation_accuracy: float
    test_accuracy: float


def remove_top(images: Tensor, maps: Tensor, rate: float, fill: Tensor, *, seed: int = 0) -> Tensor:
    """Return images whose highest pixels are gone.

    Args:
        images: (N, C, H, W).
        maps: (N, H, W); ties are broken at random, the same way for all images.
        rate: share of pixels to remove, in [0, 1].
        fill: (C,) what takes their place.
        seed: of the random order of ties.
    """
    if not 0 <= rate <= 1:
        raise SettingError(f"rate must be in [0, 1], got {rate}")
    places = ranks(maps.flatten(1), descending=True, seed=seed).reshape(maps.shape)
    gone = places < round(rate * maps[0].numel())
    return torch.where(gone[:, None], fill.reshape(1, -1, *[1] * (images.dim() - 2)), images)


def roar(
    train: ExplainedImages,
    validation: ExplainedImages,
    test: ExplainedImages,
    build: Callable[[], nn.Module],
    *,
    state: str | Path,
    rates: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    seeds: Sequence[int] = (0, 1, 2),
    training: RetrainingSettings | None = None,
    progress: Callable[[Retrained], None] | None = None,
) -> tuple[Retrained, ...]:
    """Return accuracy of networks trained and tested on images without their most important pixels, for each rate and seed.

    Removed pixels get the mean colour of the training images (Hooker et al.; the InputIBA paper does not tell). Compare with
    the same run on random maps: removing pixels also changes the images, whichever they are. Rate 0 removes nothing.

    Args:
        train: what networks learn from; everything runs on the device of its images.
        validation: measured, never learnt from.
        test: measured, never learnt from.
        build: makes a network with new parameters, (N, C, H, W) → (N, classes); `small_resnet`, for example.
        state: JSON file that holds what has been trained; a run with the same file, data, network and training goes on.
        rates: shares of pixels to remove.
        seeds: one network for each, at each rate.
        training: how.
        progress: called with each network's result, not with those that the file held.

    Returns:
        One result for each rate and seed, in their order.

    Raises:
        InputError: if the parts differ in their images' size.
        DataError: if the file belongs to other data, maps, network or training, or is damaged.
        FitError: if a training diverges.
    """
    training = training or RetrainingSettings()
    parts = (train, validation, test)
    if len({part.images.shape[1:] for part in parts}) > 1:
        sizes = [tuple(part.images.shape[1:]) for part in parts]
        raise InputError(f"the three parts must hold images of one size, got {sizes}")
    file = Path(state)
    fingerprint = _fingerprint(parts, build, training)
    done = {(row.rate, row.seed): row for row in read_state(file, fingerprint)}
    for rate in rates:
        todo = [seed for seed in seeds if (rate, seed) not in done]
        reduced = _without(parts, rate) if todo else []
        for seed in todo:
            network = train_network(build, *reduced[0], training, seed)
            row = Retrained(rate, seed, *(_accuracy(network, *part, training.batch_size) for part in reduced[1:]))
            done[rate, seed] = row
            _write(file, fingerprint, done.values())
            if progress is not None:
                progress(row)
    return tuple(done[rate, seed] for rate in rates for seed in seeds)


def small_resnet(classes: int = 10, channels: int = 3, width: int = 64) -> nn.Module:
    """Return ResNet-8: three stages of one basic block, for small images (algorithms G6); new parameters."""
    from torchvision.models.resnet import BasicBlock

    def smaller(before: int, after: int) -> Any:
        return BasicBlock(
            before, after, 2, nn.Sequential(nn.Conv2d(before, after, 1, 2, bias=False), nn.BatchNorm2d(after))
        )

    stem = (nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    stages = (BasicBlock(width, width), smaller(width, 2 * width), smaller(2 * width, 4 * width))
    return nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes))


def _without(parts: Sequence[ExplainedImages], rate: float) -> list[tuple[Tensor, Tensor]]:
    """Return each part's images without their highest pixels, and its labels."""
    fill = parts[0].images.transpose(0, 1).flatten(1).mean(1)
    return [(remove_top(part.images, part.maps.to(part.images.device), rate, fill), part.labels) for part in parts]


def train_network(
    build: Callable[[], nn.Module], images: Tensor, labels: Tensor, training: RetrainingSettings, seed: int
) -> nn.Module:
    """Return a new network trained on (N, C, H, W) images, on their device; parameters and batches come from the seed alone.

    Raises:
        FitError: if the training diverges.
    """
    with fixed_seed(seed, images.device):
        network = build().to(images.device)
        _train(network, images, labels, training)
    return network


def _train(network: nn.Module, images: Tensor, labels: Tensor, training: RetrainingSettings) -> None:
    labels = labels.to(images.device)
    size = min(training.batch_size, len(images))
    steps = len(images) // size
    optimizer = torch.optim.AdamW(network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.epochs * steps)
    network.train()
    for epoch in range(training.epochs):
        total = torch.zeros((), device=images.device, dtype=torch.float32)
        order = torch.randperm(len(images)).to(images.device)
        for rows in torch.split(order[: steps * size], size):
            optimizer.zero_grad()
            loss = F.cross_entropy(network(images[rows]), labels[rows])
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += loss.detach()
        if not bool(torch.isfinite(total)):
            raise FitError(f"training diverged in epoch {epoch + 1}: lower the learning rate")


@torch.no_grad()
def _accuracy(network: nn.Module, images: Tensor, labels: Tensor, batch_size: int) -> float:
    network.eval()
    device = next(network.parameters()).device
    predicted = torch.cat([network(batch.to(device)).argmax(1) for batch in torch.split(images, batch_size)])
    return float((predicted == labels.to(device)).double().mean())


def _fingerprint(parts: Sequence[ExplainedImages], build: Callable[[], nn.Module], training: RetrainingSettings) -> str:
    """Digest everything that decides the results, rates and seeds aside."""
    with torch.random.fork_rng(devices=[]):
        digest = hashlib.sha256(f"{build()!r}{asdict(training)}".encode())
    for tensor in (tensor for part in parts for tensor in (part.images, part.labels, part.maps)):
        digest.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def read_state(file: Path, fingerprint: str) -> list[Retrained]:
    """Return what has been trained, from a file; nothing if there is none.

    Raises:
        DataError: if it is damaged, or belongs to another run than the fingerprint's.
    """
    if not file.is_file():
        return []
    held = read_json(file, "the state of a ROAR run", "choose another file")
    with whole(file, "the state of a ROAR run", "choose another file"):
        rows = [Retrained(**mapping(row, "a row")) for row in listed(held["rows"], "rows")]
        known = (held["format"], held["fingerprint"])
        for row in rows:
            whole_number(row.seed, "seed")
            for name in ("rate", "validation_accuracy", "test_accuracy"):
                number(getattr(row, name), name, least=0, most=1)
    if known != (_FORMAT, fingerprint):
        raise DataError(f"{file} belongs to other data, maps, network or training: choose another file, or remove it")
    return rows


def _write(file: Path, fingerprint: str, rows: Iterable[Retrained]) -> None:
    held = {"format": _FORMAT, "fingerprint": fingerprint, "rows": [asdict(row) for row in rows]}
    write_text(file, json.dumps(held, indent=1))
