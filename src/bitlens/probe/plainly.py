"""A network's modules called one by one, as they are written: nothing is compiled, checkpointed or fused."""

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
import torch.utils.checkpoint
from torch import nn

from bitlens.core.inputs import tensors_of
from bitlens.core.passes import is_quantised
from bitlens.errors import LayerError

Forward = Callable[..., Any]
Wrapper = Callable[[nn.Module, Forward], Forward]

_Checkpoint = torch.utils.checkpoint.CheckpointFunction
_checkpointed = getattr(torch.utils.checkpoint, "_checkpoint_without_reentrant_generator", None)


@contextmanager
def one_by_one(model: nn.Module) -> Iterator[None]:
    """Call the network's modules one by one in this thread within the block, and the functions between them as well.

    Results are the same; only then are the modules called, and the operations seen, that a method looks at.
    """
    compiled = {module: module._compiled_call_impl for module in model.modules() if _is_compiled_in_place(module)}
    try:
        for module in compiled:
            module._compiled_call_impl = None
        with _switched_off():
            yield
    finally:
        for module, call in compiled.items():
            module._compiled_call_impl = call


def _is_compiled_in_place(module: nn.Module) -> bool:
    """Say whether `module.compile()` was called."""
    return module.__dict__.get("_compiled_call_impl") is not None


def plain_forwards(model: nn.Module) -> dict[nn.Module, Wrapper]:
    """Return what takes the place of forward where a module was compiled, has no gradient, or takes its keywords in a mapping."""
    found: dict[nn.Module, Wrapper] = {}
    for module in model.modules():
        if what_was_compiled(module) is not None:
            found[module] = _uncompiled
        elif is_quantised(module):
            found[module] = _without_gradient(next(name for name, known in model.named_modules() if known is module))
    if model not in found and _may_take_a_mapping(model):
        found[model] = _taking_a_mapping
    return found


def what_was_compiled(module: nn.Module) -> nn.Module | None:
    """Return what torch.compile was given, for a module that it gave back."""
    script = isinstance(module, torch.jit.ScriptModule)  # it keeps its modules elsewhere
    return None if script else module._modules.get("_orig_mod")


def _uncompiled(module: nn.Module, forward: Forward) -> Forward:
    inner = what_was_compiled(module) or forward

    def called(*args: Any, **kwargs: Any) -> Any:
        return inner(*args, **kwargs)

    return called


def _without_gradient(name: str) -> Wrapper:
    """Return a module that computes with integers; PyTorch would give no gradient, without a word."""

    def wrap(module: nn.Module, forward: Forward) -> Forward:
        def called(*args: Any, **kwargs: Any) -> Any:
            if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors_of((args, kwargs))):
                raise LayerError(
                    f"no gradient passes module {name!r} (quantised {type(module).__name__}): give the network as it "
                    "was before, or choose a method that needs no gradient (occlusion, rise)"
                )
            return forward(*args, **kwargs)

        return called

    return wrap


def _may_take_a_mapping(model: nn.Module) -> bool:
    """Say whether forward wants one argument, which it might want a whole batch in."""
    if isinstance(model, torch.jit.ScriptModule):
        return False
    parameters = inspect.signature(model.forward).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return False
    return sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters) == 1


def _taking_a_mapping(_module: nn.Module, forward: Forward) -> Forward:
    """Pass keywords that forward does not know as the entries of the one mapping that it takes."""
    signature = inspect.signature(forward)

    def called(*args: Any, **kwargs: Any) -> Any:
        if args or not kwargs or _binds(signature, kwargs):
            return forward(*args, **kwargs)
        return forward(kwargs)

    return called


def _binds(signature: inspect.Signature, keywords: Mapping[str, Any]) -> bool:
    try:
        signature.bind(**keywords)
    except TypeError:
        return False
    return True


class _Switches:
    """Global switches of PyTorch, off as long as any thread is in a block."""

    lock = threading.Lock()
    blocks = 0
    compiling = 0
    put_back = ExitStack()


class _Here(threading.local):
    """Count of the blocks that this thread is in."""

    blocks = 0


_here = _Here()


@contextmanager
def _switched_off() -> Iterator[None]:
    with _Switches.lock:
        if _Switches.blocks == 0:
            with ExitStack() as stack:
                for switch in (_attention_unfused(), _nothing_compiled(), _nothing_checkpointed()):
                    stack.enter_context(switch)
                _Switches.put_back = stack.pop_all()
        _Switches.blocks += 1
    _here.blocks += 1
    try:
        yield
    finally:
        _here.blocks -= 1
        with _Switches.lock:
            _Switches.blocks -= 1
            if _Switches.blocks == 0:
                _Switches.put_back.close()


@contextmanager
def _attention_unfused() -> Iterator[None]:
    """Turn off fused attention, which bypasses the modules within `nn.TransformerEncoder`: no layer there could be reached."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _stance(name: str) -> AbstractContextManager[Any]:
    """Choose how PyTorch runs compiled functions, since 2.6, from now on or for a block; before, functions run compiled."""
    choose: Callable[[str], AbstractContextManager[Any]] | None = getattr(torch.compiler, "set_stance", None)
    return ExitStack() if choose is None else choose(name)


@contextmanager
def _nothing_compiled() -> Iterator[None]:
    """Run compiled functions between the modules as written, too."""
    with _stance("force_eager"):
        yield


@contextmanager
def compiling() -> Iterator[None]:
    """Let what bitlens has compiled run compiled within the block, which is itself within one of `one_by_one`."""
    with _Switches.lock:
        _Switches.compiling += 1
        _stance("default")
    try:
        yield
    finally:
        with _Switches.lock:
            _Switches.compiling -= 1
            if _Switches.compiling == 0:
                _stance("force_eager")


class _Plain:
    """Stand-in for the reentrant checkpoint's autograd function: in a block, the function is simply called."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        """Call it, or checkpoint it in threads that are in no block."""
        if _here.blocks:
            return function(*args)
        return _Checkpoint.apply(function, preserve, *args)  # type: ignore[no-untyped-call]


def _plain(*args: Any, **kwargs: Any) -> Iterator[None]:
    """Give what happens before and after the call of a function that is checkpointed: in a block, nothing."""
    if _here.blocks or _checkpointed is None:
        yield
    else:
        yield from _checkpointed(*args, **kwargs)


@contextmanager
def _nothing_checkpointed() -> Iterator[None]:
    """Keep checkpointed functions from running again in the backward pass, where nothing is replayed, spliced or counted."""
    place = torch.utils.checkpoint
    stand_ins = {"CheckpointFunction": _Plain, "_checkpoint_without_reentrant_generator": _plain}
    known = {name: getattr(place, name) for name in stand_ins if hasattr(place, name)}
    try:
        for name in known:
            setattr(place, name, stand_ins[name])
        yield
    finally:
        for name, value in known.items():
            setattr(place, name, value)
