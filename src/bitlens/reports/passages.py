"""From rows of explained texts to passages with shaded words."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from bitlens.core.told import BYPASSED
from bitlens.errors import BitlensError, InputError
from bitlens.view.answer import Answer
from bitlens.view.card import Proof
from bitlens.view.report_html import Passage
from bitlens.view.scales import darkened
from bitlens.view.shaded import ShadedText, pieces_of, word_scale

Tops = Mapping[str, float]
"""Where the shades of words end, by unit."""


def scale_of(rows: Sequence[Mapping[str, Any]], same_scale: bool | None) -> Tops:
    """Find where shades end on all passages: of words in bits, of scores too if `same_scale`, of none if it is False."""
    tops: dict[str, float] = {}
    for row in rows:
        unit = str(row.get("unit")).partition("/")[0]
        if (same_scale or (same_scale is None and unit == "bits")) and not _idle(row):
            with suppress(InputError):  # what is damaged is told where it is shown
                values = [abs(value) for value in _words(row)[2] if math.isfinite(value)]
                tops[unit] = max(tops.get(unit, 0.0), *values)
    return tops


def passages_of(
    rows: Sequence[Mapping[str, Any]], problems: list[str], tops: Tops, first: int = 1
) -> Iterator[Passage]:
    """Yield a passage for each text and method.

    Args:
        rows: as `Explanation.as_dict` gives them, with the text's `name` if it has one.
        problems: what cannot be shown is added to it.
        tops: where shades end, as `scale_of` finds it.
        first: number of the first passage on the page.
    """
    for number, row in enumerate(rows, first):
        name = str(row.get("name") or f"text {number}")
        try:
            yield _passage(row, name, f"text-{number}", tops)
        except BitlensError as error:
            problems.append(f"{name}: {error}")


def _passage(row: Mapping[str, Any], name: str, anchor: str, tops: Tops) -> Passage:
    text, spans, values = _words(row)
    try:
        unit, proof = str(row["unit"]).partition("/")[0], _proof(row)
        total, against = (float(row[name]) if name in row else None for name in ("total_bits", "total_against"))
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(error) from error
    pieces = pieces_of(text, spans, values)
    scale = word_scale([pieces], unit, vmax=tops.get(unit) or None, signed=bool(row.get("signed")))
    if proof is not None and proof.idle and not row.get("signed"):
        scale = darkened(scale, max(values, default=0.0))
    method = " · ".join(str(row[key]) for key in ("method", "layer") if row.get(key))
    return Passage(anchor, name, _answer(row), method, ShadedText(pieces, scale), total, against, proof)


def _words(row: Mapping[str, Any]) -> tuple[str, list[tuple[int, int]], list[float]]:
    """Read a text, and of its words the characters and the values."""
    try:
        spans = [(int(word["span"][0]), int(word["span"][1])) for word in row["words"]]
        return str(row["text"]), spans, [float(word["value"]) for word in row["words"]]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> InputError:
    return InputError(f"its row in summary.json is damaged ({type(error).__name__} {error})")


def _answer(row: Mapping[str, Any]) -> Answer:
    asked, predicted, label = (str(row.get(name) or "") for name in ("target", "prediction", "label_name"))
    confidence = row.get("prediction_probability")
    confidence = float(confidence) if isinstance(confidence, int | float) else None
    return Answer(asked, confidence if predicted == asked else None, predicted, confidence, label)


def _proof(row: Mapping[str, Any]) -> Proof | None:
    """Read what was measured under noise; None of a method that uses none."""
    for measure in ("probability", "score"):
        names = [f"{measure}_{which}" for which in ("before", "under_noise", "under_noise_std")]
        if all(name in row for name in names):
            told = (f"{measure}_floor", "kept", "kept_error", "keep")
            floor, kept, error, asked = (_number(row.get(name)) for name in told)
            caveat = BYPASSED if row.get("bypass_allowed") else ""
            before, under, spread = (float(row[name]) for name in names)
            return Proof(before, under, spread, measure, floor, kept, error, caveat, asked=asked)
    return None


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _idle(row: Mapping[str, Any]) -> bool:
    """Say whether nothing of a text was needed, nor is against the answer."""
    return "kept" in row and row["kept"] is None and not row.get("signed")
