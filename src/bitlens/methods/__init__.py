"""The list of every method by name (methods.json), for images and for texts, and the one way to build one."""

import difflib
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from bitlens.data.kinds import Kind
from bitlens.errors import SettingError
from bitlens.methods.entry import Method, MethodEntry

if TYPE_CHECKING:
    from torch import nn

    from bitlens.models.loaded import Loaded

__all__ = ["METHODS", "Method", "MethodEntry", "entry_of", "method"]

_LISTED = [MethodEntry(**row) for row in json.loads(files(__name__).joinpath("methods.json").read_text("utf-8"))]
METHODS: Mapping[Kind, Mapping[str, MethodEntry]] = {
    kind: {entry.name: entry for entry in _LISTED if entry.kind == kind} for kind in ("image", "text")
}


def entry_of(name: str, kind: Kind = "image") -> MethodEntry:
    """Return what the list says of a method.

    Raises:
        SettingError: if there is no such method.
    """
    known = METHODS[kind]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3) or list(known)
        where = " for texts" if kind == "text" else ""
        raise SettingError(f"there is no method {name!r}{where}; did you mean {' or '.join(map(repr, close))}?")
    return known[name]


def method(name: str, model: "nn.Module | Loaded", **settings: Any) -> Method:
    """Build a method by name, ready to explain; what it must learn, it has still to learn.

    Args:
        name: one of `bitlens methods`, or for a network that reads texts one of `bitlens text methods`.
        model: the network; one for texts must be loaded (`bitlens.load_model`), so that it comes with its tokenizer.
        **settings: what the method takes besides; what is not named is as published, or for texts as suits the network.

    Raises:
        SettingError: if there is no such method, or a setting has a value that makes no sense.
        LayerError: if the network has no such layer, or none that suits by default.
    """
    from bitlens.models.loaded import Loaded

    loaded = model if isinstance(model, Loaded) else None
    if loaded is not None and loaded.output is not None:
        settings = {"output": loaded.output, **settings}
    if loaded is None or loaded.kind == "image":
        built: Method = entry_of(name).made(loaded.model if loaded is not None else model, **settings)
    else:
        built = entry_of(name, "text").made(loaded, **settings)
    return built
