"""Small labelled images that fit the memory as one tensor, for training: from an .npz file, or any labelled data set."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bitlens.data.datasets import open_dataset
from bitlens.errors import DataError
from bitlens.system.arrays import read_archive


@dataclass(frozen=True, eq=False)
class SmallImages:
    """Images and their classes.

    Attributes:
        images: (N, 3, size, size), float32 in [0, 1].
        labels: (N,) class indices.
        classes: how many classes there are.
    """

    images: Tensor
    labels: Tensor
    classes: int

    def split(self, shares: tuple[float, ...], seed: int) -> tuple["SmallImages", ...]:
        """Return parts of the given shares in random order, each with the classes in the same proportions.

        Raises:
            DataError: if a part would be empty.
        """
        generator = torch.Generator().manual_seed(seed)
        chosen: list[list[Tensor]] = [[] for _ in shares]
        for label in range(self.classes):
            own = (self.labels == label).nonzero().flatten()
            own = own[torch.randperm(len(own), generator=generator)]
            ends = [round(len(own) * sum(shares[: i + 1])) for i in range(len(shares))]
            for part, start, end in zip(chosen, [0, *ends], ends, strict=False):
                part.append(own[start:end])
        rows = [torch.cat(part) for part in chosen]
        if not all(len(part) for part in rows):
            raise DataError(f"{len(self.labels)} images are too few for parts of {shares}: give more")
        return tuple(SmallImages(self.images[part], self.labels[part], self.classes) for part in rows)


def read_small_images(spec: str, size: int, limit: int | None = None) -> SmallImages:
    """Read all images of a data set at one small size.

    Args:
        spec: `npz:FILE` with arrays `images` (N, H, W, 3) of bytes and `labels` (N,), or a data set with labels as
            `open_dataset` takes it.
        size: pixels of each side; others are resized (bilinear, the whole picture).
        limit: at most so many, spread over the whole set.

    Raises:
        DataError: if it is missing, damaged, without labels, or holds one class only.
    """
    kind, _, place = spec.partition(":")
    images, labels = _from_npz(Path(place), size, limit) if kind == "npz" else _from_samples(spec, size, limit)
    classes = int(labels.max()) + 1 if len(labels) else 0
    if classes < 2 or int(labels.min()) < 0:
        raise DataError(f"{spec} must hold at least two classes, labelled 0, 1, …")
    return SmallImages(images, labels, classes)


def _from_npz(file: Path, size: int, limit: int | None) -> tuple[Tensor, Tensor]:
    what, remedy = "an .npz file with arrays 'images' and 'labels'", "save them with numpy.savez"
    pixels, labels = read_archive(file, what, remedy, ("images", "labels"))
    if labels.dtype.kind not in "iu" or (labels.size and not 0 <= labels.min() <= labels.max() < 10**9):
        raise DataError(f"{file}: labels are {labels.dtype}, expected whole numbers 0, 1, 2, …")
    if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8 or labels.shape != (len(pixels),):
        raise DataError(
            f"{file}: expected images (N, H, W, 3) of bytes and labels (N,), got {pixels.shape} of {pixels.dtype} and "
            f"{labels.shape}"
        )
    rows = _spread(len(pixels), limit)
    images = [_resized(Image.fromarray(pixels[row]), size) for row in rows]
    return torch.stack(images), torch.from_numpy(labels[rows].astype(np.int64))


def _from_samples(spec: str, size: int, limit: int | None) -> tuple[Tensor, Tensor]:
    samples = open_dataset(spec)
    images, labels = [], []
    for row in _spread(len(samples), limit):
        sample = samples[row]
        if sample.label is None:
            raise DataError(f"{spec}: {sample.name} has no label; training needs one for every image")
        images.append(_resized(sample.image, size))
        labels.append(sample.label)
    return torch.stack(images), torch.tensor(labels)


def _spread(count: int, limit: int | None) -> list[int]:
    number = min(count, limit or count)
    return [place * count // number for place in range(number)]


def _resized(picture: Image.Image, size: int) -> Tensor:
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    return to_tensor(picture)


def to_tensor(picture: Image.Image) -> Tensor:
    """Turn a picture into (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.asarray(picture.convert("RGB"), dtype=np.float32) / 255).permute(2, 0, 1)
