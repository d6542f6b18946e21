"""Which calls of a pass can be replayed: those that ended before the layer's call began."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from bitlens.inputs import ModelInputs
from bitlens.probe.modules import Forward, wrapped

__all__ = [
    "ARGUMENTS",
    "LAYER",
    "REPLACED",
    "Call",
    "Key",
    "Plan",
    "all_calls",
    "feature_slot",
    "replay_script",
    "sample_axes",
    "trace_calls",
]

Shapes = Sequence[torch.Size | None]

Key = tuple[int, int]
"""Which leaf (second) of which recorded call (first); call -1 is the layer itself, call -2 the network's arguments."""

LAYER, ARGUMENTS = -1, -2
REPLACED: Key = (-3, 0)
"""What is given in place of the layer's output."""


@dataclass(eq=False)
class Call:
    """One call of one module within a pass."""

    module: nn.Module
    index: int
    parent: "Call | None"
    children: list["Call"] = field(default_factory=list)
    shapes: "Shapes" = ()


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
            try:
                output = forward(*args, **kwargs)
            finally:  # the network may catch what a module raises, and go on
                stack.pop()
            call.shapes = tuple(leaf.shape if isinstance(leaf, Tensor) else None for leaf in tree_leaves(output))
            return output

        return traced

    with torch.no_grad(), wrapped(dict.fromkeys(model.modules(), wrap)):
        arguments = inputs.clone()
        model(*arguments.args, **arguments.kwargs)
    return roots[0]


def all_calls(call: Call) -> Iterator[Call]:
    """The call and all calls within it, in the order in which they began."""
    yield call
    for child in call.children:
        yield from all_calls(child)


@dataclass(frozen=True)
class Plan:
    """Which calls are recorded and replayed, and where the layer's output is replaced.

    `script` says, for each module that matters, what its 1st, 2nd, ... call of a replayed pass does: give the output of
    the recorded call of that number, "run", or "splice" for the layer. `axes` says, for each recorded call and for the
    layer, which axis of each leaf of its output counts samples (None: the leaf does not depend on their number).
    """

    recorded: tuple[tuple[nn.Module, int], ...]
    layer: tuple[nn.Module, int]
    script: Mapping[nn.Module, Sequence[int | str]]
    axes: Mapping[int, tuple[int | None, ...]]
    live: frozenset[Key] | None = None
    written: frozenset[Key] = frozenset()
    bytes_per_row: int = 1

    def keeps(self, number: int, leaf: int) -> bool:
        """Whether anything reads this leaf after it was recorded (what is not known counts as read)."""
        features = number == LAYER and leaf == feature_slot(self.axes[LAYER])
        return features or self.live is None or (number, leaf) in self.live

    def whole_network(self) -> "Plan":
        """The same with nothing recorded: every pass runs the whole network and replaces only the layer's output."""
        module, call = self.layer
        script = {module: ["run"] * call + ["splice"]}
        return replace(self, recorded=(), script=script, live=None)


def feature_slot(axes: Sequence[int | None]) -> int:
    """The leaf that is restricted: the first that counts samples (the first tensor of a tuple or a model output)."""
    return next(i for i, axis in enumerate(axes) if axis is not None)


def replay_script(chain: Sequence[Call]) -> tuple[list[Call], dict[nn.Module, list[int | str]]]:
    """What each call of a replayed pass does, from the chain of calls that leads from the network down to the layer."""
    recorded: list[Call] = []
    script: dict[nn.Module, list[int | str]] = {chain[0].module: ["run"]}
    for enclosing, inner in itertools.pairwise(chain):
        for child in enclosing.children[: enclosing.children.index(inner)]:
            script.setdefault(child.module, []).append(len(recorded))
            recorded.append(child)
        script.setdefault(inner.module, []).append("run")
    script[chain[-1].module][-1] = "splice"
    return recorded, script


def sample_axes(once: Shapes, twice: Shapes) -> tuple[int | None, ...] | None:
    """For each tensor the axis that doubles when the samples do; None in place of the tuple if it is not one axis."""
    if len(once) != len(twice):
        return None
    axes: list[int | None] = []
    for a, b in zip(once, twice, strict=True):
        if a is None or b is None or a == b:
            axes.append(None)
            continue
        grown = [i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y]
        if len(a) != len(b) or len(grown) != 1 or b[grown[0]] != 2 * a[grown[0]]:
            return None
        axes.append(grown[0])
    return tuple(axes)
