"""Sheets of heat maps: methods side by side, layers against β, and what the smoothing of the mask does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from bitlens.attribution import Attribution
from bitlens.bottlenecks.per_sample import IBA
from bitlens.errors import BitlensError
from bitlens.evaluation.context import Context
from bitlens.methods import METHODS
from bitlens.models.load import LoadedModel
from bitlens.statistics import FeatureStatistics
from bitlens.view.heatmap import draw_grid

__all__ = ["draw_kept_maps", "draw_layers_and_betas", "draw_smoothings"]

_ROWS, _COLUMNS = 8, 5  # what fits a page
_PERCENTILE = 99.5  # gradients have few pixels that are far above all others


def draw_kept_maps(context: Context, folder: Path, indices: Sequence[int]) -> list[Figure]:
    """The kept maps of the first photos (rows) and all methods (columns), each on its own scale (Schulz et al., figures 5, 8).

    Args:
        context: the evaluation.
        folder: where the maps are kept.
        indices: positions of samples; those without all maps are passed over.

    Returns:
        Sheets of five methods each; none if no sample has all maps.
    """
    labels = list(context.methods)
    photos: list[Tensor] = []
    rows, titles = [], []
    for index in indices:
        places = [folder / label / f"{index:08d}.npy" for label in labels]
        if len(photos) == _ROWS or not all(place.is_file() for place in places):
            continue
        try:
            sample = context.samples[index]
            image = context.loaded.preprocess(sample.image)
        except BitlensError:
            continue  # its failure is in the rows
        photos.append(context.loaded.preprocess.display(image))
        rows.append([np.load(place, allow_pickle=False) for place in places])
        titles.append(_title(context.loaded, sample.label, sample.name))
    units = [METHODS[context.plan.methods[label].name].unit for label in labels]
    parts = [slice(start, start + _COLUMNS) for start in range(0, len(labels), _COLUMNS)] if photos else []
    return [
        draw_grid(
            photos,
            [maps[part] for maps in rows],
            unit=units[part],
            row_titles=titles,
            column_titles=labels[part],
            shared_scale=False,
            percentile=_PERCENTILE,
        )
        for part in parts
    ]


def draw_layers_and_betas(
    loaded: LoadedModel,
    image: Tensor,
    target: int,
    statistics: Mapping[str, FeatureStatistics],
    betas: Sequence[float],
    **settings: Any,
) -> Figure:
    """One photo's maps: a row for each layer, a column for each β, each on its own scale (Schulz et al., figures 4 and 10).

    Args:
        loaded: the network.
        image: (1, C, H, W), prepared.
        target: class index.
        statistics: of each layer, by its dotted name.
        betas: prices of information.
        **settings: of `IBA`, the same for all.
    """
    rows = [
        [IBA(loaded.model, layer, beta=beta, statistics=known, **settings).explain(image, target) for beta in betas]
        for layer, known in statistics.items()
    ]
    shown = loaded.preprocess.display(image[0])
    return _evidence_grid([shown] * len(rows), rows, list(statistics), [f"β = {beta:g}" for beta in betas])


def draw_smoothings(
    loaded: LoadedModel,
    images: Tensor,
    targets: Sequence[int],
    statistics: FeatureStatistics,
    sigmas: Sequence[float] = (0.0, 0.5, 1.0, 2.0),
    **settings: Any,
) -> Figure:
    """A row for each photo, a column for each σ of the mask's blur: without it the grids of strides show (figure 9).

    Args:
        loaded: the network.
        images: (N, C, H, W), prepared.
        targets: (N,) class indices.
        statistics: of the layer.
        sigmas: in cells of the layer's grid; 0 for none.
        **settings: of `IBA`, the same for all.
    """
    layer = statistics.provenance.layer
    made = [
        IBA(loaded.model, layer, smoothing=sigma, statistics=statistics, **settings).explain(
            images, torch.as_tensor(targets)
        )
        for sigma in sigmas
    ]
    rows = [[one[i] for one in made] for i in range(len(images))]
    shown = [loaded.preprocess.display(image) for image in images]
    titles = [_title(loaded, target, "") for target in targets]
    return _evidence_grid(shown, rows, titles, [f"σ = {sigma:g}" for sigma in sigmas])


def _evidence_grid(
    photos: Sequence[Tensor], rows: Sequence[Sequence[Attribution]], row_titles: Sequence[str], columns: Sequence[str]
) -> Figure:
    return draw_grid(
        photos,
        [[one.map[0] for one in row] for row in rows],
        unit=rows[0][0].unit,
        row_titles=row_titles,
        column_titles=columns,
        captions=[[_caption(one) for one in row] for row in rows],
        shared_scale=False,
    )


def _caption(one: Attribution) -> str:
    bits = f"{float(one.total_bits[0]):,.0f} bits" if one.total_bits is not None else ""
    return bits + (f", p = {float(one.evidence.under_noise[0]):.2f}" if one.evidence is not None else "")


def _title(loaded: LoadedModel, target: int | None, name: str) -> str:
    if target is None:
        return name
    return loaded.classes[target] if loaded.classes is not None and target < len(loaded.classes) else f"class {target}"
