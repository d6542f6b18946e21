"""An attribution as a notebook shows it: each input beside its map, on one scale, with unit and what was measured."""

from dataclasses import dataclass

import numpy as np

from bitlens.core.attribution import Attribution
from bitlens.core.seen import Seen
from bitlens.view.arrays import Floats, as_map
from bitlens.view.canvas import png_of
from bitlens.view.colours import Scale, dim, overlay
from bitlens.view.encoding import as_data_uri, bar_uri, picture_uri
from bitlens.view.html import render_template
from bitlens.view.shaded import html_fragment
from bitlens.view.show import draw_attribution, facts, photo_of, shaded_text

_MOST = 8
_SIDE = 180  # pixels of the longer side
_GREY = 0.2


@dataclass(frozen=True)
class _Tile:
    photo: str
    picture: str
    size: tuple[int, int]
    target: str
    facts: str


def attribution_html(attribution: Attribution) -> str:
    """Write HTML that stands alone: at most eight maps, all on one scale, with total bits and evidence; photos where known.

    Raises:
        InputError: a map is empty or not finite.
    """
    shown = attribution[:_MOST]
    if shown.seen and all(one.text for one in shown.seen):
        return html_fragment([shaded_text(shown, number) for number in range(len(shown))])
    seen = shown.seen or (Seen(),) * len(shown)
    if shown.seen and all(one.values is not None for one in shown.seen):
        return f'<img alt="{len(shown)} maps in {shown.unit}" src="{as_data_uri(png_of(draw_attribution(shown)), "image/png")}">'
    maps = [_grid(one.numpy()) for one in shown.map]
    scale = Scale.over(maps, shown.unit, signed=shown.signed) if maps else Scale(shown.unit, 1.0)
    return render_template(
        "notebook.html.j2",
        attribution=attribution,
        tiles=[_tile(shown, number, values, scale, seen[number]) for number, values in enumerate(maps)],
        bar=bar_uri(scale),
        scale=scale,
        more=len(attribution) - len(maps),
        notes=list(dict.fromkeys(one.note for one in seen if one.note)),
    )


def _grid(values: Floats) -> Floats:
    """Lay a map out in rows and columns: tokens and features lie in one row, volumes are summed over depth."""
    while values.ndim > 2:
        values = values.sum(0)
    return as_map(values if values.ndim == 2 else values[None])


def _tile(shown: Attribution, number: int, values: Floats, scale: Scale, seen: Seen) -> _Tile:
    height, width = values.shape if seen.picture is None else seen.picture.shape[1:]
    larger = _SIDE / max(height, width)
    size = (_SIDE, 24) if height == 1 else (round(width * larger), round(height * larger))
    photo, grey = "", np.full_like(values, _GREY)
    if seen.picture is not None:
        pixels = photo_of(seen, values)
        photo, values, grey = (
            picture_uri(pixels.transpose(1, 2, 0), 2 * _SIDE),
            as_map(values, (height, width)),
            dim(pixels),
        )
    picture = picture_uri(overlay(grey, values, scale), 2 * _SIDE)
    return _Tile(photo, picture, size, seen.target or shown.targets[number], facts(shown, number))
