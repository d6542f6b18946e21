"""Whether the cells of a layer's grid lie over the input as a map is drawn: over all of it, the right way round, no farther.

A network may cut its input, widen, turn or mirror it before the layer. A map over the layer's grid would then lie beside what it
explains. The slope tells which places cells look at: those whose change moves them.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bitlens.core.inputs import ModelInputs
from bitlens.core.layout import Layout
from bitlens.errors import LayerError, ModelError

_TURNED = (
    0.15  # of a side: how far cells a quarter along an axis, from both ends, must look apart in the wrong direction
)
_FEWEST = 8  # cells along an axis, of which it is told whether they reach beyond the input
_ALIVE = 0.9  # of the places between the ends that are looked at: where fewer are, features are shut at noise
_ROUNDING = 0.01  # of a side, beside one cell


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

    What mixes all places into each (attention, normalisation) draws what cells look at to the middle of the input: that is told
    from no cut, nor from cells that lie closer together. Widened by less than a cell, at a quarter of the way, nothing is told.

    Args:
        features_of: (the changed first tensor of one sample, its row) → the layer's features (1, ...), with gradients.
        inputs: of one sample; only their size and spread count.
        layout: of the features.
        name: of the layer.
        said: whether the user says the layout.
        seed: of the noise that the slope is taken at.

    Raises:
        LayerError: if more than a cell at an end of an axis is not looked at, cells lie beyond the input, or are turned.
    """
    places = inputs.places
    if inputs.shown is not None or places is None or places.unordered or not layout.on_grid:
        return
    try:
        every, quarters, grid = _looked_at(features_of, inputs, layout, seed)
        wrong, cut = _lying(quarters, grid), _cut(every, grid)
        if wrong or cut:  # by chance, perhaps: other noise must say the very same
            again, others, _ = _looked_at(features_of, inputs, layout, seed + 1)
            wrong &= _lying(others, grid)
            cut = cut if cut == _cut(again, grid) else None
    except (ModelError, RuntimeError, TypeError):  # what has no slope in front of the layer may be explained behind it
        return
    if "turned" in wrong:
        other = f", or layout={layout.name!r} is not what its axes mean" if said else ""
        raise LayerError(
            f"the network turns or mirrors its input before layer {name!r}, so a map would lie beside what it explains: "
            f"do that to the inputs before they are given, and take it out of the network{other}"
        )
    if "beyond" in wrong:
        raise LayerError(
            f"the cells of layer {name!r} reach beyond the input, as where a network pads it: a map would lie beside what it "
            "explains; pad the inputs before they are given, and take it out of the network"
        )
    if cut is not None:
        axis, begin, end = cut
        raise LayerError(
            f"layer {name!r} sees nothing of the first {begin} and the last {end} of the input's {places.size[axis]} places "
            f"along axis {axis + 1} of {len(grid)}, as where a network cuts its input: a map would lie beside what it explains; "
            "cut the inputs before they are given, and take it out of the network"
        )


def _looked_at(
    features_of: Callable[[Tensor, Tensor], Tensor], inputs: ModelInputs, layout: Layout, seed: int
) -> tuple[Tensor | None, list[tuple[Tensor, Tensor]], tuple[int, ...]]:
    """Return how much cells look at each place, all of them and those a quarter along each axis, from both ends; and the grid.

    Nothing is known where the slope is not finite, most features are shut at noise, or the grid has other axes than the input.
    """
    places, first = inputs.placed("a map"), inputs.first
    generator = torch.Generator().manual_seed(seed)
    spread, mean = float(first.float().std().nan_to_num(0)) or 1.0, float(first.float().mean())
    noise = (
        (mean + spread * torch.randn(first.shape, dtype=torch.float32, generator=generator)).to(first).requires_grad_()
    )
    with torch.enable_grad():
        features = features_of(noise.clone(), torch.zeros(1, dtype=torch.long, device=first.device)).float()
    size = tuple(features.shape[1:])
    grid = layout.grid(size)
    if not features.requires_grad or len(grid) != len(places.size) or min(grid) < 2:
        return None, [], grid
    signs = (torch.randint(2, features.shape, generator=generator) * 2 - 1).to(features)

    def energy(cells: Tensor) -> Tensor:
        chosen = signs * _of_cells(layout, size, cells.expand(grid).float()).to(features)
        (slope,) = torch.autograd.grad((features * chosen).sum(), noise, retain_graph=True)
        return places.first(slope).double().square().sum(1)[0].cpu()

    every, quarters = energy(torch.ones(grid)), []
    if not bool(every.isfinite().all()) or _covered(every) < _ALIVE:
        return None, [], grid
    for axis, cells in enumerate(grid):
        along = torch.arange(cells).reshape([-1 if at == axis else 1 for at in range(len(grid))])
        looked = [energy(along == cell) for cell in _quarters(cells)]
        if not all(bool(one.any()) for one in looked):
            return every, [], grid
        quarters.append((looked[0], looked[1]))
    return every, quarters, grid


