"""Sheets of heat maps: methods side by side, layers against β, and what the smoothing of the mask does."""

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from bitlens.core.attribution import Attribution
from bitlens.errors import BitlensError
from bitlens.evaluation.context import Context
from bitlens.explaining.sweeps import roughness_of
from bitlens.methods import entry_of
from bitlens.models.loaded import Loaded
from bitlens.system.arrays import read_array
from bitlens.view.sheet import draw_grid
from bitlens.view.sweep import SweepRow, draw_sweep

_ROWS, _COLUMNS = 8, 5  # what fits a page
_PERCENTILE = 99.5  # gradients have few pixels that are far above all others


def draw_kept_maps(context: Context, folder: Path, indices: Sequence[int]) -> list[Figure]:
    """Draw kept maps of the first photos (rows) by all methods (columns), each on its own scale (Schulz et al., figures 5, 8).

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
        rows.append([read_array(place, "a map") for place in places])
        titles.append(_title(context.loaded, sample.label, sample.name))
    units = [entry_of(context.plan.methods[label].name).unit for label in labels]
    signed = [bool(context.plan.methods[label].settings.get("signed")) for label in labels]
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
            signed=signed[part],
        )
        for part in parts
    ]


def draw_layers_and_betas(
    photo: Tensor,
    found: Mapping[str, Sequence[Attribution]],
    betas: Sequence[float],
    *,
    title: str,
    caption: str = "",
) -> Figure:
    """Draw one photo's maps: a row for each layer, a column for each β, one colour scale (Schulz et al., figures 4 and 10).

    Args:
        photo: (3, H, W) in [0, 1], as the network sees it.
        found: by layer, an attribution of this photo alone for each β.
        betas: prices of information.
        title: what was asked about, usually the class.
        caption: below it.
    """
    return draw_layers(photo, found, [f"β = {beta:g}" for beta in betas], title=title, caption=caption)


def draw_layers(
    photo: Tensor, found: Mapping[str, Sequence[Attribution]], columns: Sequence[str], *, title: str, caption: str = ""
) -> Figure:
    """Draw one photo's maps: a row for each layer, a column for each of several settings, one colour scale.

    Args:
        photo: (3, H, W) in [0, 1], as the network sees it.
        found: by layer, an attribution of this photo alone for each column.
        columns: their titles.
        title: what was asked about, usually the class.
        caption: below it.
    """
    rows = [
        SweepRow(photo, layer, _grid(row[0]), [one.map[0] for one in row], [_caption(one) for one in row])
        for layer, row in found.items()
    ]
    unit = next(iter(found.values()))[0].unit
    return draw_sweep(rows, columns, unit=unit, title=title, caption=caption, square_root=True)


def draw_smoothings(
    photos: Sequence[Tensor],
    names: Sequence[str],
    found: Sequence[Sequence[Attribution]],
    smoothings: Sequence[float],
    *,
    caption: str = "",
) -> Figure:
    """Draw a row for each photo, a column for each σ of the mask's blur, on one scale: without blur, grids show (figure 9).

    Args:
        photos: (3, H, W) in [0, 1] each, as the network sees them.
        names: of what was asked about, usually the class, for each photo.
        found: for each σ an attribution of each photo alone.
        smoothings: in cells of the layer's grid; 0 for none.
        caption: below the title.
    """
    rows = [
        SweepRow(
            photo,
            name,
            _before(found[0][i]),
            [column[i].map[0] for column in found],
            [_with_roughness(column[i]) for column in found],
        )
        for i, (photo, name) in enumerate(zip(photos, names, strict=True))
    ]
    columns = [f"σ = {sigma:g}" if sigma else "no smoothing" for sigma in smoothings]
    unit, title = found[0][0].unit, f"Smoothing of the mask at {found[0][0].layer}"
    return draw_sweep(rows, columns, unit=unit, title=title, caption=caption)


def _grid(one: Attribution) -> str:
    return f"{one.cells.shape[1]} x {one.cells.shape[2]} cells" if one.cells is not None else ""


def _before(one: Attribution) -> str:
    return f"p = {float(one.evidence.before[0]):.2f}" if one.evidence is not None else ""


def _caption(one: Attribution) -> str:
    bits = f"{float(one.total_bits[0]):,.0f} bits" if one.total_bits is not None else ""
    return bits + (f" · p = {float(one.evidence.under_noise[0]):.2f}" if one.evidence is not None else "")


def _with_roughness(one: Attribution) -> str:
    rough = roughness_of(one)
    return f"{_caption(one)}\nroughness {rough:.2f}" if isfinite(rough) else _caption(one)


def _title(loaded: Loaded, target: int | None, name: str) -> str:
    if target is None:
        return name
    return loaded.classes[target] if loaded.classes is not None and target < len(loaded.classes) else f"class {target}"
