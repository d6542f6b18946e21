"""Where a bottleneck belongs in a network that nobody said it for."""

import math
from contextlib import suppress

import torch
from torch import nn

from bitlens.core.inputs import ModelInputs
from bitlens.core.places import Places
from bitlens.errors import LayerError
from bitlens.probe import Probe
from bitlens.probe.around import bypassed
from bitlens.probe.axes import placed
from bitlens.probe.blocks import Blocks, block_groups, grid_layout
from bitlens.probe.declared import declared_channel
from bitlens.probe.modules import frozen, graph_held, in_precision_of, names_of
from bitlens.probe.trace import Call, all_calls, trace_calls

KNOWN_LAYERS = {"torchvision/vgg16": "features.17", "torchvision/resnet50": "layer2"}
"""The layers of the paper's own networks (algorithms A7), by the model's name."""

DEPTH = 1 / 6
"""How deep in a vision transformer all of whose blocks have one grid: the share of its blocks up to the layer."""

_MOST_HALVINGS = 5  # what is coarser hardly says where


def default_layer(model: nn.Module, image: torch.Tensor | ModelInputs) -> str:
    """Return the last layer at about 1/8 of the image's resolution (the papers' choice), by its dotted name.

    Deep enough to know what it sees and fine enough to say where. Of all modules with such a grid the least nested count:
    a stage rather than its last block. Small images get 1/4 (below 96 pixels) or 1/2 (below 64).

    Where something goes round that layer, it is the next that nothing goes round: others at that resolution as little nested,
    then at twice and at half of it. Where no layer has that resolution, it is the last at the one that comes nearest, the finer
    of two.

    Where patches are tokens, it is the last block of the stage that comes nearest to that resolution; in a vision transformer
    that has but one stage, an early block (`DEPTH`): what matters of a patch soon moves on to other tokens.

    Args:
        model: the network.
        image: (1, C, H, W), or (1, H, W, C) of a network that takes such, one input; or a series or a volume.

    Raises:
        InputError: if nothing tells what the axes of the input mean.
        LayerError: if no layer has places, something goes round all that come into question, or nothing reads them.
    """
    inputs = placed(model, in_precision_of(model, ModelInputs.of(image)))
    places, size = inputs.places, inputs.image_size
    if places is None and inputs.asks_for_axes:
        places = inputs.placed("a default layer")
    if places is None or places.unordered:
        raise LayerError(
            f"a default layer is known for images, series and volumes, not for {tuple(inputs.first.shape)}: layer='…'"
            + (", or ask input-iba with prior='none' for bits of the table's features" if places is not None else "")
        )
    halvings = 3 if min(places.size) >= 96 else 2 if min(places.size) >= 64 else 1
    names = names_of(model)
    with frozen(model):
        root = trace_calls(model, inputs)
    calls = list(all_calls(root))
    found = _outermost(calls, names, places, size)
    if size is not None:
        groups = block_groups(root, inputs.count, size)
        if any(group.tokens for group in groups) or (groups and halvings not in found):
            return _read_one(model, inputs, [names[call.module] for call in _by_preference(groups, size, halvings)])
    kind, sides = type(model).__name__, f"{'x'.join(map(str, places.size))} {places.one}s"
    near = [halvings, halvings - 1, halvings + 1]
    if halvings not in found:
        inner = [call for call in calls if call.shapes[:1] != root.shapes[:1]]  # what is put out has nothing behind it
        found = _outermost(inner, names, places, size)
        near = sorted(found, key=lambda at: (abs(at - halvings), at))[:1]
    if not near:
        remedy = graph_held(*model.modules()) or (
            "name a layer whose bits you want in all, or ask input-iba with prior='none' and any layer for bits at the "
            "input itself"
        )
        raise LayerError(f"no layer of {kind} has places in the input's {sides}: {remedy}")
    for at in near:
        for module in reversed(found.get(at, [])):
            if not bypassed(model, module, inputs):
                return names[module]
    raise LayerError(
        f"something goes round every layer of {kind} with places at about 1/{2 ** near[0]} of the input's {sides}, such as "
        f"{names[found[near[0]][-1]]!r}: name a layer"
    )


