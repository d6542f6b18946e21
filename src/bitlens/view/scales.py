"""Where the colours of maps end that are shown together: on the pictures of a folder, on a sheet, in a report.

Maps in bits share one scale unless a person wants each to have its own; scores have no unit, so that each map has its own
unless a person wants those of a method to share one. A map of an input of which nothing was needed is dark, whatever its scale.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bitlens.view.arrays import Floats
from bitlens.view.card import Proof
from bitlens.view.colours import Scale

if TYPE_CHECKING:
    from bitlens.core.attribution import Attribution
    from bitlens.core.stored_map import StoredMap

_PERCENTILE = 99.5  # gradients have a few pixels that are far above all others
_LITTLE = 0.05  # of a scale: what lies below is dark, and said to be next to nothing
_OWN = "a scale of its own"


class Ends:
    """Ends of the scales of maps that are shown together.

    Args:
        same: whether all maps share scales, those in scores by method; None for maps in bits only.
        tops: by unit or method, where scales end, as far as maps were counted elsewhere.
    """

    def __init__(self, same: bool | None = None, tops: "dict[str, float] | None" = None) -> None:
        self.same = same
        self.tops: dict[str, float] = dict(tops or {})

    def count(self, label: str, one: "Attribution | StoredMap", *, signed: bool = False) -> None:
        """Let scales reach as far as a map does.

        Args:
            label: of the method.
            one: of one input.
            signed: whether the sign of its values means something.
        """
        values = _values(one)
        if not self._shares(one.unit) or not values.any() or _idle(one):
            return
        top = Scale.over([values], one.unit, percentile=_percentile(one.unit), signed=signed).top
        key = _key(label, one.unit)
        self.tops[key] = max(self.tops.get(key, 0.0), top)

    def scale(self, label: str, one: "Attribution | StoredMap", *, signed: bool = False) -> Scale:
        """Return the scale of a map; see `count` for the arguments."""
        values = _values(one)
        top = self.tops.get(_key(label, one.unit)) if self._shares(one.unit) else None
        largest = float(np.abs(values).max(initial=0.0))
        if _idle(one) and largest > _LITTLE * (top or 0.0):
            top = largest / _LITTLE
        scale = Scale.over([values], one.unit, top, None if top else _percentile(one.unit), signed=signed)
        return replace(scale, note=_OWN) if self.own(one.unit) and not scale.note else scale

    def own(self, unit: str) -> bool:
        """Say whether each map has a scale of its own though it could share one, which a reader must know."""
        return self.same is False and unit.startswith("bits")

    def _shares(self, unit: str) -> bool:
        return unit.startswith("bits") if self.same is None else self.same


def little(values: Floats, scale: Scale) -> str:
    """Say that a map in bits has next to nothing of its scale, and how much at most; nothing of any other map."""
    largest = float(np.abs(values).max(initial=0.0))
    if not scale.unit.startswith("bits") or not 0 < largest <= 1.001 * _LITTLE * scale.top:
        return ""
    return f"next to nothing: {largest:.2g} {scale.unit} at most"


def darkened(scale: Scale, largest: float) -> Scale:
    """Return the scale on which a map that goes up to `largest` is dark, as one of which nothing was needed is."""
    return replace(scale, top=max(scale.top, largest / _LITTLE))


def dark_end(maps: Sequence[Floats], idle: Sequence[bool]) -> float | None:
    """Return where the colours of maps must end so that they are dark, if nothing of any input was needed."""
    largest = max(float(np.abs(one).max(initial=0.0)) for one in maps)
    return largest / _LITTLE if all(idle) and largest > 0 else None


def _values(one: "Attribution | StoredMap") -> Floats:
    values: Floats = np.asarray(one.map[0], dtype=np.float32)
    return values


def _idle(one: "Attribution | StoredMap") -> bool:
    proof = Proof.of(one)
    return proof is not None and proof.idle and one.unit.startswith("bits") and not one.signed


def _percentile(unit: str) -> float | None:
    return _PERCENTILE if unit == "score" else None


def _key(label: str, unit: str) -> str:
    """Name what shares a scale: what has a unit, or else what one method made."""
    return unit if unit.startswith("bits") else label
