"""Everything that reaches into a user's module, and puts it back."""

import difflib
import functools
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from bitlens.errors import LayerError

Forward = Callable[..., Any]
Wrapper = Callable[[nn.Module, Forward], Forward]

_LOCKS: "WeakKeyDictionary[nn.Module, threading.RLock]" = WeakKeyDictionary()
_ABSENT = object()
_RECURRENT = (nn.RNN, nn.LSTM, nn.GRU)  # subclasses may do something else in train mode


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
    names = [name for name in modules if name]
    close = difflib.get_close_matches(layer, names, n=4, cutoff=0.4) or [name for name in names if "." not in name]
    raise LayerError(f"{type(model).__name__} has no layer {layer!r}; did you mean {', '.join(map(repr, close[:6]))}?")


def device_of(model: nn.Module) -> torch.device:
    """Where the network's first parameter (or buffer) lives."""
    first = next(itertools.chain(model.parameters(), model.buffers()), None)
    return first.device if first is not None else torch.device("cpu")


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no weight gradients within the block; everything is put back, also after an error."""
    with _LOCKS.setdefault(model, threading.RLock()), torch.inference_mode(False), _every_module_called():
        training = {module: module.training for module in model.modules()}
        recurrent = {m: m.dropout for m in training if isinstance(m, nn.RNNBase) and type(m) in _RECURRENT}
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        try:
            for module, mode in training.items():
                wanted = module in recurrent  # cuDNN gives no gradient of recurrent layers in evaluation mode
                if mode != wanted:  # setting an attribute of a module is slow
                    module.training = wanted
            for layer in recurrent:
                layer.dropout = 0.0  # without it they do the same in both modes
            for parameter in trainable:
                parameter.requires_grad_(False)
            yield
        finally:
            for module, mode in training.items():
                if module.training != mode:
                    module.training = mode
            for layer, dropout in recurrent.items():
                layer.dropout = dropout
            for parameter in trainable:
                parameter.requires_grad_(True)


class _FusedAttention:
    """How many blocks keep PyTorch's fused attention switched off, and whether it was on before the first of them."""

    lock = threading.Lock()
    blocks = 0
    enabled = True


@contextmanager
def _every_module_called() -> Iterator[None]:
    """Fused attention bypasses the modules within `nn.TransformerEncoder`, where a layer could then not be reached."""
    with _FusedAttention.lock:
        if _FusedAttention.blocks == 0:
            _FusedAttention.enabled = torch.backends.mha.get_fastpath_enabled()
            torch.backends.mha.set_fastpath_enabled(False)
        _FusedAttention.blocks += 1
    try:
        yield
    finally:
        with _FusedAttention.lock:
            _FusedAttention.blocks -= 1
            if _FusedAttention.blocks == 0:
                torch.backends.mha.set_fastpath_enabled(_FusedAttention.enabled)


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
