"""The curve of a decision on a page: a slider moves through its maps, without a script of its own where it stands alone."""

import math
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from bitlens.view.arrays import Array, as_map, as_photo
from bitlens.view.colours import dim, overlay
from bitlens.view.encoding import bar_uri, picture_uri
from bitlens.view.html import asset, render_template
from bitlens.view.tradeoff import TradeOff, bits_ends, bits_number, bits_ticks, least_share, share_ticks

_SIDE = 320  # pixels of the longer side of a map
# Of the drawing, in its own units.
_LEFT, _RIGHT, _TOP, _BOTTOM, _WIDTH, _HEIGHT = 42.0, 14.0, 10.0, 38.0, 340.0, 210.0


@dataclass(frozen=True)
class _Dot:
    x: str
    y: str
    picture: str
    said: str


def trade_off_html(curve: TradeOff, photo: Array | None, anchor: str, *, alone: bool = False) -> Markup:
    """Write a piece of HTML: the map at each point, the curve, and a slider that moves through both.

    Args:
        curve: at least one step.
        photo: (3, H, W) or (1, H, W) in [0, 1]; None for maps over grey.
        anchor: unique on the page.
        alone: whether the piece brings its own style and moves by itself, on a page that knows nothing of it.
    """
    pixels = as_photo(photo) if photo is not None else None
    size = (pixels.shape[1], pixels.shape[2]) if pixels is not None else curve.steps[0].picture.shape
    grey = dim(pixels if pixels is not None else np.full((3, *size), 0.5, dtype=np.float32))
    ticks = bits_ticks(curve)
    low, high = bits_ends(curve)
    dots = [
        _Dot(
            f"{_across(step.bits, low, high):.1f}",
            f"{_down(step.kept, curve):.1f}",
            picture_uri(overlay(grey, as_map(step.picture, (size[0], size[1])), curve.scale), _SIDE),
            step.said(curve.measure),
        )
        for step in curve.steps
    ]
    page = render_template(
        "tradeoff.html.j2",
        curve=curve,
        anchor=anchor,
        dots=dots,
        size=(size[1], size[0]),
        line=" ".join(f"{dot.x},{dot.y}" for dot in dots),
        ticks=[(f"{_across(bits, low, high):.1f}", bits_number(bits)) for bits in ticks],
        shares=[(f"{_down(share, curve):.1f}", f"{share:.1f}") for share in share_ticks(curve)],
        box=(_LEFT, _TOP, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM, _WIDTH, _HEIGHT),
        bar=bar_uri(curve.scale),
        top=f"{curve.scale.top:.2g}",
        alone=alone,
        style=Markup(asset("tradeoff.css")) if alone else "",
    )
    return Markup(page)


def _across(bits: float, low: float, high: float) -> float:
    share = math.log(max(bits, 1e-3) / low) / math.log(high / low)
    return _LEFT + share * (_WIDTH - _RIGHT - _LEFT)


def _down(kept: float, curve: TradeOff) -> float:
    low = least_share(curve)
    return _TOP + (1 - (min(kept, 1.0) - low) / (1 - low)) * (_HEIGHT - _BOTTOM - _TOP)
