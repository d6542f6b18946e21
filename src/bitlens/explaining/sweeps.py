"""The same photos explained with one setting changed: layers against what is kept or β, and widths of the mask's blur."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.bottlenecks.per_sample import IBA
from bitlens.core.attribution import Attribution
from bitlens.core.statistics import FeatureStatistics
from bitlens.core.targets import Target
from bitlens.errors import InputError, SettingError
from bitlens.explaining.photos import over_photo

Advance = Callable[[], Any]


def sweep_layers(
    model: nn.Module,
    images: Sequence[Tensor],
    targets: Sequence[int] | Target,
    statistics: Mapping[str, FeatureStatistics | None],
    columns: Sequence[Mapping[str, Any]],
    *,
    progress: Advance | None = None,
    **settings: Any,
) -> list[list[list[Attribution]]]:
    """Make a map of each photo for each layer and each of several settings, photos of one size at once.

    Args:
        model: the network.
        images: (1, C, H, W) each, prepared.
        targets: a class index for each, or one question for all.
        statistics: of the layers, by their dotted names; None for those of each photo's own places.
        columns: what changes: `{"keep": 0.9}`, `{"beta": 10.0}`.
        progress: called after each map.
        **settings: further ones of `IBA`, the same for all.

    Returns:
        By layer, by column, by photo.

    Raises:
        SettingError: if there is no layer or no column.
        LayerError: if a layer has no grid over the photo.
    """
    if not statistics or not columns:
        raise SettingError(f"expected layers and settings to compare; got {list(statistics)} and {list(columns)}")
    return [
        [
            _explained(IBA(model, layer, statistics=known, **column, **settings), images, targets, progress)
            for column in columns
        ]
        for layer, known in statistics.items()
    ]


def sweep_betas(
    model: nn.Module,
    images: Sequence[Tensor],
    targets: Sequence[int] | Target,
    statistics: Mapping[str, FeatureStatistics | None],
    betas: Sequence[float],
    *,
    progress: Advance | None = None,
    **settings: Any,
) -> list[list[list[Attribution]]]:
    """Make a map of each photo for each layer and each β (Schulz et al., figures 4 and 10); for the rest see `sweep_layers`.

    Raises:
        SettingError: if there is no layer or no β, or one that is not above 0.
        LayerError: if a layer has no grid over the photo.
    """
    if not statistics or not betas or min(betas) <= 0:
        raise SettingError(f"expected layers, and betas above 0; got {list(statistics)} and {list(betas)}")
    columns = [{"beta": beta} for beta in betas]
    return sweep_layers(model, images, targets, statistics, columns, progress=progress, **settings)


def sweep_smoothings(
    model: nn.Module,
    images: Sequence[Tensor],
    targets: Sequence[int] | Target,
    statistics: FeatureStatistics | None,
    smoothings: Sequence[float],
    *,
    layer: str = "",
    progress: Advance | None = None,
    **settings: Any,
) -> list[list[Attribution]]:
    """Make a map of each photo for each width of the mask's blur, photos of one size at once (Schulz et al., figure 9).

    Args:
        model: the network.
        images: (1, C, H, W) each, prepared.
        targets: a class index for each, or one question for all.
        statistics: of the layer, whose name they know; None for those of each photo's own places.
        smoothings: σ in cells of the layer's grid, 0 for no blur.
        layer: its dotted name, where there are no statistics.
        progress: called after each map.
        **settings: further ones of `IBA`, the same for all.

    Returns:
        By σ, by photo.

    Raises:
        SettingError: if there is no σ, one is negative, or one is too wide for the grid.
        LayerError: if the layer has no grid over the photo.
    """
    if not smoothings or min(smoothings) < 0:
        raise SettingError(f"expected smoothings of 0 or more; got {list(smoothings)}")
    where = {layer or (statistics.provenance.layer if statistics is not None else ""): statistics}
    columns = [{"smoothing": sigma} for sigma in smoothings]
    (found,) = sweep_layers(model, images, targets, where, columns, progress=progress, **settings)
    return found


def roughness(cells: Tensor) -> Tensor:
    """Measure how little a map's cells are like their neighbours, as the grids that strides leave: Σ |difference| / (4 Σ).

    Args:
        cells: (N, h, w), bits per cell, none negative.

    Returns:
        (N,) from 0 (flat) to 1 (what has bits stands alone); NaN for a map of zeros.

    Raises:
        InputError: the shape is another.
    """
    if cells.dim() != 3:
        raise InputError(f"cells have shape {tuple(cells.shape)}: expected (N, h, w)")
    across, down = (cells.diff(dim=axis).abs().sum((1, 2)) for axis in (2, 1))
    return (across + down) / (4 * cells.sum((1, 2)))


def roughness_of(one: Attribution) -> float:
    """Measure the roughness of one photo's map; NaN where the layer has no cells."""
    return float(roughness(one.cells)) if one.cells is not None else math.nan


def _explained(
    iba: IBA, images: Sequence[Tensor], targets: Sequence[int] | Target, progress: Advance | None
) -> list[Attribution]:
    """Make one attribution for each photo, in their order."""
    alike: dict[torch.Size, list[int]] = {}
    for number, image in enumerate(images):
        alike.setdefault(image.shape, []).append(number)
    found: dict[int, Attribution] = {}
    for members in alike.values():
        batch = torch.cat([images[i] for i in members])
        asked = targets if isinstance(targets, Target) else torch.tensor([targets[i] for i in members])
        made = over_photo(iba.explain(batch, asked, progress=_told(progress)))
        found |= {i: made[place] for place, i in enumerate(members)}
    return [found[i] for i in range(len(images))]


def _told(progress: Advance | None) -> Callable[[int], None] | None:
    """Tell each sample once, where `IBA.explain` counts up."""
    if progress is None:
        return None
    told = 0

    def tell(done: int) -> None:
        nonlocal told
        for _ in range(done - told):
            progress()
        told = done

    return tell
