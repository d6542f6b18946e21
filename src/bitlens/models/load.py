"""A network by name: `torchvision/NAME`, `timm/NAME`, `hf/ORG/NAME`, `builtin/NAME`, or your own `FILE.py:CALLABLE`."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn
from torchvision.transforms import v2

from bitlens.data.kinds import Form, Kind
from bitlens.data.preprocessing import Preprocessing, as_tensor
from bitlens.errors import ModelError
from bitlens.models.builtin import BUILTIN, BUILTIN_TEXT
from bitlens.models.libraries import Parts, from_hub, from_timm, from_torchvision
from bitlens.models.listing import FORMS, unknown_model
from bitlens.models.load_text import text_network
from bitlens.models.loaded import Loaded
from bitlens.models.userfile import call_user_file, types_of
from bitlens.models.weight_files import load_weights


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
    raise unknown_model(spec, FORMS)


def _builtin(name: str, weights: Path | None) -> Loaded:
    if name not in BUILTIN:
        known = " or ".join(f"builtin/{known}" for known in BUILTIN)
        raise ModelError(f"there is no builtin/{name} for photos: expected {known}")
    entry = BUILTIN[name]
    network, preprocess = entry.build()
    names = tuple(getattr(network, "feature_names", ()))
    if weights is not None:
        load_weights(network, weights)
    return Loaded(
        f"builtin/{name}",
        network,
        Preprocessing(preprocess, form=entry.form, names=names),
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
    own = getattr(network, "classes", None)
    known = isinstance(own, tuple | list) and bool(own) and all(isinstance(name, str) for name in own)
    reading = preprocess if isinstance(preprocess, Preprocessing) else _reading(network, made, preprocess)
    return network, reading, tuple(own) if known and own else None


def _reading(network: nn.Module, made: Any, preprocess: Callable[..., Any]) -> Preprocessing:
    """Return how a network from a file reads: as its `bitlens_input` says, or as its preprocessing takes paths, else photos."""
    alone = not isinstance(made, tuple)
    form: Any = getattr(network, "bitlens_input", None) or (
        "file" if not alone and _takes_path(preprocess) else "photo"
    )
    if form not in get_args(Form):
        raise ModelError(f"bitlens_input of the network is {form!r}: expected {', '.join(get_args(Form)[:-1])}")
    names, rate = getattr(network, "feature_names", ()), getattr(network, "sampling_rate", None)
    plain = as_tensor if alone and form != "photo" else preprocess
    return Preprocessing(plain, usual=alone and form == "photo", form=form, names=tuple(names), rate=rate)


def _takes_path(preprocess: Callable[..., Any]) -> bool:
    """Return whether the first argument of a preprocessing is annotated as a path."""
    try:
        (first, *_) = inspect.signature(preprocess).parameters.values()
    except (TypeError, ValueError):  # nothing to read, or no argument
        return False
    return first.annotation is Path or str(first.annotation) in ("Path", "pathlib.Path")


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
