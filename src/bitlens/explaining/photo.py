"""One photo as the network sees it, asked once."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from bitlens.data.boxes import box_mask, object_mask
from bitlens.data.datasets import Sample
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import DataError, InputError
from bitlens.explaining.asked import Asked, answered
from bitlens.probe import Network

ObjectShape = Literal["boxes", "mask"]


@dataclass(frozen=True, kw_only=True)
class Photo(Asked):
    """One photo as the network sees it.

    Attributes:
        sample: where it comes from.
        image: (1, C, H, W), on the network's device.
        size: (width, height) of the photo before it was prepared.
        preprocess: how the image was made.
    """

    sample: Sample
    image: Tensor
    size: tuple[int, int]
    preprocess: Preprocessing

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
        return box_mask(self.sample.boxes, self.size, self.preprocess)

    @cached_property
    def _mask(self) -> Tensor | None:
        return object_mask(self.sample.mask, self.preprocess) if self.sample.mask is not None else None


def fingerprint(sample: Sample, picture: Image.Image | None = None) -> str:
    """Hash the bytes of a sample's file, or its pixels where it has none, to 16 hexadecimal digits.

    Args:
        sample: the sample.
        picture: its photo, if it was read already.

    Raises:
        DataError: if the file cannot be read.
    """
    try:
        content = sample.path.read_bytes() if sample.path is not None else (picture or sample.image).tobytes()
    except OSError as error:
        raise DataError(f"cannot read {sample.path}: {error.strerror or error}") from error
    return hashlib.sha256(content).hexdigest()[:16]


def read_photo(sample: Sample, network: Network, preprocess: Preprocessing) -> Photo:
    """Read a sample and ask the network about it.

    Raises:
        DataError: if it cannot be read.
        InputError: if it cannot be prepared.
        TargetError: if its label is no class of the network.
    """
    picture = sample.image
    try:
        image = preprocess(picture)[None]
    except InputError as error:
        raise InputError(f"{sample.name}: {error}") from error
    inputs = network.prepared(image)
    with torch.no_grad(), network.running(inputs) as run:
        output = run(inputs.first.clone())  # a network may overwrite what it is given
    said = answered(output, sample.label, network.form(inputs, output))
    mark = fingerprint(sample, picture)
    return Photo(mark, *said, sample=sample, image=inputs.first, size=picture.size, preprocess=preprocess)
