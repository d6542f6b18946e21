"""One explained photo as a card of a report: photo, maps with their colour bars, evidence, and what the numbers mean."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bitlens.core.told import aim_of, share_asked
from bitlens.view.answer import Answer
from bitlens.view.arrays import Array, Floats, as_map, as_photo
from bitlens.view.colours import Scale, dim, overlay
from bitlens.view.encoding import bar_uri, picture_uri

if TYPE_CHECKING:
    from bitlens.core.attribution import Attribution
    from bitlens.core.stored_map import StoredMap

_COLUMNS, _ROWS = ("left", "middle", "right"), ("upper", "central", "lower")
# Smaller changes of a probability are not worth a word.
_RISE, _FALL = 0.05, 0.9
_SAME = 1e-4  # shares that differ by rounding
_TOLD = 0.005  # of a share: half of the last digit that people read


@dataclass(frozen=True)
class Proof:
    """Answers of the network about the target, clean and with noise in place of what the map calls unused.

    Attributes:
        before: on the clean photo.
        under: mean over noise samples.
        spread: standard deviation over them.
        measure: "probability" or "score".
        floor: with nothing but noise; None where that was not measured.
        kept: share of the decision between floor and clean value that the map holds; None where it was not measured, or where
            the network says the same without seeing anything.
        error: its standard error, None where that is not known.
        caveat: what must be known of the bits beside these numbers, if anything.
        own: whether the noise is as large as the features of this very input are on average, which may tell a texture.
        asked: share of the decision that the map had to hold, None where it had to hold none.
    """

    before: float
    under: float
    spread: float
    measure: str = "probability"
    floor: float | None = None
    kept: float | None = None
    error: float | None = None
    caveat: str = ""
    own: bool = False
    asked: float | None = None

    @classmethod
    def of(cls, attribution: "Attribution | StoredMap", sample: int = 0) -> "Proof | None":
        """Read it off an attribution, None where the method uses no noise."""
        found = attribution.evidence
        if found is None:
            return None
        before, under, spread = (float(v[sample]) for v in (found.before, found.under_noise, found.under_noise_std))
        floor, kept = (float(found.floor[sample]) if found.floor is not None else None, float(found.kept[sample]))
        held, error = (value if math.isfinite(value) else None for value in (kept, float(found.kept_error[sample])))
        own = attribution.settings.get("statistics_data") == "own"
        asked = share_asked(attribution.settings)
        return cls(before, under, spread, found.measure, floor, held, error, found.caveat, own, asked)

    @property
    def collapsed(self) -> bool:
        """Say whether the noise destroyed the prediction."""
        if self.idle:
            return False
        return self.measure == "probability" and self.under < 0.5 * self.before

    @property
    def fails(self) -> bool:
        """Say whether the map holds less than it had to."""
        return self.asked is not None and self.kept is not None and self.kept < self.asked - _SAME

    @property
    def idle(self) -> bool:
        """Say whether the network gives this answer without seeing anything."""
        return self.floor is not None and self.kept is None

    @property
    def more(self) -> bool:
        """Say whether the network says clearly more of it without seeing anything."""
        least = _RISE if self.measure == "probability" else (1 - _FALL) * abs(self.before)
        return self.idle and self.floor is not None and self.floor > self.before + max(least, self.spread)

    @property
    def held(self) -> str:
        """Say what share of the decision the map holds, or that nothing was needed; nothing where that was not measured."""
        if self.more:
            return "nothing of the input speaks for it"
        if self.idle:
            return "no place of the input was needed" if self.own else "nothing of the input was needed"
        if self.kept is None:
            return ""
        if self.fails:
            kept = f"{math.floor(100 * self.kept) / 100:.2f}{self.give_or_take}"
            return f"only {kept} of the decision is held, not the {self.asked:g} asked for"
        return f"{self.kept:.2f}{self.give_or_take} of the decision is held"

    @property
    def give_or_take(self) -> str:
        """Say how far off what is held may be, with 95 %; nothing where that is less than is told of it."""
        return f" ± {2 * self.error:.2f}" if self.error is not None and 2 * self.error >= _TOLD else ""

    @property
    def meaning(self) -> str:
        """Say in one sentence what the numbers mean for the map."""
        if self.idle:
            return self._without_seeing
        if self.fails:
            return "No map was found that holds as much of this answer as was asked for: more than this one shows is needed."
        if self.measure != "probability":
            return "Everything that the map leaves out was replaced by noise; compare the two scores."
        if self.collapsed:
            return "The map shows only a part of what the network needs here: keep = 0.9 in place of β holds more."
        if self.under < _FALL * self.before:
            return "What the map shows is most of what this answer needs."
        against = "; the noise also hid what spoke against it" if self.under > self.before + _RISE else ""
        return f"What the map shows is enough for this answer{against}."

    @property
    def _without_seeing(self) -> str:
        """Say what it means that the network gives this answer without seeing anything."""
        if self.more:
            return "With nothing but noise the network says more of it: what is here speaks against this answer."
        if not self.own:
            return "With nothing but noise the network says the same: nothing here was needed for this answer."
        return (
            "With noise that has this input's own averages the network says the same: what decides is in it everywhere, as a "
            "texture is, or was not needed; statistics of other inputs tell which."
        )


def caption(attribution: "Attribution | StoredMap") -> str:
    """Name the evidence, the total and the settings of a bottleneck's map, for below a picture."""
    parts = []
    if (proof := Proof.of(attribution)) is not None:
        symbol = "p" if proof.measure == "probability" else "score"
        after = f"{proof.under:.2f} ± {proof.spread:.2f} with everything else under noise"
        floor = f", {proof.floor:.2f} with nothing but noise" if proof.floor is not None else ""
        parts.append(f"{symbol} = {proof.before:.2f}, and {after}{floor}{f': {proof.held}' if proof.held else ''}")
    if attribution.total_bits is not None:
        beside = attribution.extra_bits
        apart = f", {float(beside[0].sum()):,.0f} by other tokens than patches" if beside is not None else ""
        parts.append(f"{totals(attribution)}{apart}")
    parts.append(", ".join(filter(None, (attribution.layer, aim_of(attribution.settings, attribution.keeps_class)))))
    if proof is not None and proof.caveat:
        parts.append(proof.caveat)
    return " · ".join(filter(None, parts))


