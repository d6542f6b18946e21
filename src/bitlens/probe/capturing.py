"""One pass of a network that keeps what a replay needs: outputs of calls before the layer, the layer's, and what is read."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from bitlens.core.inputs import ModelInputs
from bitlens.errors import LayerError
from bitlens.probe.modules import Forward, wrapped
from bitlens.probe.recording import Recording, Value, begin_graph
from bitlens.probe.replaying import ARGUMENTS, LAYER, Replay, feature_slot


class Reached(BaseException):
    """Ends a forward pass at the layer; not an Exception, so that no network can catch it by accident."""


def record(model: nn.Module, replay: Replay, inputs: ModelInputs) -> Recording:
    """Run a batch through the whole network, once, and keep what the suffix needs."""
    replay.weights.refresh(replay.folds)
    values, output, seen, sources = _captured(model, replay, inputs, stop=False)
    values[ARGUMENTS] = Value.of(ARGUMENTS, (inputs.args, dict(inputs.kwargs)), replay)
    return Recording(model, replay, inputs.count, values, output, seen, sources)


def layer_leaves(model: nn.Module, replay: Replay, inputs: ModelInputs) -> "tuple[Any, ...]":
    """Return all that the layer puts out; the pass ends there."""
    alone = replace(replay.whole_network(), prefix_folds=replay.prefix_folds, reads=())
    return tuple(_captured(model, alone, inputs, stop=True)[0][LAYER].leaves)


def features_at(model: nn.Module, replay: Replay, inputs: ModelInputs) -> Tensor:
    """Return the layer's features (N, ...); the pass ends there."""
    slot = feature_slot(replay.axes[LAYER])
    features: Tensor = layer_leaves(model, replay, inputs)[slot].movedim(replay.axes[LAYER][slot], 0)
    return features


def _captured(
    model: nn.Module, replay: Replay, inputs: ModelInputs, *, stop: bool
) -> tuple[dict[int, Value], Any, dict[str, Tensor], dict[str, Tensor]]:
    """Make one pass that keeps the recorded calls' outputs, the layer's, and what is read; `stop` ends it at the layer.

    Where gradients are wanted, the output's graph begins at the one tensor that is given back last.
    """
    wanted = {call: number for number, call in enumerate(replay.recorded)} | {replay.layer: LAYER}
    reads = {read.call: read for read in replay.reads}
    counts: dict[nn.Module, int] = {}
    values: dict[int, Value] = {}
    seen: dict[str, Tensor] = {}
    sources: dict[str, Tensor] = {}

    def wrap(module: nn.Module, forward: Forward) -> Forward:
        def captured(*args: Any, **kwargs: Any) -> Any:
            turn = counts.get(module, 0)
            counts[module] = turn + 1
            number = wanted.get((module, turn))
            if number == LAYER:  # whatever comes from here on must not overwrite what is kept
                values.update({n: value.own() for n, value in values.items()})
            output = forward(*args, **kwargs)
            if number is not None:
                value = Value.of(number, output, replay)
                values[number] = value.own() if number == LAYER else value
            read = reads.get((module, turn))
            if read is not None:  # a copy: an in-place ReLU may follow
                seen[read.name] = tree_leaves(output)[read.leaf].detach().movedim(read.axis, 0).clone()
            if read is not None and replay.slopes and read == replay.reads[-1]:
                sources[read.name], output = begin_graph(output, read)
            if number == LAYER and stop:
                raise Reached
            return output

        return captured

    replay.weights.refresh(replay.prefix_folds)
    output = None
    watched = wrapped(dict.fromkeys([module for module, _ in (*wanted, *reads)], wrap))
    with torch.no_grad(), wrapped(replay.weights.folded(replay.prefix_folds, None)), watched, suppress(Reached):
        output = inputs.passed_to(model)
    if LAYER not in values:
        raise LayerError(f"the forward pass did not reach layer {replay.name!r} for these inputs")
    return values, output, seen, sources