def _outermost(
    calls: list[Call], names: dict[nn.Module, str], places: Places, size: tuple[int, int] | None
) -> dict[int, list[nn.Module]]:
    """Return the least nested modules with places, in the order of their calls, by how often the resolution was halved.

    `size` is that of an image.
    """
    found: dict[int, list[nn.Module]] = {}
    for call in calls:
        halved = _cells(call, places) if size is None else set(_halvings(call, size) or ())
        if call.parent and len(halved) == 1 and 0 <= (at := min(halved)) <= _MOST_HALVINGS:
            found.setdefault(at, []).append(call.module)

    def depth(module: nn.Module) -> int:
        return names[module].count(".")

    return {
        at: [module for module in modules if depth(module) == min(map(depth, modules))] for at, modules in found.items()
    }


def _cells(call: Call, places: Places) -> set[int]:
    """Return how often each axis of places was halved on the way to the call's first output; nothing if it has other axes."""
    shape, channel = call.shapes[0] if call.shapes else None, declared_channel(call)
    if shape is None or channel is None or len(shape) != len(places.size) + 2:
        return set()
    grid = [size for axis, size in enumerate(shape) if axis not in (0, channel)]
    return {round(math.log2(size / cells)) for size, cells in zip(places.size, grid, strict=True)}


def _read_one(model: nn.Module, inputs: ModelInputs, layers: list[str]) -> str:
    """Return the first of some layers whose places can be told, lie in the image, and are read by what comes behind.

    Raises:
        LayerError: if there is none.
    """
    idle = ""
    for name in layers:
        probe = Probe(model, name)
        with suppress(LayerError):
            layout = probe.geometry(inputs).layout
            if layout.on_grid and not probe.unread(inputs, layout):
                return name
            idle = name if layout.on_grid else idle
    if idle:
        raise LayerError(
            f"{type(model).__name__} says the same whatever its layer {idle!r} puts out, as with a last layer of zeros that was "
            "never trained: load weights, or name a layer"
        )
    raise LayerError(f"{type(model).__name__} has no layer whose places in the image could be measured: name a layer")


def _by_preference(groups: list[Blocks], size: tuple[int, int], halvings: int) -> list[Call]:
    """Return an early block of the only stage, or the last of the stage nearest to a resolution; then the other stages'."""
    if len(groups) == 1:
        calls = groups[0].calls
        return [calls[max(round(DEPTH * len(calls)), 1) - 1]]

    def distance(group: Blocks) -> float:
        return abs(math.log2(math.prod(size) / math.prod(group.grid)) / 2 - halvings)

    ordered = sorted(groups, key=lambda group: (distance(group), -groups.index(group)))
    return [group.calls[-1] for group in ordered]


def _halvings(call: Call, size: tuple[int, int]) -> tuple[int, int] | None:
    """Return how often the image was halved on the way to the call's first output, up and across; None if it is no grid."""
    shape = call.shapes[0] if call.shapes else None
    layout = grid_layout(call, shape[0], size) if shape is not None and len(shape) == 4 else None
    if shape is None or layout is None:
        return None
    height, width = layout.grid(tuple(shape[1:]))
    return round(math.log2(size[0] / height)), round(math.log2(size[1] / width))


def grid_layers(model: nn.Module, image: torch.Tensor, fewest: int = 6) -> tuple[str, ...]:
    """Return the layers over whose grid a map can be drawn, from shallow to deep, by their dotted names.

    As little nested as gives enough of them: stages rather than every convolution.

    Args:
        model: the network.
        image: (1, C, H, W), or (1, H, W, C) of a network that takes such; one input.
        fewest: go deeper into the nesting until there are so many, if the network has them.
    """
    inputs = placed(model, in_precision_of(model, ModelInputs.of(image)))
    size = inputs.image_size
    if size is None:
        return ()
    names = names_of(model)
    with frozen(model):
        root = trace_calls(model, inputs)
    groups = block_groups(root, inputs.count, size)
    if any(group.tokens for group in groups):
        return tuple(dict.fromkeys(names[call.module] for group in groups for call in group.calls))
    calls = [call for call in all_calls(root) if call.parent]
    grids = [call for call in calls if (at := _halvings(call, size)) and min(at) >= 0 and max(at) <= _MOST_HALVINGS]
    found = list(dict.fromkeys(names[call.module] for call in grids))
    for depth in range(1 + max((name.count(".") for name in found), default=0)):
        flat = tuple(name for name in found if name.count(".") == depth)
        if len(flat) >= fewest:
            return flat
    return tuple(found)
