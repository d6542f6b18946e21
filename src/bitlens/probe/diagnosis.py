"""Which module of a network put out the first number that is not finite: asked once, after something went wrong."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.core.inputs import ModelInputs, tensors_of
from bitlens.errors import NotFiniteError
from bitlens.probe.modules import Forward, clean_pass, frozen, names_of, putting_out, wrapped

_OWN = "the network's own code"


@contextmanager
def locating(
    model: nn.Module,
    inputs: ModelInputs,
    numbers: Callable[[int], int],
    score: Callable[[Any, int], Tensor] | None = None,
    again: Callable[[int], Any] | None = None,
) -> Iterator[None]:
    """Say of numbers that are not finite which sample they are of, and which module of the network they come from.

    Args:
        model: the network.
        inputs: of the samples that are worked on within the block.
        numbers: the number that a person knows one of them by.
        score: of the network's output for one of them, what is differentiated.
        again: does with one of them what the block does with all.

    Raises:
        NotFiniteError: the one that the block raised, with all that could be found.
    """
    try:
        yield
    except NotFiniteError as error:
        one = error.sample if 0 <= error.sample < inputs.count else 0
        found = _searched(model, inputs.select(slice(one, one + 1)), one, score, again)
        why = "; ".join(text for text in (error.why, found) if text)
        raise NotFiniteError(error.what, numbers(one), why) from error


def _searched(
    model: nn.Module,
    inputs: ModelInputs,
    one: int,
    score: Callable[[Any, int], Tensor] | None,
    again: Callable[[int], Any] | None,
) -> str:
    """Return what is to blame, in words; empty if nothing was found."""
    clean = partial(clean_pass, model, inputs)
    # Whatever else goes wrong in the search must not stand before what it is the search for.
    with suppress(Exception):
        if name := _first_call(model, clean):
            return f"{name} puts out such values for it: check its weights and what it is given"
    with suppress(Exception):
        if score is not None and not _finite(score(clean(), one)):
            return "the target makes such values of what the network answers"
    with suppress(Exception):
        if score is not None and (name := _first_slope(model, inputs, lambda output: score(output, one))):
            return f"the gradient through {name} has such values for it: its slope is infinite there"
    with suppress(Exception):
        if again is not None and (name := _first_call(model, lambda: again(one))):
            return f"{name} puts out such values for changed copies of it, but not for itself"
    return ""


class _Spotted(BaseException):
    """The name of a module."""


def _first_call(model: nn.Module, act: Callable[[], Any]) -> str:
    """Return the innermost module that first puts out something that is not finite."""

    def wrap(name: str, _: nn.Module, forward: Forward) -> Forward:
        def watched(*args: Any, **kwargs: Any) -> Any:
            given = _finite((args, kwargs))
            output = forward(*args, **kwargs)
            if not _finite(output):
                raise _Spotted(name if given else f"what is computed before {name}")
            return output

        return watched

    try:
        with wrapped({module: partial(wrap, name) for module, name in _names(model).items()}):
            act()
    except _Spotted as found:
        return str(found)
    except NotFiniteError:
        return ""
    return ""


def _first_slope(model: nn.Module, inputs: ModelInputs, score: Callable[[Any], Tensor]) -> str:
    """Return the module through which the gradient of a score first is not finite, on its way back."""
    passed, names = ["the score"], _names(model)

    def hook(name: str, slope: Tensor) -> None:
        if not _finite(slope):
            raise _Spotted(passed[-1])
        passed.append(name)

    def watched(module: nn.Module, output: Any) -> Any:
        for leaf in tensors_of(output):
            if leaf.requires_grad:
                leaf.register_hook(partial(hook, names[module]))  # type: ignore[no-untyped-call]
        return output

    first = inputs.first
    if not first.is_floating_point():
        return ""
    try:
        with frozen(model), torch.enable_grad(), wrapped(dict.fromkeys(names, putting_out(watched))):
            given = first.clone().requires_grad_()
            (slope,) = torch.autograd.grad(score(inputs.with_first(given).passed_to(model)).sum(), given)
    except _Spotted as found:
        return str(found)
    return "" if _finite(slope) else passed[-1]


def _names(model: nn.Module) -> dict[nn.Module, str]:
    return {module: f"module {name!r}" if name else _OWN for module, name in names_of(model).items()}


def _finite(values: Any) -> bool:
    numbers = (leaf for leaf in tensors_of(values) if leaf.is_floating_point() or leaf.is_complex())
    return all(bool(torch.isfinite(leaf).all()) for leaf in numbers)
