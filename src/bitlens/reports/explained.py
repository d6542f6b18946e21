"""From attributions to the cards of a report: which colours mean what, and what is said of each map."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bitlens.core.stored_map import StoredMap
from bitlens.core.told import aim_of
from bitlens.data.images import read_image
from bitlens.errors import BitlensError, InputError
from bitlens.explaining.summary import VALUES, safe_name
from bitlens.methods import METHODS
from bitlens.reports.found import Entry
from bitlens.view.answer import Answer, named
from bitlens.view.arrays import Floats
from bitlens.view.card import Card, MapFigure, Proof, agreement, draw_figure, draw_photo_uri, totals
from bitlens.view.colours import Scale
from bitlens.view.scales import Ends, little
from bitlens.view.tradeoff import trade_off
from bitlens.view.tradeoff_page import trade_off_html

_GREY_SIZE = (1, 1)


@dataclass
class _Sample:
    """One photo with its maps."""

    entry: Entry
    number: int
    maps: list[tuple[str, StoredMap]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def cards_of(groups: Sequence[Sequence[Entry]], ends: Ends, first: int = 1) -> Iterator[Card]:
    """Make a card for each photo.

    Args:
        groups: the attributions of each photo.
        ends: where colours end, as `ends_of` finds it.
        first: number of the first card on the page.
    """
    number = first
    for group in groups:
        for sample in _samples(group):
            yield _card(sample, ends, f"photo-{number}")
            number += 1


def ends_of(groups: Sequence[Sequence[Entry]], same_scale: bool | None = None) -> Ends:
    """Find where colours end on all cards: see `Ends`."""
    ends = Ends(same_scale)
    for group in groups:
        for sample in _samples(group):
            for label, one in sample.maps:
                ends.count(label, one, signed=_signed(label, one))
    return ends


def _samples(group: Sequence[Entry]) -> Iterator[_Sample]:
    """List the samples of a group of attributions: usually one, with a map of each method."""
    samples: dict[int, _Sample] = {0: _Sample(group[0], 0)}
    for entry in group:
        label = str(entry.row.get("method", ""))
        try:
            attribution = entry.load()
            if attribution.map.ndim != 3 and not _is_reading(entry):
                raise InputError(f"{attribution.unit} of {attribution.method} are not a map over a photo")
            _finite(attribution)
        except BitlensError as error:
            samples[0].problems.append(f"{label or entry.stem}: {error}")
            continue
        for number in range(len(attribution)):
            sample = samples.setdefault(number, _Sample(entry, number))
            sample.maps.append((label or attribution.method, attribution[number]))
    yield from samples.values()


def _finite(attribution: StoredMap) -> None:
    if not np.isfinite(attribution.map).all() or not attribution.map.size:
        raise InputError(f"the map of {attribution.method} is empty, or holds values that are NaN or infinite")


def _card(sample: _Sample, ends: Ends, anchor: str) -> Card:
    problems = list(sample.problems)
    if sample.maps and _is_reading(sample.entry):
        return _reading_card(sample, ends, anchor)
    photo = _seen(sample.entry, problems) if sample.maps else None
    figures: list[MapFigure] = []
    for label, one in sample.maps:
        try:
            figures.append(_figure(photo, label, one, ends, f"{anchor}-{len(figures)}", len(sample.maps) > 1))
        except BitlensError as error:
            problems.append(f"{label}: {error}")
    shape = photo.shape[1:] if photo is not None else sample.maps[0][1].map.shape[1:] if sample.maps else _GREY_SIZE
    name = _name(sample)
    picture, size = draw_photo_uri(photo) if photo is not None else "", (int(shape[1]), int(shape[0]))
    return Card(anchor, name, _answer(sample), picture, size, tuple(figures), tuple(problems))


def _answer(sample: _Sample) -> Answer:
    """Read what was asked and answered off the summary; of a map without one, what was asked off the map."""
    row = sample.entry.row
    asked = str(row.get("name") or (named(sample.maps[0][1].targets[0]) if sample.maps else "nothing to show"))
    predicted, label = (str(row.get(name) or "") for name in ("predicted", "label"))
    numbers = (_number(row.get(name)) for name in ("probability_before", "predicted_probability"))
    return Answer(asked, next(numbers), predicted, next(numbers), label)


def _figure(photo: Floats | None, label: str, one: StoredMap, ends: Ends, anchor: str, several: bool) -> MapFigure:
    scale = ends.scale(label, one, signed=_signed(label, one))
    drawn = draw_figure(
        photo,
        one.map[0],
        scale,
        method=label,
        details=figure_details(one, label),
        total=totals(one),
        proof=Proof.of(one),
    )
    drawn = _told(drawn, one, scale, ends)
    return _with_curve(drawn, photo, one, anchor, label if several else "")


def _with_curve(drawn: MapFigure, photo: Floats | None, one: StoredMap, anchor: str, title: str) -> MapFigure:
    """Add the curve of the decision, where it was asked for."""
    curve = trade_off(one, title=title)
    return drawn if curve is None else replace(drawn, curve=trade_off_html(curve, photo, anchor))


def _told(drawn: MapFigure, one: StoredMap, scale: Scale, ends: Ends) -> MapFigure:
    """Add what is said of every map: whether seeds agree, whether next to nothing is used, whether its scale is its own."""
    facts = filter(None, (agreement(one), little(one.map[0], scale)))
    return replace(drawn, facts=(*drawn.facts, *facts), own=ends.own(one.unit))


def figure_details(one: StoredMap, label: str) -> str:
    """Say where a map was made, what decided how much passes unless its label does, what goes round unless evidence says."""
    aim = aim_of(one.settings, one.keeps_class)
    told = one.evidence is not None and one.evidence.bypass_allowed
    parts = [
        one.layer,
        aim if f"{aim.partition(' ')[0].replace('β', 'beta')}=" not in label else "",
        "more goes round this layer" if one.settings.get("allow_bypass") and not told else "",
    ]
    return " · ".join(part for part in parts if part)


def _is_reading(entry: Entry) -> bool:
    """Say whether an input is a signal, a volume or a row of a table: its numbers are kept in place of a photo."""
    return str(entry.row.get("seen", "")).endswith(VALUES)


def _reading_card(sample: _Sample, ends: Ends, anchor: str) -> Card:
    """Make a card of a signal, a volume or a row of a table, whose pictures wait for torch."""
    from bitlens.core.seen import Seen
    from bitlens.explaining.shown import read_shown
    from bitlens.reports.readings import reading_figure

    problems, figures = list(sample.problems), list[MapFigure]()
    try:
        shown = read_shown(sample.entry.folder / safe_name(sample.entry.row.get("seen")))
        for label, one in sample.maps:
            scale = ends.scale(label, one, signed=_signed(label, one))
            assert isinstance(shown, Seen)
            drawn = reading_figure(shown, one, scale, method=label, details=figure_details(one, label))
            title = label if len(sample.maps) > 1 else ""
            drawn = _with_curve(_told(drawn, one, scale, ends), None, one, f"{anchor}-{len(figures)}", title)
            figures.append(drawn)
    except BitlensError as error:
        problems.append(str(error))
    return Card(anchor, _name(sample), _answer(sample), "", _GREY_SIZE, tuple(figures), tuple(problems))


def _name(sample: _Sample) -> str:
    return Path(sample.entry.sample).name + (f", sample {sample.number + 1}" if sample.number else "")


def _seen(entry: Entry, problems: list[str]) -> Floats | None:
    """Read the photo as the network saw it, (3, H, W) in [0, 1]."""
    seen = entry.row.get("seen")
    if seen is None:
        problems.append("the photo as the network saw it is not in the folder: the maps are drawn over grey")
        return None
    try:
        pixels: Floats = np.asarray(read_image(entry.folder / safe_name(seen))).astype(np.float32) / np.float32(255)
    except BitlensError as error:
        problems.append(f"{error}: the maps are drawn over grey")
        return None
    return pixels.transpose(2, 0, 1)


def _signed(label: str, one: StoredMap) -> bool:
    """Say whether the sign of a map means something."""
    entry = METHODS["image"].get(re.split(r"[\[:]", label)[0])
    return one.signed or (entry is not None and entry.signed and one.unit == "score")


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
