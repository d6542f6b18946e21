"""Which calls of a pass can be replayed: those that ended before the layer's call began."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from bitlens.errors import LayerError
from bitlens.probe.folding import Fold
from bitlens.probe.prepared import PreparedWeights
from bitlens.probe.trace import Call, Shapes, all_calls

TensorKey = tuple[int, int]
"""Which leaf (second) of which recorded call (first); call -1 is the layer itself, call -2 the network's arguments."""

LAYER, ARGUMENTS = -1, -2
REPLACED: TensorKey = (-3, 0)
"""What is given in place of the layer's output."""


@dataclass(frozen=True)
class Read:
    """A call whose output is kept in the recording pass, for whoever wants to see more than the layer.

    Attributes:
        name: what the module is called in the network.
        call: the module, and which of its calls.
        leaf: which tensor of its output.
        axis: of that tensor, along which the samples lie.
    """

    name: str
    call: tuple[nn.Module, int]
    leaf: int
    axis: int

    @classmethod
    def of(cls, name: str, module: nn.Module, root: Call, doubled: Mapping[Any, Shapes]) -> "Read":
        """Say how to keep what a module puts out, from two traced passes, the second of twice the samples.

        Raises:
            LayerError: if it is not called exactly once, or puts out no tensor with one entry for each sample.
        """
        calls = [call for call in all_calls(root) if call.module is module]
        if len(calls) != 1:
            raise LayerError(f"layer {name!r} is called {len(calls)} times in a pass: what is called once can be read")
        axes = sample_axes(calls[0].shapes, doubled.get((module, 0), ()))
        if axes is None or all(axis is None for axis in axes):
            raise LayerError(f"layer {name!r} puts out no tensor with one entry for each sample: read another layer")
        slot = feature_slot(axes)
        return cls(name, (module, 0), slot, axes[slot] or 0)


@dataclass(frozen=True)
class Replay:
    """Plan of the calls that are recorded and replayed, and of where the output of the layer, called `name`, is replaced.

    `script` says, for each module that matters, what its 1st, 2nd, ... call of a replayed pass does: give the output of
    the recorded call of that number, "run", or "splice" for the layer. `axes` says, for each recorded call and for the
    layer, which axis of each leaf of its output counts samples (None: the leaf does not depend on their number). `features` is
    the size of one sample's features, `declared` which of its axes counts channels, if modules say so.
    """

    name: str
    recorded: tuple[tuple[nn.Module, int], ...]
    layer: tuple[nn.Module, int]
    script: Mapping[nn.Module, Sequence[int | str]]
    axes: Mapping[int, tuple[int | None, ...]]
    live: frozenset[TensorKey] | None = None
    written: frozenset[TensorKey] = frozenset()
    bytes_per_row: int = 1
    folds: tuple[Fold, ...] = ()
    prefix_folds: tuple[Fold, ...] = ()
    weights: PreparedWeights = field(default_factory=PreparedWeights, compare=False)
    reads: tuple[Read, ...] = ()
    slopes: bool = False
    features: tuple[int, ...] = ()
    declared: int | None = None

    def keeps(self, number: int, leaf: int) -> bool:
        """Say whether anything reads this leaf after it was recorded (what is not known counts as read)."""
        features = number == LAYER and leaf == feature_slot(self.axes[LAYER])
        return features or self.live is None or (number, leaf) in self.live

    def whole_network(self) -> "Replay":
        """Return the same with nothing recorded: every pass runs the whole network and replaces only the layer's output."""
        module, call = self.layer
        script = {module: ["run"] * call + ["splice"]}
        return replace(self, recorded=(), script=script, folds=(), prefix_folds=(), live=None)


def feature_slot(axes: Sequence[int | None]) -> int:
    """Return the leaf that is restricted: the first that counts samples (the first tensor of a tuple or a model output)."""
    return next(i for i, axis in enumerate(axes) if axis is not None)


def replay_script(chain: Sequence[Call]) -> tuple[list[Call], dict[nn.Module, list[int | str]]]:
    """Return what each call of a replayed pass does, from the chain of calls that leads from the network down to the layer."""
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
    """Return for each tensor the axis that doubles when the samples do; None in place of the tuple if it is not one axis."""
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
