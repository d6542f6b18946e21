"""Which module called which in one pass of a network, in order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from bitlens.core.inputs import ModelInputs
from bitlens.probe.modules import Forward, is_wrapper, wrapped

Shapes = Sequence[torch.Size | None]


@dataclass(eq=False)
class Call:
    """One call of one module within a pass, and the shapes of what went in and out; of the network itself, what it returned."""

    module: nn.Module
    index: int
    parent: "Call | None"
    children: list["Call"] = field(default_factory=list)
    given: "Shapes" = ()
    shapes: "Shapes" = ()
    output: Any = None


def trace_calls(model: nn.Module, inputs: ModelInputs) -> Call:
    """Run the network once and write down which module called which, in order; gives the call of the network itself."""
    counts: dict[nn.Module, int] = {}
    stack: list[Call] = []
    roots: list[Call] = []

    def wrap(module: nn.Module, forward: Forward) -> Forward:
        def traced(*args: Any, **kwargs: Any) -> Any:
            call = Call(module, counts.get(module, 0), stack[-1] if stack else None)
            counts[module] = call.index + 1
            (stack[-1].children if stack else roots).append(call)
            stack.append(call)
            call.given = _shapes((args, kwargs))
            try:
                output = forward(*args, **kwargs)
            finally:  # the network may catch what a module raises, and go on
                stack.pop()
            call.shapes = _shapes(output)
            return output

        return traced

    modules = [module for module in model.modules() if not is_wrapper(module)]
    with torch.no_grad(), wrapped(dict.fromkeys(modules, wrap)):
        output = inputs.passed_to(model)
    roots[0].output = output
    return roots[0]


def _shapes(values: Any) -> Shapes:
    return tuple(leaf.shape if isinstance(leaf, Tensor) else None for leaf in tree_leaves(values))


def all_calls(call: Call) -> Iterator[Call]:
    """Give the call and all calls within it, in the order in which they began."""
    yield call
    for child in call.children:
        yield from all_calls(child)
