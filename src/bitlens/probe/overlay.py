"""Whether the cells of a layer's grid lie over the input as a map is drawn: over all of it, and the right way round.

A network may cut its input, turn it or mirror it before the layer. A map over the layer's grid would then lie beside what it
explains. Of the cells of each half of an axis, the slope tells which pixels they look at: those whose change moves them.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bitlens.core.inputs import ModelInputs
from bitlens.core.layout import Layout
from bitlens.errors import LayerError, ModelError

_BEYOND = 0.65  # of an axis: where the middle of its first half's cells cannot lie, unless they are mirrored
_ELSEWHERE = 0.1  # of a side, by which that middle is away from the axis' own middle, along the axis that cells follow


def check_overlay(
    features_of: Callable[[Tensor, Tensor], Tensor],
    inputs: ModelInputs,
    layout: Layout,
    name: str,
    *,
    said: bool = False,
    seed: int = 0,
) -> None:
    """Refuse a layer whose cells do not lie over the input; what the slope does not tell is let through.

    Args:
        features_of: (the changed first tensor of one sample, its row) → the layer's features (1, ...), with gradients.
        inputs: of one sample; only their size and spread count.
        layout: of the features.
        name: of the layer.
        said: whether the user says the layout.
        seed: of the noise that the slope is taken at.

    Raises:
        LayerError: if more than a cell at an end of an axis is not looked at, or the grid is turned or mirrored.
    """
    places = inputs.places
    if inputs.shown is not None or places is None or places.unordered or not layout.on_grid:
        return
    try:
        halves, grid = _looked_at(features_of, inputs, layout, seed)
    except (ModelError, RuntimeError, TypeError):  # what has no slope in front of the layer may be explained behind it
        return
    for axis, energy in enumerate(halves[: len(grid)]):
        if _is_turned(energy, axis):
            other = f", or layout={layout.name!r} is not what its axes mean" if said else ""
            raise LayerError(
                f"the network turns or mirrors its input before layer {name!r}, so a map would lie beside what it explains: "
                f"do that to the inputs before they are given, and take it out of the network{other}"
            )
    if halves:
        _check_cut(torch.stack(halves).sum(0), grid, name)


def _looked_at(
    features_of: Callable[[Tensor, Tensor], Tensor], inputs: ModelInputs, layout: Layout, seed: int
) -> tuple[list[Tensor], tuple[int, ...]]:
    """Return how much the cells of the first half of each axis, and those of the last of the first, look at each place; the grid.

    Nothing is known where the slope is not finite, or the grid has other axes than the input.
    """
    places, first = inputs.placed("a map"), inputs.first
    generator = torch.Generator().manual_seed(seed)
    spread, mean = float(first.float().std().nan_to_num(0)) or 1.0, float(first.float().mean())
    noise = (mean + spread * torch.randn(first.shape, generator=generator)).to(first).requires_grad_()
    with torch.enable_grad():
        features = features_of(noise.clone(), torch.zeros(1, dtype=torch.long, device=first.device)).float()
    grid = layout.grid(tuple(features.shape[1:]))
    if not features.requires_grad or len(grid) != len(places.size) or min(grid) < 2:
        return [], grid
    signs = (torch.randint(2, features.shape, generator=generator) * 2 - 1).to(features)
    found = []
    for axis, early in [*((axis, True) for axis in range(len(grid))), (0, False)]:
        chosen = signs * _half(layout, tuple(features.shape[1:]), grid, axis, early=early).to(features)
        (slope,) = torch.autograd.grad((features * chosen).sum(), noise, retain_graph=True, allow_unused=True)
        if slope is None or not bool(slope.isfinite().all()):
            return [], grid
        found.append(places.first(slope).double().square().sum(1)[0].cpu())
    return found, grid


def _half(layout: Layout, features: tuple[int, ...], grid: tuple[int, ...], axis: int, *, early: bool) -> Tensor:
    """Return 1.0 for cells of one half of an axis, 0.0 elsewhere, broadcastable to the features (1, ...)."""
    before = (torch.arange(grid[axis]) < grid[axis] // 2) == early
    cells = before.reshape([-1 if at == axis else 1 for at in range(len(grid))]).expand(grid).float()
    if layout.patches is not None:
        tokens = torch.cat([torch.zeros(layout.extra), cells.flatten()])
        return tokens.reshape([1, *(len(tokens) if at in layout.places else 1 for at in range(len(features)))])
    shape = [1] * len(features)
    for at, size in zip(layout.places, grid, strict=True):
        shape[at] = size
    return cells.reshape(1, *shape)


def _middle(energy: Tensor, axis: int) -> float:
    """Return where along an axis the middle of what is looked at lies, in sides of the input."""
    along = _along(energy, axis)
    where = (torch.arange(len(along), dtype=torch.float64) + 0.5) / len(along)
    return float((along * where).sum() / along.sum())


def _along(energy: Tensor, axis: int) -> Tensor:
    """Return the sums over all other axes."""
    others = [at for at in range(energy.dim()) if at != axis]
    return energy.sum(others) if others else energy


def _is_turned(energy: Tensor, axis: int) -> bool:
    if not bool(energy.any()):
        return False
    middles = [_middle(energy, at) for at in range(energy.dim())]
    aside = [abs(middle - 0.5) for at, middle in enumerate(middles) if at != axis]
    return middles[axis] > _BEYOND or max(aside, default=0.0) > abs(middles[axis] - 0.5) + _ELSEWHERE


def _check_cut(every: Tensor, grid: tuple[int, ...], name: str) -> None:
    if not bool(every.any()):
        return
    for axis, cells in enumerate(grid):
        size = every.shape[axis]
        seen = _along(every, axis).nonzero().flatten()
        begin, end = int(seen[0]), size - 1 - int(seen[-1])
        if max(begin, end) > math.ceil(size / cells):
            raise LayerError(
                f"layer {name!r} sees nothing of the first {begin} and the last {end} of the input's {size} places along axis "
                f"{axis + 1} of {len(grid)}, as where a network cuts its input: a map would lie beside what it explains; cut the "
                "inputs before they are given, and take it out of the network"
            )
