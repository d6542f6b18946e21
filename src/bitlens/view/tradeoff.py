"""How few bits until the decision goes: the curve of one decision, as a page and a figure draw it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from bitlens.core.told import LEVELS, share_asked
from bitlens.view.arrays import Floats, as_map
from bitlens.view.card import Proof
from bitlens.view.colours import Scale

if TYPE_CHECKING:
    from bitlens.core.attribution import Attribution
    from bitlens.core.stored_map import StoredMap

_SAME = 1e-3  # of bits: nearer points are one
_MOST = len(LEVELS)  # steps
_USUAL = 0.9  # share that is shown first where none was asked for
_DEEPEST = 4  # axes of the maps of a curve: volumes are not drawn


@dataclass(frozen=True)
class Step:
    """One point of the curve.

    Attributes:
        level: the share that was asked for.
        kept: the share that is held.
        bits: that pass in all.
        value: of the target, as so much of it is held; None where that is not known.
        map: (h, w); (1, T) of a text or a signal.
    """

    level: float
    kept: float
    bits: float
    value: float | None
    map: Floats

    @property
    def picture(self) -> Floats:
        """Return the map as it is drawn: one of a single row as a band, an eighth as high as it is long."""
        return self.map if len(self.map) > 1 else np.repeat(self.map, max(1, self.map.shape[1] // 8), 0)

    def said(self, measure: str) -> str:
        """Say it in a sentence."""
        symbol = "p" if measure == "probability" else "value"
        value = f", {symbol} = {self.value:.2f}" if self.value is not None else ""
        level = (
            f"level {self.level:.2f}: " if abs(self.level - self.kept) < 5e-3 else f"level {self.level:.2f} (not met): "
        )
        return f"{level}{bits_text(self.bits)} hold {self.kept:.2f} of the decision{value}"


@dataclass(frozen=True)
class TradeOff:
    """The curve of one input, ready to be drawn.

    Attributes:
        steps: by rising bits, no two alike.
        scale: of all maps.
        measure: what `value` of the steps is.
        start: the step that is shown first.
        title: what it is of.
        signed: whether the map that it belongs to tells of bits against the answer as well.
    """

    steps: Sequence[Step]
    scale: Scale
    measure: str
    start: int
    title: str = ""
    signed: bool = False

    @property
    def sentence(self) -> str:
        """Say what the curve says."""
        only = (
            " These are the bits for the answer; those against it hold nothing, and are left out."
            if self.signed
            else ""
        )
        least, most = self.steps[0], self.steps[-1]
        if len(self.steps) == 1:
            return f"One point only: {bits_text(least.bits)} hold {least.kept:.2f} of the decision.{only}"
        return (
            f"From {bits_text(most.bits)} for {most.kept:.2f} of the decision down to {bits_text(least.bits)} for "
            f"{least.kept:.2f}, under noise that no mask was fitted on.{only}"
        )


def bits_text(bits: float) -> str:
    """Write a number of bits."""
    return f"{bits_number(bits)} bits"


def bits_number(bits: float) -> str:
    """Write it without its unit."""
    return f"{bits:,.0f}" if bits >= 10 else f"{bits:.2g}"


def trade_off(found: "Attribution | StoredMap", sample: int = 0, title: str = "") -> TradeOff | None:
    """Read the curve of one input off an attribution; None where there is none, or nothing of the input was needed."""
    curve, proof = found.curve, Proof.of(found, sample)
    if curve is None or curve.maps.ndim > _DEEPEST or (proof is not None and proof.idle):
        return None
    count = curve.kept.shape[1]
    levels = LEVELS if count == len(LEVELS) else tuple(curve.kept[sample].tolist())
    steps: list[Step] = []
    for i in sorted({round(i) for i in np.linspace(0, count - 1, min(count, _MOST))}):
        kept, bits = float(curve.kept[sample, i]), float(curve.bits[sample, i])
        value = None
        if proof is not None and proof.floor is not None:
            value = proof.floor + kept * (proof.before - proof.floor)
        if not steps or bits > steps[-1].bits * (1 + _SAME):
            steps.append(Step(levels[i], kept, bits, value, as_map(np.atleast_2d(curve.maps[sample, i]))))
    wanted = share_asked(found.settings) or _USUAL
    start = min(range(len(steps)), key=lambda i: abs(steps[i].kept - wanted))
    scale = Scale.over([step.map for step in steps], found.unit)
    measure = proof.measure if proof is not None else "probability"
    return TradeOff(steps, scale, measure, start, title, found.total_against is not None)


def bits_ends(curve: TradeOff) -> tuple[float, float]:
    """Say where the axis of bits begins and ends."""
    low, high = max(curve.steps[0].bits, 1e-3), max(curve.steps[-1].bits, 1e-3)
    room = max(1.15, (high / low) ** 0.06)
    return low / room, high * room


def least_share(curve: TradeOff) -> float:
    """Say where the axis of shares begins."""
    return max(0.0, math.floor(10 * min(step.kept for step in curve.steps) - 0.5) / 10)


def bits_ticks(curve: TradeOff) -> list[float]:
    """Choose round numbers of bits, three to six where the range has so many: of powers of ten, or evenly where it is narrow."""
    low, high = bits_ends(curve)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        found = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(found) >= 3:
            return found[:: -(-len(found) // 6)]
    places = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [float(place) for place in places if low <= place <= high]


def share_ticks(curve: TradeOff) -> list[float]:
    """Choose shares for the axis."""
    first = round(10 * least_share(curve))
    return [tenth / 10 for tenth in range(first, 11, 1 if 10 - first <= 6 else 2)]
