"""One photo as the network sees it, asked once."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

import torch
from PIL import Image
from torch import Tensor

from bitlens.core.targets import as_target
from bitlens.data.boxes import box_mask, object_mask
from bitlens.data.datasets import Sample
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import DataError, InputError
from bitlens.probe import Network

Region = Literal["boxes", "mask"]
T = TypeVar("T")


@dataclass(frozen=True)
class Photo:
    """One sample as the network sees it.

    Attributes:
        sample: where it comes from.
        image: (1, C, H, W), on the network's device.
        size: (width, height) of the photo before it was prepared.
        preprocess: how the image was made.
        fingerprint: of its file's bytes or of its pixels, 16 hexadecimal digits.
        target: the class, label or value (its index) that is asked about: the sample's, or the predicted one where it has none.
        predicted: the class that the network names.
        probability: of the target; of a regression the value.
        asked: what is asked about, as attributions say it: the index, or the value of a regression.
        measure: what `probability` is: "probability" or "score".
    """

    sample: Sample
    image: Tensor
    size: tuple[int, int]
    preprocess: Preprocessing
    fingerprint: str
    target: int
    predicted: int
    probability: float
    asked: str = ""
    measure: str = "probability"
    _shared: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What does not depend on a map and several methods are measured with, made the first time."""
        if name not in self._shared:
            self._shared[name] = make()
        shared: T = self._shared[name]
        return shared

    def inside(self, region: Region, max_area: float) -> Tensor | None:
        """(1, H, W) in [0, 1], where the object is; None where that is unknown, lies outside, or covers more than `max_area`."""
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
    """Of the bytes of a sample's file, or of its pixels where it has none: 16 hexadecimal digits.

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
    form = network.form(inputs, output)
    question = as_target(sample.label, output, 1, form)
    predicted = 0 if form.numbers == "regression" else int(form.scores(output).argmax(1))
    target = predicted if sample.label is None else sample.label
    (asked,), value = question.describe(), float(question.value(output))
    identity = fingerprint(sample, picture)
    return Photo(
        sample, inputs.first, picture.size, preprocess, identity, target, predicted, value, asked, question.measure
    )