def _quarters(cells: int) -> tuple[int, int]:
    """Return which cells lie a quarter along an axis, from both ends."""
    return cells // 4, cells - 1 - cells // 4


def _of_cells(layout: Layout, features: tuple[int, ...], cells: Tensor) -> Tensor:
    """Return a number of each cell of the grid for its features, (1, ...)."""
    if layout.patches is not None:
        tokens = torch.cat([torch.zeros(layout.extra), cells.flatten()])
        return tokens.reshape([1, *(len(tokens) if at in layout.places else 1 for at in range(len(features)))])
    shape = [1] * len(features)
    for at, size in zip(layout.places, cells.shape, strict=True):
        shape[at] = size
    return cells.reshape(1, *shape)


def _along(energy: Tensor, axis: int) -> Tensor:
    """Return the sums over all other axes."""
    others = [at for at in range(energy.dim()) if at != axis]
    return energy.sum(others) if others else energy


def _mean(energy: Tensor, axis: int) -> float:
    """Return where along an axis it lies on average, in sides of the input: what all places add draws that to the middle."""
    along = _along(energy, axis)
    where = (torch.arange(len(along), dtype=torch.float64) + 0.5) / len(along)
    return float((along * where).sum() / along.sum())


def _up_to(energy: Tensor, axis: int, share: float) -> float:
    """Return up to where along an axis a share of it lies, in sides of the input: what all places add moves its middle little."""
    along = _along(energy, axis).cumsum(0)
    return (int((along < along[-1] * share).sum()) + 0.5) / len(along)


def _lying(quarters: Sequence[tuple[Tensor, Tensor]], grid: tuple[int, ...]) -> set[str]:
    """Return how cells seem to lie otherwise than over the input."""
    found = set()
    for axis, (low, high) in enumerate(quarters):
        if _is_turned(low, high, axis):
            found.add("turned")
        if _reaches_beyond(low, high, axis, grid[axis]):
            found.add("beyond")
    return found


def _is_turned(low: Tensor, high: Tensor, axis: int) -> bool:
    """Return whether two rows of cells look apart along another axis than theirs, or the other way; what both look at cancels."""
    apart = [_mean(high, at) - _mean(low, at) for at in range(low.dim())]
    aside = max((abs(one) for at, one in enumerate(apart) if at != axis), default=0.0)
    return apart[axis] < -_TURNED or aside > abs(apart[axis]) + _TURNED


def _reaches_beyond(low: Tensor, high: Tensor, axis: int, cells: int) -> bool:
    """Return whether the middles of what cells look at lie farther out than these cells do, by more than chance would have it."""
    first, last = ((cell + 0.5) / cells for cell in _quarters(cells))
    width = max(_up_to(one, axis, 0.75) - _up_to(one, axis, 0.25) for one in (low, high))
    farther = max(first - _up_to(low, axis, 0.5), _up_to(high, axis, 0.5) - last)
    return cells >= _FEWEST and farther > 1 / cells + _ROUNDING + width / 2


def _ends(every: Tensor, axis: int) -> tuple[int, int]:
    """Return how many places at both ends of an axis are not looked at."""
    seen = _along(every, axis).nonzero().flatten()
    return int(seen[0]), every.shape[axis] - 1 - int(seen[-1])


def _covered(every: Tensor) -> float:
    """Return the share of the places looked at, of those that do not lie beyond all of them; 0 if there are none."""
    if not bool(every.any()):
        return 0.0
    for axis in range(every.dim()):
        begin, end = _ends(every, axis)
        every = every.narrow(axis, begin, every.shape[axis] - begin - end)
    return float((every > 0).double().mean())


def _cut(every: Tensor | None, grid: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Return the first axis of which more than a cell at an end is not looked at, and how much at both ends; None without."""
    if every is None:
        return None
    found = ((axis, *_ends(every, axis)) for axis in range(len(grid)))
    return next((one for one in found if max(one[1:]) > math.ceil(every.shape[one[0]] / grid[one[0]])), None)