def totals(found: "Attribution | StoredMap", sample: int = 0) -> str:
    """Say that so many bits pass in total, or speak for the answer and against it; nothing of methods that count none."""
    alone = found.total_bits is not None and found.total_against is None
    return f"{bits_passed(found, sample)} in total" if alone else bits_passed(found, sample)


def bits_passed(found: "Attribution | StoredMap", sample: int = 0) -> str:
    """Say the same in the fewest words: "210 bits", or "210 bits for it, 30 against"."""
    if found.total_bits is None:
        return ""
    bits = f"{float(found.total_bits[sample]):,.0f} bits"
    against = "" if found.total_against is None else f" for it, {float(found.total_against[sample]):,.0f} against"
    return f"{bits}{against}"


def agreement(found: "Attribution | StoredMap", sample: int = 0) -> str:
    """Say how far other seeds agree on a map; nothing where that was not measured."""
    over = found.spread
    if over is None:
        return ""
    of_what = "" if found.total_against is None else " for the answer"
    return f"{over.seeds} seeds agree on {float(over.agreed[sample]):.0%} of the top {over.top:.0%} of places{of_what}"


def deviation(found: "Attribution | StoredMap") -> str:
    """Name the map of how far seeds differ; of a signed one only what is for the answer was found with several."""
    assert found.spread is not None
    of_what = "" if found.total_against is None else " of the bits for it"
    return f"standard deviation{of_what} over {found.spread.seeds} seeds"


@dataclass(frozen=True)
class SlicePile:
    """Slices of a volume, one below the other in one picture.

    Attributes:
        picture: data URI.
        size: width and height of one of them.
        numbers: which slices they are.
        first: position of the one that is shown first.
    """

    picture: str
    size: tuple[int, int]
    numbers: tuple[int, ...]
    first: int


@dataclass(frozen=True)
class MapFigure:
    """One map over its photo.

    Attributes:
        method: its name.
        details: how it was set.
        picture: data URI of the map over the dimmed photo.
        bar: data URI of the colours.
        ends: the numbers at the ends of the bar.
        unit: of the numbers.
        note: what must be known of the ends, or nothing.
        alt: what the picture shows, in words.
        facts: short sentences about it.
        proof: of a method that uses noise.
        curve: bits against the share of the decision, as a piece of HTML; empty where nobody asked for it.
        own: whether a map in bits has a scale that no other shares.
        size: width and height of the picture, where it is not that of the card.
        start: of a picture that is wider than its window, what comes to stand in the middle, as a share of its width.
        slices: of a volume.
        signed: whether values below zero speak against the answer.
    """

    method: str
    details: str
    picture: str
    bar: str
    ends: tuple[str, str]
    unit: str
    note: str
    alt: str
    facts: tuple[str, ...] = ()
    proof: Proof | None = None
    curve: str = ""
    own: bool = False
    size: tuple[int, int] | None = None
    start: float = 0.0
    slices: "SlicePile | None" = None
    signed: bool = False


