"""Everything that reaches into a user's module, and puts it back."""

import difflib
import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from bitlens.errors import LayerError

__all__ = ["Forward", "Wrapper", "find_layer", "frozen", "wrapped"]

Forward = Callable[..., Any]
Wrapper = Callable[[nn.Module, Forward], Forward]

_LOCKS: "WeakKeyDictionary[nn.Module, threading.RLock]" = WeakKeyDictionary()
_ABSENT = object()


def find_layer(model: nn.Module, layer: str | nn.Module) -> tuple[str, nn.Module]:
    """The dotted name and the module of a layer given by either.

    Raises:
        LayerError: if the network has no such layer; names that look alike are listed.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    if isinstance(layer, nn.Module):
        for name, module in modules.items():
            if module is layer:
                return name, module
        raise LayerError(f"layer {type(layer).__name__} is not part of {type(model).__name__}: pass one of its modules")
    if layer in modules and layer:
        return layer, modules[layer]
    close = difflib.get_close_matches(layer, list(modules), n=4, cutoff=0.4) or [
        n for n in modules if n and "." not in n
    ]
    raise LayerError(f"{type(model).__name__} has no layer {layer!r}; did you mean {', '.join(map(repr, close[:6]))}?")


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no weight gradients within the block; everything is put back, also after an error."""
    training = [module for module in model.modules() if module.training]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with _LOCKS.setdefault(model, threading.RLock()), torch.inference_mode(False):
        try:
            for module in training:
                module.training = False
            for parameter in trainable:
                parameter.requires_grad_(False)
            yield
        finally:
            for module in training:
                module.training = True
            for parameter in trainable:
                parameter.requires_grad_(True)


@contextmanager
def wrapped(modules: Mapping[nn.Module, Wrapper]) -> Iterator[None]:
    """Replace `forward` of each module by wrapper(module, forward); hooks of the user go on working around it."""
    saved = {module: module.__dict__.get("forward", _ABSENT) for module in modules}
    try:
        for module, wrap in modules.items():
            module.__dict__["forward"] = functools.wraps(module.forward)(wrap(module, module.forward))
        yield
    finally:
        for module, forward in saved.items():
            if forward is _ABSENT:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = forward
