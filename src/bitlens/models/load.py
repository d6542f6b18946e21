"""A network by name: `torchvision/NAME`, `timm/NAME`, `hf/ORG/NAME`, `builtin/NAME`, or your own `FILE.py:CALLABLE`."""

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.transforms import v2

from bitlens.data.kinds import Kind
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import DataError, DependencyError, ModelError
from bitlens.models.builtin import BUILTIN, BUILTIN_TEXT
from bitlens.models.libraries import Parts, from_hub, from_timm, from_torchvision, timm_names, torchvision_names
from bitlens.models.load_text import text_network
from bitlens.models.loaded import Loaded
from bitlens.models.userfile import call_user_file, types_of
from bitlens.models.weight_files import load_weights
from bitlens.system.reading import MOST_JSON, read_bytes, text_stream

FORMS = {
    "torchvision/NAME": "a classifier of torchvision; NAME@WEIGHTS chooses its weights, NAME@random takes none",
    "timm/NAME": "a classifier of timm; NAME@random takes no weights",
    "hf/ORG/NAME": "an image classifier of the Hugging Face hub; hf/./DIR is a folder on this machine",
    "builtin/NAME": "a small network that comes with bitlens",
    "FILE.py:CALLABLE": "your own: the callable returns a module, or (module, preprocess)",
}


@dataclass(frozen=True)
class ModelEntry:
    """A line of the list of models.

    Attributes:
        spec: what to ask for it by.
        source: where it comes from.
        parameters: how many, None where only the network itself would tell.
        default_layer: the `layer` of `Loaded`.
    """

    spec: str
    source: str
    parameters: int | None = None
    default_layer: str | None = None


def load_model(
    spec: str, weights: Path | None = None, device: str | torch.device = "cpu", *, kind: Kind = "image"
) -> Loaded:
    """Load a network by name, in evaluation mode.

    Args:
        spec: one of `FORMS`, or for texts one of `TEXT_FORMS`.
        weights: a `.safetensors` file or a state dict with exactly the network's names and shapes, in place of the
            weights that come with it.
        device: where to put it.
        kind: what it reads, where its name does not tell: "image" or "text".

    Raises:
        ModelError: the name is of no known form or unknown; the network cannot be built, downloaded or moved to the
            device; or the weights do not fit.
        DependencyError: the library is not installed.
    """
    source, _, name = spec.partition("/")
    if kind == "text" or (source == "builtin" and name in BUILTIN_TEXT):
        loaded = text_network(spec, weights)
    else:
        loaded = _image_network(spec, weights)
    return replace(loaded, model=moved(loaded.model.eval(), device))


def _image_network(spec: str, weights: Path | None) -> Loaded:
    source, _, name = spec.partition("/")
    file, _, attribute = spec.rpartition(":")
    if file.endswith(".py"):
        return Loaded(spec, *_from_file(Path(file).expanduser(), attribute, weights))
    if source == "builtin" and name:
        return _builtin(name, weights)
    if source in _LIBRARIES and name:
        return Loaded(spec, *_LIBRARIES[source](name, weights))
    raise ModelError(f"unknown model {spec!r}: expected {', '.join(FORMS)}")


def available_models() -> list[ModelEntry]:
    """Return every model that can be named on this machine; nothing is downloaded."""
    entries = [
        ModelEntry(f"builtin/{name}", "bitlens", _count(entry.build()[0]), entry.layer)
        for name, entry in BUILTIN.items()
    ]
    entries += [ModelEntry(f"torchvision/{name}", "torchvision", count) for name, count in torchvision_names()]
    try:
        entries += [ModelEntry(f"timm/{name}", "timm") for name in timm_names()]
    except DependencyError:
        return entries  # not installed: it has nothing to offer here
    return entries


def read_classes(path: str | Path) -> tuple[str, ...]:
    """Read the names of a network's outputs, in their order.

    Args:
        path: a text file with one name on each line, or a table (`.csv`) with a column `name` or `names`, and
            optionally a column `index` that counts from 0.

    Raises:
        DataError: the file cannot be read, is empty, lacks the column, or its indices leave gaps.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".csv":
            names = _classes_of_table(path)
        else:
            names = [line.strip() for line in read_bytes(path, MOST_JSON).decode("utf-8-sig").splitlines()]
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"cannot read the class names {path}: {error}") from error
    if not names or not all(names):
        raise DataError(f"the class names {path} have an empty line: expected one name for each class")
    return tuple(names)


def _classes_of_table(path: Path) -> list[str]:
    with text_stream(path) as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or ()
        column = next((name for name in ("name", "names") if name in columns), None)
        if column is None:
            raise DataError(f"the class names {path} have no column 'name' or 'names': found {list(columns)}")
        rows = [(row.get("index", str(number)), row[column]) for number, row in enumerate(reader)]
    named = {index: (name or "").strip() for index, name in rows}
    indices = [str(index) for index in range(len(rows))]
    if set(named) != set(indices):
        raise DataError(f"the column 'index' of {path} must hold each of 0 … {len(rows) - 1} once")
    return [named[index] for index in indices]


def _builtin(name: str, weights: Path | None) -> Loaded:
    if name not in BUILTIN:
        known = " or ".join(f"builtin/{known}" for known in BUILTIN)
        raise ModelError(f"there is no builtin/{name} for photos: expected {known}")
    entry = BUILTIN[name]
    network, preprocess = entry.build()
    if weights is not None:
        load_weights(network, weights)
    return Loaded(
        f"builtin/{name}",
        network,
        Preprocessing(preprocess),
        entry.classes,
        entry.layer,
        beta=entry.beta,
        readout=entry.readout,
        learns_from=entry.learns_from,
    )


_LIBRARIES: dict[str, Callable[[str, Path | None], Parts]] = {
    "torchvision": from_torchvision,
    "timm": from_timm,
    "hf": from_hub,
}


def _from_file(file: Path, attribute: str, weights: Path | None) -> Parts:
    made = call_user_file(file, attribute)
    network, preprocess = made if isinstance(made, tuple) and len(made) == 2 else (made, _standard())
    if not isinstance(network, nn.Module) or not callable(preprocess):
        raise ModelError(f"{file}:{attribute} returned {types_of(made)}, expected a module or (module, preprocess)")
    if weights is not None:
        load_weights(network, weights)
    return network, preprocess if isinstance(preprocess, Preprocessing) else Preprocessing(preprocess), None


def _standard() -> Callable[..., Any]:
    """Return what a module that comes without gets: shorter side to 256, centre 224 x 224, ImageNet's mean and deviation."""
    transform: Callable[..., Any] = v2.Compose(
        [
            v2.Resize(256, antialias=True),
            v2.CenterCrop(224),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    return transform


def moved(network: nn.Module, device: str | torch.device) -> nn.Module:
    """Return the network on a device.

    Raises:
        ModelError: if there is no such device, or no room on it.
    """
    try:
        return network.to(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(f"cannot put the network on device {device!s}: {str(error).splitlines()[0]}") from error


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
