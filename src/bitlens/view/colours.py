"""From values to colours: one scale, read the same on a light photo, on a dark one, in print and by every eye.

The photo is dimmed to dark grey and the colour is laid over it with an opacity that follows the value: where the map
is 0 only the photo is seen. Whatever the photo's brightness, a larger value is lighter (CIE L*), so the map survives
grey-scale printing and colour blindness. Signed maps get orange above 0 and blue below, both lighter with magnitude.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LinearSegmentedColormap, ListedColormap

from bitlens.errors import InputError
from bitlens.view.arrays import Floats

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
# The darkest and lightest grey of the dimmed photo. The lightest is darker than every overlay colour, or a small
# value over white would look darker than no value at all.
_DARKEST, _LIGHTEST = 0.06, 0.37
# A photo darker than this everywhere is brightened, and shadows are lifted, so that a night photo is recognised.
_DIMMEST_WHITE, _SHADOWS = 0.35, 0.75
_OPACITY, _OPACITY_EXPONENT = 0.92, 0.6

# The darker half is left out: over a bright photo its colours would be darker than the photo.
_PLASMA = ListedColormap(colormaps["plasma"](np.linspace(0.55, 0.97, 256)))
_ORANGE = LinearSegmentedColormap.from_list("orange", ["#d65f0c", "#f39a2e", "#ffdf9e"])
_BLUE = LinearSegmentedColormap.from_list("blue", ["#3b80d8", "#6cb4ee", "#c3e9ff"])

# Negative values smaller than this part of the largest magnitude are rounding, not a sign.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Scale:
    """Meaning of the colours of one or several maps.

    Attributes:
        unit: what the values count, e.g. ``"bits/pixel"`` or ``"score"``.
        top: the value of the lightest colour, > 0. A signed scale runs from -top to top, any other from 0 to top.
        signed: whether the scale has values below 0.
        extend: at which ends values lie beyond the scale, in matplotlib's words.
        note: what a reader must know about the ends, or nothing.
    """

    unit: str
    top: float
    signed: bool = False
    extend: Literal["neither", "min", "max", "both"] = "neither"
    note: str = ""

    @classmethod
    def over(
        cls,
        maps: Sequence[Floats],
        unit: str,
        vmax: float | None = None,
        percentile: float | None = None,
        *,
        signed: bool = False,
    ) -> "Scale":
        """Make the scale on which all `maps` can be compared.

        Args:
            maps: finite arrays of any shape.
            unit: what the values count.
            vmax: the upper end; the largest magnitude by default.
            percentile: end the scale at this percentile of the magnitudes, in (0, 100], instead of at the largest.
                Without effect on maps where that percentile is 0.
            signed: let the scale reach below 0 even if none of these maps does.

        Raises:
            InputError: `vmax` or `percentile` is out of range, both are given, or a map in bits is negative.
        """
        _check_ends(vmax, percentile)
        values = np.concatenate([values.ravel() for values in maps])
        low, high = float(values.min()), float(values.max())
        largest = max(-low, high)
        below_zero = low < -_ROUNDING * largest
        if below_zero and unit.startswith("bits") and not signed:
            raise InputError(
                f"map holds {low:.3g} {unit}: information is never negative; use the unit 'score', or signed=True for bits "
                "for and against"
            )
        signed = signed or below_zero
        at_percentile = 0.0 if percentile is None else float(np.percentile(np.abs(values), percentile))
        top = vmax or at_percentile or largest
        above, below = high > top, signed and low < -top
        extend: Literal["neither", "min", "max", "both"] = (
            "both" if above and below else "max" if above else "min" if below else "neither"
        )
        note = "0 everywhere" if largest == 0 else ""
        if at_percentile and extend != "neither":
            note = f"ends at {_ordinal(percentile or 0.0)} percentile"
        return cls(unit, top or 1.0, signed, extend, note)

    @property
    def bottom(self) -> float:
        """Return the lower end: 0, or -top where there are values below 0."""
        return -self.top if self.signed else 0.0

    @property
    def label(self) -> str:
        """Return the unit, what its signs mean, and the note if there is one."""
        means = ", orange for, blue against" if self.signed and self.unit != "score" else ""
        return f"{self.unit}{means} ({self.note})" if self.note else f"{self.unit}{means}"

    def colour_bar(self) -> ListedColormap:
        """Return the colours as they look over a photo of medium brightness, from `bottom` to `top`."""
        values = np.linspace(self.bottom, self.top, 511, dtype=np.float32)[None]
        grey = np.full_like(values, (_DARKEST + _LIGHTEST) / 2)
        return ListedColormap(overlay(grey, values, self)[0])


def dim(photo: Floats) -> Floats:
    """Turn a photo (3, H, W) in [0, 1] into the dark grey picture (H, W) that lies under a map."""
    luminance = np.tensordot(_LUMINANCE, photo, axes=1)
    lightness = (luminance / max(float(luminance.max()), _DIMMEST_WHITE)) ** _SHADOWS
    grey: Floats = _DARKEST + (_LIGHTEST - _DARKEST) * lightness
    return grey


def overlay(grey: Floats, values: Floats, scale: Scale) -> Floats:
    """Lay the colours of `values` (H, W) over a dimmed photo (H, W): an RGB picture (H, W, 3) in [0, 1]."""
    position = np.clip(values / scale.top, -1.0 if scale.signed else 0.0, 1.0)
    strength = np.abs(position)
    if scale.signed:
        colour = np.where((position < 0)[..., None], _BLUE(strength), _ORANGE(strength))[..., :3]
    else:
        colour = _PLASMA(strength)[..., :3]
    opacity = (_OPACITY * strength**_OPACITY_EXPONENT)[..., None]
    picture: Floats = (grey[..., None] * (1 - opacity) + colour * opacity).astype(np.float32)
    return picture


def _check_ends(vmax: float | None, percentile: float | None) -> None:
    if vmax is not None and percentile is not None:
        raise InputError("vmax and percentile both say where the colour scale ends: give one of them")
    if vmax is not None and not 0 < vmax < float("inf"):
        raise InputError(f"vmax is {vmax}: expected a finite number above 0")
    if percentile is not None and not 0 < percentile <= 100:
        raise InputError(f"percentile is {percentile}: expected a number above 0 and at most 100")


def _ordinal(number: float) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(int(number) % 10, "th") if number not in (11, 12, 13) else "th"
    return f"{number:g}{suffix if number == int(number) else 'th'}"
