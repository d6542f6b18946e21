"""Everything that reaches into a user's module, and puts it back."""

import difflib
import functools
import itertools
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from bitlens.core.inputs import ModelInputs
from bitlens.errors import BitlensWarning, LayerError

Forward = Callable[..., Any]
Wrapper = Callable[[nn.Module, Forward], Forward]

_LOCKS: "WeakKeyDictionary[nn.Module, threading.RLock]" = WeakKeyDictionary()
_ABSENT = object()
_RECURRENT = (nn.RNN, nn.LSTM, nn.GRU)  # subclasses may do something else in train mode


def call_of(layer: str | nn.Module) -> int | None:
    """Which call of a layer a name means: `NAME#2` is the third of each pass (ALBERT calls one block for every layer)."""
    _, mark, call = layer.rpartition("#") if isinstance(layer, str) else ("", "", "")
    return int(call) if mark and call.isascii() and call.isdigit() else None


def find_layer(model: nn.Module, layer: str | nn.Module) -> tuple[str, nn.Module]:
    """The dotted name and the module of a layer given by either; a name may end in the number of a call (`call_of`).

    Raises:
        LayerError: if the network has no such layer; names that look alike are listed.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    if isinstance(layer, str) and layer not in modules and call_of(layer) is not None:
        return layer, find_layer(model, layer.rpartition("#")[0])[1]
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


def prepared(model: nn.Module, inputs: Any) -> ModelInputs:
    """The inputs, read and moved to the network's device; a network in train mode is warned of."""
    if model.training:
        warnings.warn(
            f"{type(model).__name__} is in train mode; it is explained in eval mode (model.eval() silences this)",
            BitlensWarning,
            stacklevel=4,
        )
    return ModelInputs.of(inputs).to(device_of(model))


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no weight gradients within the block; everything is put back, also after an error.

    Networks of transformers keep no cache of keys and values (`use_cache`) in it: nobody reads one here, and what a pass wrote
    into it would have to be replayed.
    """
    with _LOCKS.setdefault(model, threading.RLock()), torch.inference_mode(False), _every_module_called():
        training = {module: module.training for module in model.modules()}
        recurrent = {m: m.dropout for m in training if isinstance(m, nn.RNNBase) and type(m) in _RECURRENT}
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        configs: dict[int, Any] = {id(c): c for m in training if (c := m.__dict__.get("config")) is not None}
        caching = [config for config in configs.values() if getattr(config, "use_cache", False) is True]
        try:
            for config in caching:
                config.use_cache = False
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
            for config in caching:
                config.use_cache = True
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
