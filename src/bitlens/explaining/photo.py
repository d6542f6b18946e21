"""One photo as the network sees it, asked once."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from bitlens.core.places import Places
from bitlens.core.targets import Target
from bitlens.data.boxes import box_mask, object_mask
from bitlens.data.datasets import Sample
from bitlens.data.inputs import Content
from bitlens.data.numbers import Numbers
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import DataError, InputError
from bitlens.explaining.asked import Asked, answered
from bitlens.probe import Network

ObjectShape = Literal["boxes", "mask"]


@dataclass(frozen=True, kw_only=True)
class Photo(Asked):
    """One photo as the network sees it, or one input of another form.

    Attributes:
        sample: where it comes from.
        image: (1, C, H, W), on the network's device; of other forms laid out as `AXES` says.
        size: (width, height) of the photo before it was prepared, the shape of what is none.
        preprocess: how the image was made.
        numbers: what it was made of, where that is no photo.
        axes: what those of the image mean, where the network says or tells it, see `ModelInputs`.
    """

    sample: Sample
    image: Tensor
    size: tuple[int, ...]
    preprocess: Preprocessing
    numbers: Numbers | None = None
    axes: str | None = None

    @property
    def places(self) -> tuple[int, ...]:
        """Return how many places there are along each axis: (H, W), (T,), (D, H, W), or (D,) features of a row."""
        if self.axes is not None:
            return Places.of(self.axes, tuple(self.image.shape[1:])).size
        return tuple(self.image.shape[1 if self.image.dim() == 2 else 2 :])

    def inside(self, region: ObjectShape, max_area: float) -> Tensor | None:
        """Show where the object is, (1, H, W) in [0, 1]; None where that is unknown, outside, or more than `max_area`."""
        drawn = self._boxes if region == "boxes" else self._mask
        if drawn is None or not bool((drawn > 0.5).any()) or float(drawn.mean()) > max_area:
            return None
        return drawn[None]

    @cached_property
    def _boxes(self) -> Tensor | None:
        if not self.sample.boxes:
            return None
        width, height = self.size
        return box_mask(self.sample.boxes, (width, height), self.preprocess)

    @cached_property
    def _mask(self) -> Tensor | None:
        known = self.sample.mask
        if known is None or self.preprocess.form == "photo":
            return object_mask(known, self.preprocess) if known is not None else None
        if known.shape != self.places:
            raise InputError(
                f"the mask of {self.sample.name} has shape {known.shape}, the network's input {self.places}: masks cannot follow "
                "a preprocessing that changes the places"
            )
        return torch.from_numpy(known).to(torch.float32)


def fingerprint(sample: Sample, content: Content | None = None) -> str:
    """Hash the bytes of a sample's file, or its pixels or values where it has none, to 16 hexadecimal digits.

    Args:
        sample: the sample.
        content: what `sample.read` gives, if it was read already.

    Raises:
        DataError: if the file cannot be read.
    """
    try:
        if sample.path is not None:
            return hashlib.sha256(sample.path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise DataError(f"cannot read {sample.path}: {error.strerror or error}") from error
    content = content or sample.read()
    if isinstance(content, Path):
        raise DataError(f"{content} does not exist")
    values = content.values if isinstance(content, Numbers) else content
    return hashlib.sha256(values.tobytes()).hexdigest()[:16]


def read_photo(
    sample: Sample,
    network: Network,
    preprocess: Preprocessing,
    *,
    predicted: bool = False,
    asked: int | Target | None = None,
) -> Photo:
    """Read a sample and ask the network about it.

    Args:
        sample: the sample.
        network: that is asked.
        preprocess: what it wants done to a photo.
        predicted: whether the predicted class is asked about, whatever the label.
        asked: what is asked about in place of the label.

    Raises:
        DataError: if it cannot be read.
        InputError: if it cannot be prepared.
        TargetError: if its label is no class of the network.
    """
    content = sample.read()
    try:
        image = preprocess(content)[None]
    except InputError as error:
        raise InputError(f"{sample.name}: {error}") from error
    inputs = network.prepared(image)
    output, form = network.answered(inputs)
    wanted = asked if asked is not None or predicted else sample.label
    said = answered(output, wanted, form)
    mark = fingerprint(sample, content)
    numbers = content if isinstance(content, Numbers) else None
    size = content.size if isinstance(content, Image.Image) else tuple(image.shape[1:])
    return Photo(
        mark,
        *said,
        sample=sample,
        image=inputs.first,
        size=size,
        preprocess=preprocess,
        numbers=numbers,
        axes=inputs.axes,
    )
