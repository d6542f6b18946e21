"""The stages that come after a layer: where to read what a network makes of an input, if nobody says where."""

import torch
from torch import nn

from bitlens.probe.following import prepared
from bitlens.probe.modules import call_of, find_layer, frozen, names_of
from bitlens.probe.trace import Call, all_calls, trace_calls

_MOST = 4


def stages_behind(model: nn.Module, layer: str | nn.Module, inputs: object) -> tuple[str, ...]:
    """Return the layer, and up to four modules after it, one for each stage, in the order in which they are called.

    Stages are looked for among the modules that stand beside the layer, or beside what encloses it, and are called once,
    after it. Modules made of others count first, single operations only where there are no such. Of more than four, the last
    at each resolution stays; where all have one resolution (transformers), four at equal distances, the last among them.

    Args:
        model: the network.
        layer: whose output is restricted.
        inputs: a batch.

    Returns:
        Dotted names, the layer's first.
    """
    name, module = find_layer(model, layer)
    with frozen(model), torch.no_grad():
        root = trace_calls(model, prepared(model, inputs).select(slice(1)))
    calls = list(all_calls(root))
    turn = call_of(name) or 0
    own = next((call for call in calls if call.module is module and call.index == turn), None)
    if own is None or own.parent is None:
        return (name,)
    times = [call.module for call in calls]
    names = names_of(model)
    after = [call for call in _later(own) if times.count(call.module) == 1 and len(_shape(call)) == len(_shape(own))]
    spatial = [call for call in after if max(_grid(call), default=2) > 1]
    made_of_others = [call for call in spatial if call.children]
    return (name, *(names[call.module] for call in _thinned(made_of_others or spatial)))


def _later(call: Call) -> list[Call]:
    """Return the calls beside this one, and beside those that enclose it, that begin after it has ended."""
    found: list[Call] = []
    while call.parent is not None:
        siblings = call.parent.children
        found += siblings[siblings.index(call) + 1 :]
        call = call.parent
    return found


def _thinned(calls: list[Call]) -> list[Call]:
    if len(calls) <= _MOST:
        return calls
    last = list({_grid(call): call for call in calls}.values())
    if 1 < len(last) <= _MOST:
        return last
    return [calls[len(calls) * (i + 1) // _MOST - 1] for i in range(_MOST)]


def _shape(call: Call) -> torch.Size:
    return call.shapes[0] if call.shapes and call.shapes[0] is not None else torch.Size()


def _grid(call: Call) -> tuple[int, ...]:
    """Return what tells resolutions apart: an image's all but samples and channels, the number of tokens, nothing of a vector."""
    shape = tuple(_shape(call))
    return shape[2:] if len(shape) == 4 else shape[1:-1]
