"""What a tab for inputs with places takes: photos or signals, with bundled ones to try, each a file that everybody may name."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import from_numpy

from bitlens.app.files import Folders
from bitlens.core.seen import Seen
from bitlens.data.datasets import Sample, open_dataset
from bitlens.errors import InputError
from bitlens.models.builtin import BUILTIN
from bitlens.view.canvas import add_axes, new_page, png_of
from bitlens.view.colours import Scale
from bitlens.view.encoding import as_data_uri, picture_uri
from bitlens.view.signals import draw_leads

_SCENES, _SIGNALS = 8, 4


@dataclass(frozen=True)
class InputKind:
    """A kind of input with places.

    Attributes:
        name: of one of them.
        examples: name of the data set.
        count: how many of it are offered.
        drawn: gives a picture of one as an address, and writes it to the file that is named but for its ending.
        called: says what one is.
        place: makes a component that takes a file.
        prices: exponents of the ends of the price.
    """

    name: str
    examples: str
    count: int
    drawn: Callable[[Sample, Path], tuple[str, Path]]
    called: Callable[[Sample], str]
    place: Callable[[Any], Any]
    prices: tuple[float, float] = (-1, 3)

    def upload(self, gr: Any, folders: Folders) -> Any:
        """Place what takes a file. What gradio would do to it first, we do later: what cannot be read then gets a sentence."""
        taken = self.place(gr)

        def checked(payload: Any) -> str | None:
            try:
                return None if payload is None else str(folders.uploaded(payload.path))
            except InputError as error:  # the gate has asked before; nothing here relies on it
                raise gr.Error(str(error), title="This cannot be explained", print_exception=False) from error

        taken.preprocess = checked
        return taken

    def bundled(self, folder: Path) -> Iterator[tuple[str, str, str]]:
        """Write the examples to a folder; yields of each what shows it as HTML, what it is, and its file."""
        folder.mkdir(parents=True, exist_ok=True)
        samples = open_dataset(self.examples)
        for number in range(self.count):
            sample = samples[number]
            picture, file = self.drawn(sample, folder / sample.name.replace(" ", "-"))
            yield f'<img src="{picture}" alt="">', self.called(sample), str(file)


def _photo(sample: Sample, stem: Path) -> tuple[str, Path]:
    image, file = sample.image, stem.with_suffix(".png")
    image.save(file)
    return picture_uri(image), file


def _signal(sample: Sample, stem: Path) -> tuple[str, Path]:
    numbers, file = sample.read(), stem.with_suffix(".npy")
    assert not isinstance(numbers, Path | Image.Image)
    np.save(file, numbers.values)
    page = new_page(1.6, 0.8)
    axes = add_axes(page, 0, 0, 1.6, 0.8)
    draw_leads(axes, Seen(values=from_numpy(numbers.values)), None, Scale("bits/sample", 1.0))
    axes.set(xticks=[], yticks=[])
    return as_data_uri(png_of(page), "image/png"), file


PHOTOS = InputKind(
    "photo",
    "builtin:scenes",
    _SCENES,
    _photo,
    lambda sample: f"Scene with a {sample.label}",
    lambda gr: gr.Image(
        label="Photo",
        show_label=False,
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        height=210,
        elem_id="photo",
    ),
)
SIGNALS = InputKind(
    "signal",
    "builtin:signals",
    _SIGNALS,
    _signal,
    lambda sample: f"Signal with a {BUILTIN['signals'].classes[sample.label or 0]} wave",
    lambda gr: gr.File(
        label="Signal",
        show_label=False,
        type="filepath",
        file_types=[".npy", ".csv", ".wav"],
        height=120,
        elem_id="signal",
    ),
)
