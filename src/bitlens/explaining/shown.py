"""What people see of an input, kept beside its maps: photos as JPEG, signals, volumes and rows as numbers."""

import json
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from bitlens.core.places import Places
from bitlens.core.seen import Seen
from bitlens.data.images import read_image
from bitlens.data.kinds import Form
from bitlens.data.numbers import Numbers
from bitlens.explaining.photo import Photo
from bitlens.explaining.summary import VALUES
from bitlens.system.arrays import read_plain_arrays, write_arrays
from bitlens.system.checks import listed, mapping, number, text
from bitlens.system.reading import parsed, whole
from bitlens.view.encoding import save_photo

Shown: TypeAlias = Tensor | Seen
"""A photo (3, H, W) in [0, 1], or a signal, a volume or a row of a table with its values."""
_FORMAT = "bitlens.seen/1"


def shown_of(photo: Photo) -> Shown:
    """Return what a person sees of an input, as the network sees it."""
    one = photo.image[0].cpu()
    if one.dim() == 3:
        return photo.preprocess.display(one)
    if photo.axes is not None and "C" in photo.axes:
        one = Places.of(photo.axes, tuple(one.shape)).first(one[None])[0]
    raw = photo.numbers
    if raw is None:
        return Seen(values=one)
    same = raw.values.shape == tuple(one.shape)
    names = raw.names if len(raw.names) == len(one) else ()
    return Seen(values=one, names=names, rate=raw.rate if same else None, spacing=raw.spacing if same else None)


def save_shown(shown: Shown, path: Path) -> None:
    """Write it to a file that ends as a photo or as numbers do."""
    if isinstance(shown, Tensor):
        save_photo(shown, path)
        return
    assert shown.values is not None
    details = {"names": shown.names, "rate": shown.rate, "spacing": shown.spacing}
    write_arrays(path, {"values": shown.values.clone()}, {"format": _FORMAT, "details": json.dumps(details)})


def read_shown(path: Path) -> Shown:
    """Read what `save_shown` wrote.

    Raises:
        DataError: if it is missing, damaged, or holds something else.
    """
    if not path.name.endswith(VALUES):
        pixels = np.asarray(read_image(path), np.float32) / 255
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    arrays, metadata = read_plain_arrays(path, "an input", lambda held: held.get("format") == _FORMAT)
    with whole(path, "an input as the network saw it", "explain it again"):
        values, details = arrays["values"], mapping(parsed(metadata["details"]), "details")
        forms: dict[int, Form] = {1: "table", 2: "signal", 4: "volume"}
        form = forms.get(values.ndim)
        if form is None or values.dtype != np.float32:
            raise ValueError(f"it has shape {values.shape} of {values.dtype}")
        names = tuple(text(name, "a name") for name in listed(details["names"], "names"))
        rate = None if details["rate"] is None else number(details["rate"], "the rate")
        spacing = None if details["spacing"] is None else _spacing(details["spacing"])
        checked = Numbers(values, form, names, rate, spacing)
        return Seen(
            values=torch.from_numpy(values.copy()), names=checked.names, rate=checked.rate, spacing=checked.spacing
        )


def _spacing(given: Any) -> tuple[float, float, float]:
    first, second, third = (number(side, "spacing") for side in listed(given, "spacing"))
    return first, second, third
