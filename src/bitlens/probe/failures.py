"""What the user's network raised in a pass, said in one sentence: which module, what it was given, what it wants."""

import inspect
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from bitlens.core.inputs import tensors_of
from bitlens.errors import BitlensError, InputError, ModelError

_MOST = 300  # characters of what was raised
_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class _Called(NamedTuple):
    """One call of a module that an exception went through."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@contextmanager
def said(model: nn.Module) -> Iterator[None]:
    """Make one sentence of what the network's own code raises within the block, with what was raised as its cause.

    What is raised elsewhere (by a target, or by bitlens) is not touched.

    Raises:
        InputError: if a module was given something that it does not take.
        ModelError: if the network failed in another way, or the memory was not enough.
    """
    try:
        yield
    except BitlensError:
        raise
    except Exception as error:
        names = {module: name for name, module in reversed(list(model.named_modules()))}
        sentence = _sentence(error, names, model)
        if sentence is None:
            raise
        raise sentence from error


def _sentence(error: Exception, names: dict[nn.Module, str], model: nn.Module) -> BitlensError | None:
    kind = type(model).__name__
    if isinstance(error, MemoryError) or any(text in str(error) for text in _MEMORY):
        return ModelError(f"the memory is not enough for a pass of {kind}: choose a smaller internal_batch_size")
    text = (str(error).strip() or "without a word").splitlines()[0][:_MOST]
    raised = f"{type(error).__name__}: {text}"
    calls = [call for call in _calls(error) if call.module in names]
    if not calls and any(frame.f_code is _GRAD for frame, _ in traceback.walk_tb(error.__traceback__)):
        return ModelError(f"no gradient can be computed through {kind}: choose a method that needs none ({raised})")
    if not calls:
        return None
    first, last = calls[0], calls[-1]
    given = _described(first, _count(first))
    given_whole = last is first or any(isinstance(value, dict) for value in last.args)
    for call in (last, first) if given_whole else (last,):
        takes = _arguments_taken(call) if isinstance(error, TypeError) else None
        if takes is not None:
            return InputError(
                f"{_named(call, names)} takes {takes}, but was given {_described(call, _count(first))}: several arguments of a "
                f"network go into a tuple, or by name into a mapping, and samples are stacked in one tensor ({raised})"
            )
    wants = _wants(last, text, _count(first))
    if wants:
        return InputError(f"{_named(last, names)} {wants}; {kind} was given {given} ({raised})")
    within = (
        f"its {_named(last, names)}, given {_described(last, _count(first))}, raised"
        if names[last.module]
        else "it raised"
    )
    own = any(parameter.dtype == torch.bfloat16 for parameter in model.parameters())
    lower = "bfloat16" in text.lower() and not own
    return ModelError(
        f"{kind} cannot be run on {given}: {within} {raised}; choose precision='float32'"
        if lower
        else f"{kind} cannot be run on {given}: {within} {raised}; see whether model(inputs) alone works"
    )


def _calls(error: BaseException) -> Iterator[_Called]:
    """Give the calls of modules that the exception went through, the outermost first."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code is _CALL:
            known = frame.f_locals
            yield _Called(known["self"], known["args"], known["kwargs"])


_CALL = nn.Module._call_impl.__code__
_GRAD = torch.autograd.grad.__code__


def _named(call: _Called, names: dict[nn.Module, str]) -> str:
    name, kind = names[call.module].replace("_orig_mod.", ""), type(call.module).__name__
    return f"module {name!r} ({kind})" if name else f"the network ({kind})"


def _first_tensor(call: _Called) -> Tensor | None:
    return next((leaf for leaf in tensors_of((call.args, call.kwargs)) if leaf.dim() > 0), None)


def _count(call: _Called) -> int | None:
    """Say how many samples there were."""
    tensor = _first_tensor(call)
    return None if tensor is None else len(tensor)


