"""From attributions to the cards of a report: which colours mean what, and what is said of each map."""

import re
from collections.abc import Iterator, Mapping, Sequence
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
from bitlens.view.card import Card, MapFigure, Proof, agreement, draw_figure, draw_photo_uri
from bitlens.view.colours import Scale
from bitlens.view.tradeoff import trade_off
from bitlens.view.tradeoff_page import trade_off_html

_PERCENTILE = 99.5  # gradients have a few pixels that are far above all others
_GREY_SIZE = (1, 1)


@dataclass
class _Sample:
    """One photo with its maps."""

    entry: Entry
    number: int
    maps: list[tuple[str, StoredMap]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def cards_of(groups: Sequence[Sequence[Entry]], tops: Mapping[str, float], first: int = 1) -> Iterator[Card]:
    """Make a card for each photo.

    Args:
        groups: the attributions of each photo.
        tops: where colours end, as `tops_of` gives it; empty for scales of each photo's own.
        first: number of the first card on the page.
    """
    number = first
    for group in groups:
        for sample in _samples(group):
            yield _card(sample, tops, f"photo-{number}")
            number += 1


def tops_of(groups: Sequence[Sequence[Entry]]) -> dict[str, float]:
    """Find where the colours end if they mean the same on all cards: by unit for maps in bits, by method for scores."""
    tops: dict[str, float] = {}
    for group in groups:
        for sample in _samples(group):
            for label, one in sample.maps:
                if bool(one.map.any()):
                    top = _own_scale(label, one).top
                    tops[_key(label, one)] = max(tops.get(_key(label, one), 0.0), top)
    return tops


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


def _card(sample: _Sample, tops: Mapping[str, float], anchor: str) -> Card:
    problems = list(sample.problems)
    if sample.maps and _is_reading(sample.entry):
        return _reading_card(sample, tops, anchor)
    photo = _seen(sample.entry, problems) if sample.maps else None
    scales = _scales(sample.maps, tops)
    figures: list[MapFigure] = []
    for (label, one), scale in zip(sample.maps, scales, strict=True):
        try:
            figures.append(_figure(photo, label, one, scale, f"{anchor}-{len(figures)}", len(sample.maps) > 1))
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


def _figure(photo: Floats | None, label: str, one: StoredMap, scale: Scale, anchor: str, several: bool) -> MapFigure:
    drawn = draw_figure(
        photo,
        one.map[0],
        scale,
        method=label,
        details=figure_details(one, label),
        total_bits=float(one.total_bits[0]) if one.total_bits is not None else None,
        proof=Proof.of(one),
    )
    if one.spread is not None:
        drawn = replace(drawn, facts=(*drawn.facts, agreement(one)))
    curve = trade_off(one, title=label if several else "")
    return drawn if curve is None else replace(drawn, curve=trade_off_html(curve, photo, anchor))


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


def _reading_card(sample: _Sample, tops: Mapping[str, float], anchor: str) -> Card:
    """Make a card of a signal, a volume or a row of a table, whose pictures wait for torch."""
    from bitlens.core.seen import Seen
    from bitlens.explaining.shown import read_shown
    from bitlens.reports.readings import reading_figure

    problems, figures = list(sample.problems), []
    try:
        shown = read_shown(sample.entry.folder / safe_name(sample.entry.row.get("seen")))
        for (label, one), scale in zip(sample.maps, _scales(sample.maps, tops), strict=True):
            assert isinstance(shown, Seen)
            figures.append(reading_figure(shown, one, scale, method=label, details=figure_details(one, label)))
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


def _scales(maps: Sequence[tuple[str, StoredMap]], tops: Mapping[str, float]) -> list[Scale]:
    """Make one scale for all maps in bits, and for scores, which have no unit, one for each method."""
    own = [_own_scale(label, one) for label, one in maps]
    shared = {unit: max(s.top for s in own if s.unit == unit) for unit in {s.unit for s in own if s.unit != "score"}}
    return [
        Scale.over(
            [one.map],
            one.unit,
            vmax=tops.get(_key(label, one), shared.get(one.unit)),
            percentile=_PERCENTILE if one.unit == "score" and _key(label, one) not in tops else None,
            signed=scale.signed,
        )
        for (label, one), scale in zip(maps, own, strict=True)
    ]


def _own_scale(label: str, one: StoredMap) -> Scale:
    entry = METHODS["image"].get(re.split(r"[\[:]", label)[0])
    percentile = _PERCENTILE if one.unit == "score" else None
    return Scale.over(
        [one.map],
        one.unit,
        percentile=percentile,
        signed=entry is not None and entry.signed and one.unit == "score",
    )


def _key(label: str, one: StoredMap) -> str:
    return label if one.unit == "score" else one.unit


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
