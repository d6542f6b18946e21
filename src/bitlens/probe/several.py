"""What several layers put out in one pass."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from bitlens.core.inputs import ModelInputs
from bitlens.errors import LayerError
from bitlens.probe.following import prepared
from bitlens.probe.modules import call_of, find_layer, frozen, putting_out, wrapped
from bitlens.probe.replaying import sample_axes
from bitlens.probe.trace import all_calls, trace_calls

Turn = tuple[nn.Module, int]
"""One call of a module within a pass."""


def layer_features(
    model: nn.Module, layers: Sequence[str | nn.Module], inputs: Any, *, call: int | None = None
) -> list[Tensor]:
    """Return the first tensor with one entry for each sample that each layer puts out, (N, ...), from one pass.

    Where a layer's first axis may or may not count the samples (XLNet's counts tokens), two passes of few samples tell.

    Args:
        model: the network.
        layers: modules or their dotted names, which may say a call (`NAME#2`).
        inputs: one batch.
        call: which call of the layers whose names say none, if they are called several times.

    Raises:
        LayerError: if the pass does not reach a layer, reaches it several times and nothing says which call, or it puts out
            no such tensor.
    """
    inputs = prepared(model, inputs)
    found = [find_layer(model, layer) for layer in layers]
    kept: dict[nn.Module, list[list[Any]]] = {module: [] for _, module in found}

    def captured(module: nn.Module, output: Any) -> Any:
        leaves = tree_leaves(output)  # copies: what follows may overwrite them
        kept[module].append([leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves])
        return output

    with frozen(model), torch.no_grad(), wrapped(dict.fromkeys(kept, putting_out(captured))):
        inputs.passed_to(model)
    axes: dict[Turn, tuple[int | None, ...] | None] = {}
    features = []
    for name, module in found:
        turn = _turn(name, len(kept[module]), call)
        leaves = [leaf for leaf in kept[module][turn] if _is_real(leaf)]
        if not leaves or len(leaves[0]) != inputs.count or leaves[0].shape[1] == inputs.count:
            axes = axes or _measured(model, inputs, kept)
            counted = zip(kept[module][turn], axes.get((module, turn)) or (), strict=False)
            leaves = [leaf.movedim(axis, 0) for leaf, axis in counted if axis is not None and _is_real(leaf)]
        if not leaves:
            raise LayerError(f"layer {name!r} is not reached, or puts out no tensor with one entry for each sample")
        features.append(leaves[0])
    return features


def _turn(name: str, calls: int, call: int | None) -> int:
    """Return which of a layer's calls is meant."""
    named = call_of(name)
    wanted = call if named is None else named
    if not calls:
        raise LayerError(f"layer {name!r} is not reached, or puts out no tensor with one entry for each sample")
    if wanted is None and calls > 1:
        raise LayerError(
            f"layer {name!r} is called {calls} times in one pass: choose one, call=0 to {calls - 1}, or by name {name}#0 to "
            f"{name}#{calls - 1}"
        )
    if wanted is not None and not 0 <= wanted < calls:
        raise LayerError(f"call={wanted}, but layer {name!r} is called {calls} time(s) in one pass, counted from 0")
    return wanted or 0


def _measured(
    model: nn.Module, inputs: ModelInputs, modules: Mapping[nn.Module, Any]
) -> dict[Turn, tuple[int | None, ...] | None]:
    """Return which axis of each tensor of each call counts samples: the one that doubles when they do."""
    few = inputs.select(slice(2))
    with frozen(model):
        once, twice = (
            {(c.module, c.index): c.shapes for c in all_calls(trace_calls(model, i)) if c.module in modules}
            for i in (few, few.tile(2))
        )
    return {turn: sample_axes(shapes, twice.get(turn, ())) for turn, shapes in once.items()}


def _is_real(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.dim() > 1 and leaf.is_floating_point()
