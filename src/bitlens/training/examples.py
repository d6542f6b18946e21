"""What is learnt from: samples by their number, from memory or read anew each time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from bitlens.core.inputs import Key, ModelInputs
from bitlens.data.batches import tensor_batches
from bitlens.data.datasets import Sample
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import InputError


@dataclass(frozen=True)
class Batch:
    """Some samples.

    Attributes:
        inputs: of the network.
        labels: (N,) class indices, None where they are unknown.
        names: what they are called in messages.
    """

    inputs: ModelInputs
    labels: Tensor | None
    names: tuple[str, ...]


@runtime_checkable
class Examples(Protocol):
    """Samples by their number."""

    def __len__(self) -> int:
        """Count them."""

    def take(self, rows: Sequence[int]) -> Batch:
        """Take the samples with these numbers, in this order."""


class InMemory:
    """All samples of an iterable of batches.

    Args:
        batches: of inputs (a tensor, or a mapping of keyword arguments), or of tuples (inputs, labels).

    Raises:
        InputError: if there is no batch, or the batches are not of one kind and size.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        parts, labels = [], []
        for batch in batches:
            pair = isinstance(batch, tuple | list)
            parts.append(ModelInputs.of(batch[0] if pair else batch))
            if pair and len(batch) > 1 and batch[1] is not None:
                labels.append(torch.as_tensor(batch[1]).long().reshape(-1))
        if not parts:
            raise InputError("there is nothing to learn from: the batches are empty")
        if len({part.signature for part in parts}) > 1:
            raise InputError("the batches hold inputs of several sizes or kinds: give inputs of one size")
        if labels and sum(map(len, labels)) != sum(part.count for part in parts):
            raise InputError("there must be one label for each input, in every batch or in none")
        self._inputs, self._labels = _joined(parts), torch.cat(labels) if labels else None

    def __len__(self) -> int:
        return self._inputs.count

    def take(self, rows: Sequence[int]) -> Batch:
        """Take the samples with these numbers, in this order."""
        chosen = torch.as_tensor(rows)
        labels = self._labels[chosen] if self._labels is not None else None
        return Batch(self._inputs.select(chosen), labels, tuple(f"sample {row}" for row in rows))


class Photos:
    """A data set of photos, read and prepared when they are asked for.

    Args:
        samples: of `open_dataset`.
        preprocess: of the network.

    Raises:
        DataError: (when they are taken) if a photo cannot be read.
        InputError: (when they are taken) if the prepared photos differ in size.
    """

    def __init__(self, samples: Sequence[Sample], preprocess: Preprocessing) -> None:
        self._samples, self._preprocess = samples, preprocess

    def __len__(self) -> int:
        return len(self._samples)

    def take(self, rows: Sequence[int]) -> Batch:
        """Take the samples with these numbers, in this order; labels only if all have one."""
        chosen = [self._samples[row] for row in rows]
        batches = [images for images, _ in tensor_batches(chosen, self._preprocess, len(chosen))]
        if len(batches) > 1:
            raise InputError("the prepared photos differ in size: training needs photos of one size")
        known = [sample.label for sample in chosen if sample.label is not None]
        labels = torch.tensor(known) if len(known) == len(chosen) else None
        return Batch(ModelInputs.of(batches[0]), labels, tuple(sample.name for sample in chosen))


_ALONE = 1 / 3  # of a set of pairs stand beside nothing but themselves


class Pairs:
    """Every photo of others beside another one of them, left or right of it by chance; the label is the photo's own.

    So a conditional readout learns to tell classes apart that are there together. A third of the photos stand beside their own
    mirror image, so that it does not forget pictures of one class. The pictures are twice as wide.

    Args:
        examples: of images (N, C, H, W).
        seed: of who stands beside whom, and on which side.

    Raises:
        InputError: (when they are taken) if the inputs are no images.
    """

    def __init__(self, examples: Examples, seed: int = 0) -> None:
        self._examples = examples
        generator = torch.Generator().manual_seed(seed)
        circle = torch.randperm(len(examples), generator=generator)
        self._beside = torch.empty_like(circle)
        self._beside[circle] = circle.roll(1)
        self._left = torch.rand(len(examples), dtype=torch.float32, generator=generator) < 0.5
        self._alone = torch.rand(len(examples), dtype=torch.float32, generator=generator) < _ALONE

    def __len__(self) -> int:
        return len(self._examples)

    def take(self, rows: Sequence[int]) -> Batch:
        """Take the samples with these numbers, in this order."""
        own, others = self._examples.take(rows), self._examples.take(self._beside[list(rows)].tolist())
        if own.inputs.image_size is None:
            raise InputError("pairs are made of images (N, C, H, W); the first input is none")
        mine, theirs = own.inputs.first, others.inputs.first
        alone, left = (flag[list(rows)].view(-1, 1, 1, 1).to(mine.device) for flag in (self._alone, self._left))
        theirs = torch.where(alone, mine.flip(3), theirs)
        wide = torch.where(left, torch.cat([mine, theirs], 3), torch.cat([theirs, mine], 3))
        beside = ("itself" if self._alone[row] else name for row, name in zip(rows, others.names, strict=True))
        names = tuple(f"{name} beside {other}" for name, other in zip(own.names, beside, strict=True))
        return Batch(own.inputs.with_first(wide), own.labels, names)


def _joined(parts: Sequence[ModelInputs]) -> ModelInputs:
    def joined(key: Key, value: Any) -> Any:
        return torch.cat([part[key] for part in parts]) if key in parts[0].carriers else value

    return replace(parts[0].each(joined), count=sum(map(len, parts)))