def _described(call: _Called, count: int | None) -> str:
    """Return what a module was given: shapes, with N for the number of samples, and types."""
    named = [("", value) for value in call.args] + [(f"{name}=", value) for name, value in call.kwargs.items()]
    return ", ".join(f"{name}{_kind(value, count)}" for name, value in named) or "nothing"


def _kind(value: Any, count: int | None) -> str:
    if not isinstance(value, Tensor):
        return "None" if value is None else type(value).__name__
    sizes = ["N" if axis == 0 and size == count else str(size) for axis, size in enumerate(value.shape)]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''}) of {str(value.dtype).removeprefix('torch.')}"


def _arguments_taken(call: _Called) -> str | None:
    """Return what forward takes, if it was called with something else."""
    signature = inspect.signature(call.module.forward)
    try:
        signature.bind(*call.args, **call.kwargs)
    except TypeError:
        return str(signature.replace(return_annotation=signature.empty, parameters=_bare(signature)))
    return None


def _bare(signature: inspect.Signature) -> list[inspect.Parameter]:
    return [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]


def _wants(call: _Called, text: str, count: int | None) -> str:
    """Return what a module of PyTorch's takes, where it was given something else; by what was raised."""
    tensor = _first_tensor(call)
    if tensor is None:
        return ""
    if isinstance(call.module, nn.Embedding | nn.EmbeddingBag):
        return _numbers_known(call.module, tensor)
    found = _kind(tensor, count)
    size = _size_taken(call.module, tuple(tensor.shape))
    if size:
        return f"takes {size} ({found}): give inputs of the size that the network was made for"
    return _weights_held(call.module, tensor, found) if "type" in text or "device" in text else ""


def _numbers_known(table: nn.Embedding | nn.EmbeddingBag, given: Tensor) -> str:
    if given.is_floating_point():
        return "takes whole numbers, but was given real ones: give inputs.long()"
    low, high = (int(given.min()), int(given.max())) if given.numel() else (0, 0)
    if low >= 0 and high < table.num_embeddings:
        return ""
    wrong = low if low < 0 else high
    return (
        f"knows the numbers from 0 to {table.num_embeddings - 1}, but was given {wrong}: use the tokenizer that belongs to the "
        "network"
    )


def _size_taken(module: Any, shape: tuple[int, ...]) -> str:
    name, wanted, axis = next((how(module) for kind, how in _SIZES if isinstance(module, kind)), ("", 0, 0))
    if isinstance(module, _ConvNd) and len(shape) != len(module.kernel_size) + 2:
        return f"{len(module.kernel_size) + 2} axes (samples, channels, places), but was given {len(shape)}"
    found = shape[axis] if name and -len(shape) <= axis < len(shape) else wanted
    return "" if found == wanted else f"{wanted} {name}, but was given {found}"


_Size = tuple[str, int, int]
_SIZES: Sequence[tuple[type[nn.Module], Callable[[Any], _Size]]] = (
    (nn.Linear, lambda module: ("features", module.in_features, -1)),
    (_ConvNd, lambda module: ("channels", module.in_channels, -1 - len(module.kernel_size))),
    (_BatchNorm, lambda module: ("channels", module.num_features, 1)),
    (nn.GroupNorm, lambda module: ("channels", module.num_channels, 1)),
    (nn.LayerNorm, lambda module: ("features", module.normalized_shape[-1], -1)),
    (nn.RNNBase, lambda module: ("features", module.input_size, -1)),
    (nn.MultiheadAttention, lambda module: ("features", module.embed_dim, -1)),
)
"""By the kind of a module: what it counts, how many it takes, and along which axis."""


def _weights_held(module: nn.Module, given: Tensor, found: str) -> str:
    weight = next((p for p in module.parameters(recurse=False) if p.is_floating_point()), None)
    if weight is None:
        return ""
    if weight.device != given.device:
        return (
            f"is on {weight.device}, but was given a tensor on {given.device}: bring all of the network to one device"
        )
    if weight.dtype == given.dtype:
        return ""
    own = str(weight.dtype)
    return f"has weights of {own.removeprefix('torch.')}, but was given {found}: give inputs.to({own})"
