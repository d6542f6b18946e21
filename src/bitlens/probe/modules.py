"""Everything that reaches into a user's module, and puts it back."""

import difflib
import functools
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeGuard
from weakref import WeakKeyDictionary

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bitlens.core.inputs import Key, ModelInputs
from bitlens.errors import LayerError, ModelError
from bitlens.probe.failures import said
from bitlens.probe.plainly import one_by_one, plain_forwards, what_was_compiled

Forward = Callable[..., Any]
Wrapper = Callable[[nn.Module, Forward], Forward]

_LOCKS: "WeakKeyDictionary[nn.Module, threading.RLock]" = WeakKeyDictionary()
_ABSENT = object()
_WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module")  # of torch.compile, and of PyTorch's checkpoint wrapper
_CAST = (torch.float32, torch.float16, torch.bfloat16)
_RECURRENT = (nn.RNN, nn.LSTM, nn.GRU)  # subclasses may do something else in train mode


def call_of(layer: str | nn.Module) -> int | None:
    """Return which call of a layer a name means: `NAME#2` is the third of each pass (ALBERT calls one block for every layer)."""
    _, mark, call = layer.rpartition("#") if isinstance(layer, str) else ("", "", "")
    return int(call) if mark and call.isascii() and call.isdigit() else None


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module that torch.compile was given, for what it gave back; any other as it is."""
    inner = what_was_compiled(model)
    return model if inner is None else unwrapped(inner)


def refuse_unready(model: nn.Module) -> None:
    """Refuse a network whose weights have no shape as yet (of lazy modules), or can never have a gradient (ModelError)."""
    kind = type(model).__name__
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise ModelError(f"{name} of {kind} has no shape yet: pass one batch through the network first")
        if parameter.is_inference():
            raise ModelError(
                f"{name} of {kind} was made in torch.inference_mode(), so that no gradient can pass it: explain "
                "copy.deepcopy(model), made outside of it"
            )


def plain_name(name: str) -> str:
    """Return a dotted name as it was before torch.compile or a checkpoint wrapper put a level in between."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def names_of(model: nn.Module) -> dict[nn.Module, str]:
    """Return the plain dotted name of every module, the first of those that it has."""
    return {module: plain_name(name) for name, module in reversed(list(model.named_modules()))}


def is_wrapper(module: nn.Module) -> bool:
    """Say whether a module only runs the one that torch.compile, or PyTorch's checkpoint wrapper, was given."""
    return not isinstance(module, torch.jit.ScriptModule) and any(name in module._modules for name in _WRAPPERS)


def find_layer(model: nn.Module, layer: str | nn.Module) -> tuple[str, nn.Module]:
    """Return the dotted name and the module of a layer given by either; a name may end in the number of a call (`call_of`).

    Names are those of the network that was compiled.

    Raises:
        LayerError: if the network has no such layer, or does not call it; names that look alike are listed.
    """
    full = {name: module for name, module in model.named_modules(remove_duplicate=False) if plain_name(name)}
    modules = {plain_name(name): module for name, module in full.items()}  # of wrapper and wrapped, the latter
    if isinstance(layer, str) and plain_name(layer) not in modules and call_of(layer) is not None:
        return plain_name(layer), find_layer(model, layer.rpartition("#")[0])[1]
    if isinstance(layer, nn.Module):
        name = next((plain_name(name) for name, module in full.items() if module is layer), "")
        if not name:
            kind = type(layer).__name__
            raise LayerError(f"layer {kind} is not part of {type(model).__name__}: pass one of its modules")
    elif isinstance(layer, str):
        name = plain_name(layer)
    else:
        raise LayerError(f"layer must be a module of the network or its dotted name, got {layer!r}")
    _refuse_graphs(model, name, known=name in modules)
    if name in modules:
        return name, modules[name]
    close = difflib.get_close_matches(name, modules, n=4, cutoff=0.4) or [
        known for known in modules if "." not in known
    ]
    raise LayerError(f"{type(model).__name__} has no layer {layer!r}; did you mean {', '.join(map(repr, close[:6]))}?")


def _refuse_graphs(model: nn.Module, layer: str, *, known: bool) -> None:
    """Refuse a layer that is not called as a module, because what encloses it runs as a graph of operations."""
    for name, module in model.named_modules():
        prefix = f"{plain_name(name)}." if plain_name(name) else ""
        graph = graph_held(module) if layer.startswith(prefix) else ""
        if graph and not (_is_fx(module) and _calls(module, layer.removeprefix(prefix), known=known)):
            raise LayerError(f"layer {layer!r} of {type(model).__name__} cannot be looked at: {graph}")


def graph_held(*modules: nn.Module) -> str:
    """Return what to say of the first of these that runs as one graph, so that modules in it are not called; "" if none does."""
    for module in modules:
        if isinstance(module, torch.jit.ScriptModule):
            what = f"TorchScript ({type(module).__name__})"
        elif _is_fx(module):
            what = f"a graph of torch.fx or torch.export ({type(module).__name__}), which calls no such module"
        else:
            continue
        return f"it holds {what}; give the Python module that it was made from"
    return ""


def _is_fx(module: nn.Module) -> TypeGuard[torch.fx.GraphModule]:
    return isinstance(module, torch.fx.GraphModule)


def _calls(graph: torch.fx.GraphModule, layer: str, *, known: bool) -> bool:
    """Say whether the graph calls the layer, or what encloses it; any module, if it has no such layer."""
    targets = (str(node.target) for node in graph.graph.nodes if node.op == "call_module")
    return any(not known or f"{layer}.".startswith(f"{target}.") for target in targets)


def device_of(model: nn.Module) -> torch.device:
    """Say where the network's first parameter (or buffer) lives, of those that are in memory."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    first = next((tensor for tensor in tensors if not tensor.is_meta), None)
    return first.device if first is not None else torch.device("cpu")


def in_precision_of(model: nn.Module, inputs: ModelInputs) -> ModelInputs:
    """Return real numbers in single or half precision as the network's first weights are."""
    wanted = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    if wanted not in _CAST:
        return inputs

    def cast(_: Key, value: Any) -> Any:
        return value.to(wanted) if isinstance(value, Tensor) and value.dtype in _CAST else value

    return inputs.each(cast)


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Keep evaluation mode and no weight gradients within the block; everything is put back, also after an error.

    Modules are called one by one, as they are written, whatever was compiled or checkpointed; and what the network raises is
    said in one sentence (see `failures`). Networks of transformers keep no cache of keys and values (`use_cache`): nobody reads
    one here, and what a pass wrote into it would have to be replayed.
    """
    lock = _LOCKS.setdefault(unwrapped(model), threading.RLock())
    plainly = wrapped(plain_forwards(model))
    with lock, torch.inference_mode(False), said(model), one_by_one(model), plainly:
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


def clean_pass(model: nn.Module, inputs: ModelInputs) -> Any:
    """Return what a network gives for inputs, untouched and without gradients."""
    with frozen(model), torch.no_grad():
        return inputs.passed_to(model)


def putting_out(change: Callable[[nn.Module, Any], Any]) -> Wrapper:
    """Return a module that does the same, and then puts out what is made of the module and its output."""

    def wrap(module: nn.Module, forward: Forward) -> Forward:
        def changed(*args: Any, **kwargs: Any) -> Any:
            return change(module, forward(*args, **kwargs))

        return changed

    return wrap


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