@dataclass(frozen=True)
class Card:
    """One photo and what the methods say of it.

    Attributes:
        anchor: unique on the page.
        name: of the photo.
        answer: what was asked, and what the network says.
        photo: data URI, or nothing if the photo is missing.
        size: width and height of the pictures.
        figures: at least one, or there are problems.
        problems: what could not be shown, and why.
    """

    anchor: str
    name: str
    answer: Answer
    photo: str
    size: tuple[int, int]
    figures: tuple[MapFigure, ...]
    problems: tuple[str, ...] = ()

    @property
    def proofs(self) -> list[MapFigure]:
        """Return the figures whose methods prove something."""
        return [figure for figure in self.figures if figure.proof is not None]


def draw_photo_uri(photo: Array) -> str:
    """Return a photo (3, H, W) or (1, H, W) in [0, 1] as a data URI."""
    return picture_uri(as_photo(photo).transpose(1, 2, 0))


def draw_figure(
    photo: Array | None,
    map: Array,  # noqa: A002
    scale: Scale,
    *,
    method: str,
    details: str = "",
    total: str = "",
    proof: Proof | None = None,
) -> MapFigure:
    """Lay a map over its photo, and say in words what is seen.

    Args:
        photo: (3, H, W) or (1, H, W) in [0, 1]; None draws the map over grey.
        map: (h, w), finite.
        scale: what the colours mean.
        method: its name.
        details: how it was set.
        total: what is said of all bits together, as `totals` does.
        proof: of the method.

    Raises:
        InputError: an array has the wrong shape or range or is not finite.
    """
    pixels = as_photo(photo) if photo is not None else None
    values = as_map(map, (pixels.shape[1], pixels.shape[2]) if pixels is not None else None)
    grey = dim(pixels if pixels is not None else np.full((3, *values.shape), 0.5, dtype=np.float32))
    share, place = _centre(values)
    what = scale.unit.partition("/")[0]
    facts: tuple[str, ...] = (total,) if total else ()
    facts += (f"half of {'them' if facts else 'it'} on {share:.0%} of the picture, {place}",) if share else ()
    return MapFigure(
        method,
        details,
        picture_uri(overlay(grey, values, scale)),
        bar_uri(scale),
        ends_of(scale),
        scale.unit,
        scale.note,
        f"Map of {method} in {what if what.startswith('bits') else f'{what}s'}: {'; '.join(facts) or '0 everywhere'}",
        facts,
        proof,
        signed=scale.signed,
    )


def _centre(values: Floats) -> tuple[float, str]:
    """Find the smallest share of the picture that holds half of the magnitudes, and where; (0, "") for a map of zeros."""
    magnitude = np.abs(values, dtype=np.float64)
    total = float(magnitude.sum())
    if total == 0:
        return 0.0, ""
    order = np.sort(magnitude, axis=None)[::-1]
    count = int(np.searchsorted(np.cumsum(order), total / 2)) + 1
    top = magnitude >= order[count - 1]
    y, x = np.nonzero(top)
    row = _ROWS[_third(y, magnitude[top], magnitude.shape[0])]
    column = _COLUMNS[_third(x, magnitude[top], magnitude.shape[1])]
    place = {"central middle": "in the middle", "central left": "on the left", "central right": "on the right"}
    return count / magnitude.size, place.get(f"{row} {column}", f"{row} {column}")


def _third(positions: NDArray[np.intp], weights: NDArray[np.float64], length: int) -> int:
    return min(int(3 * np.average(positions + 0.5, weights=weights) / length), 2)


def ends_of(scale: Scale) -> tuple[str, str]:
    """Return the numbers at the ends of the bar; "≥" where values lie beyond."""
    below, above = scale.extend in ("min", "both"), scale.extend in ("max", "both")
    return ("≤ " if below else "") + _number(scale.bottom), ("≥ " if above else "") + _number(scale.top)


def _number(value: float) -> str:
    return f"{value:.2g}".replace("-", "−") if abs(value) < 100 else f"{value:,.0f}".replace("-", "−")
