"""The stages of a network over whose grid a map can be drawn, in order of depth: what a person chooses a layer from."""

import torch
from torch import nn

from bitlens.core.inputs import ModelInputs
from bitlens.core.places import Places
from bitlens.probe.axes import placed
from bitlens.probe.blocks import block_groups, grid_layout
from bitlens.probe.declared import declared_channel
from bitlens.probe.modules import frozen, in_precision_of, names_of
from bitlens.probe.trace import Call, all_calls, trace_calls

_FEWEST = 3
Grid = tuple[int, ...]


def grid_stages(model: nn.Module, image: torch.Tensor, also: str) -> dict[str, Grid]:
    """Return a network's stages by their dotted names, from shallow to deep, each with its grid (h, w), or (t,) of series.

    As little nested as shows the network at several resolutions. Of single operations that follow each other at one
    resolution the last counts; of a transformer each block.

    Args:
        model: the network.
        image: (1, C, H, W), one input; or a series or a volume.
        also: a layer that is listed in any case, with an empty grid where it has none.
    """
    inputs = placed(model, in_precision_of(model, ModelInputs.of(image)))
    places, size = inputs.places, inputs.image_size
    if places is None or places.unordered:
        return {also: ()}
    names = names_of(model)
    with frozen(model):
        root = trace_calls(model, inputs)
    grids: dict[str, Grid] = {}
    calls: dict[str, Call] = {}
    for call in all_calls(root):
        grid = _grid(call, inputs.count, places, size) if call.parent and not call.index else ()
        if max(grid, default=0) > 1:
            grids[names[call.module]], calls[names[call.module]] = grid, call
    blocks = [group for group in block_groups(root, inputs.count, size) if group.tokens] if size is not None else []
    chosen = {names[call.module] for group in blocks for call in group.calls} or _flattest(calls, grids)
    listed = {name: grid for name, grid in grids.items() if name in chosen or name == also}
    return listed if also in listed else {also: (), **listed}


def _grid(call: Call, count: int, places: Places, size: tuple[int, int] | None) -> Grid:
    """Return how many places a call puts out for each input along each axis; nothing where it has other axes."""
    shape = tuple(call.shapes[0] or ()) if call.shapes else ()
    if size is not None:
        layout = grid_layout(call, count, size)
        return layout.grid(shape[1:]) if layout is not None else ()
    channel = declared_channel(call)
    if channel is None or len(shape) != len(places.size) + 2:
        return ()
    return tuple(cells for axis, cells in enumerate(shape) if axis not in (0, channel))


def _flattest(calls: dict[str, Call], grids: dict[str, Grid]) -> set[str]:
    """Choose the least nested layers among which there are several resolutions; all, where there is but one."""
    for depth in range(1 + max((name.count(".") for name in grids), default=0)):
        flat = [name for name in grids if name.count(".") == depth]
        if len({grids[name] for name in flat}) > 1:
            ends = [
                name
                for name, after in zip(flat, [*flat[1:], ""], strict=True)
                if calls[name].children or grids.get(after) != grids[name] or calls[after].children
            ]
            return set(ends if len(ends) >= _FEWEST else flat)
    return set(grids)
