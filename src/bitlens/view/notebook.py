"""An attribution as a notebook shows it: small pictures on one scale, with their unit and what was measured."""

from dataclasses import dataclass

import numpy as np

from bitlens.core.attribution import Attribution
from bitlens.view.card import Proof
from bitlens.view.colours import Floats, Scale, overlay
from bitlens.view.encoding import bar_uri, picture_uri
from bitlens.view.html import render_template
from bitlens.view.panels import as_map

_MOST = 8
_SIDE = 180  # pixels of the longer side
_GREY = 0.2


@dataclass(frozen=True)
class _Tile:
    picture: str
    size: tuple[int, int]
    target: str
    facts: str


def attribution_html(attribution: Attribution) -> str:
    """Write HTML that stands alone: at most eight maps, all on one scale, with total bits and evidence.

    Raises:
        InputError: a map is empty or not finite.
    """
    shown = attribution[:_MOST]
    maps = [_grid(one.numpy()) for one in shown.map]
    scale = Scale.over(maps, shown.unit) if maps else Scale(shown.unit, 1.0)
    return render_template(
        "notebook.html.j2",
        attribution=attribution,
        tiles=[_tile(shown, number, values, scale) for number, values in enumerate(maps)],
        bar=bar_uri(scale),
        scale=scale,
        more=len(attribution) - len(maps),
    )


def _grid(values: Floats) -> Floats:
    """Lay a map out in rows and columns: tokens and features lie in one row."""
    return as_map(values if values.ndim == 2 else values[None])


def _tile(shown: Attribution, number: int, values: Floats, scale: Scale) -> _Tile:
    height, width = values.shape
    larger = _SIDE / max(height, width)
    size = (_SIDE, 24) if height == 1 else (round(width * larger), round(height * larger))
    facts = []
    if shown.total_bits is not None:
        facts.append(f"{float(shown.total_bits[number]):,.0f} bits")
    if (proof := Proof.of(shown, number)) is not None:
        facts.append(f"{proof.measure} {proof.before:.2f}, under noise {proof.under:.2f} ± {proof.spread:.2f}")
    picture = picture_uri(overlay(np.full_like(values, _GREY), values, scale), 2 * _SIDE)
    return _Tile(picture, size, shown.targets[number], " · ".join(facts))
