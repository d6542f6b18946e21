"""Signals, volumes and rows of tables as figures of a report: drawn for light and dark pages alike, a volume with a slider."""

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from bitlens.core.seen import Seen
from bitlens.core.stored_map import StoredMap
from bitlens.view.arrays import Floats
from bitlens.view.card import MapFigure, Proof, SlicePile, ends_of, totals
from bitlens.view.colours import Scale
from bitlens.view.comparison import Panel
from bitlens.view.encoding import bar_uri, picture_uri
from bitlens.view.readings import Reading, draw_readings, map_of
from bitlens.view.themed import themed_uri
from bitlens.view.volumes import centre_of, grey_of, picture_of

_MOST_SLICES, _SIDE = 64, 320  # of a pile, and pixels of the longer side of one


def reading_figure(seen: Seen, one: StoredMap, scale: Scale, *, method: str, details: str) -> MapFigure:
    """Draw a map of a signal, a volume or a row, and say in words what is seen.

    Raises:
        InputError: the map is not finite, or of another size than the input.
    """
    values = map_of(seen, one.map[0])
    page = draw_readings([Reading(seen, [Panel(values, scale, "")], "")])
    width, height = (round(100 * side) for side in page.get_size_inches())
    total = (totals(one),) if one.total_bits is not None else ()
    half = _half_of(values)
    facts = (*total, f"half of {'them' if total else 'it'} on {half:.1%} of the places") if half else total
    return MapFigure(
        method,
        details,
        themed_uri(page),
        bar_uri(scale),
        ends_of(scale),
        scale.unit,
        scale.note,
        f"Map of {method} in {scale.unit}: {'; '.join(facts) or '0 everywhere'}",
        facts,
        Proof.of(one),
        size=(width, height),
        start=_start(page, seen, values),
        slices=_pile(seen, values, scale) if values.ndim == 3 else None,
        signed=scale.signed,
    )


def _start(page: Figure, seen: Seen, values: Floats) -> float:
    """Return where along its picture the most of a signal is used; 0 of what is no signal."""
    if seen.values is None or seen.values.ndim != 2:
        return 0.0
    box = page.axes[0].get_position()
    return float(box.x0 + box.width * (np.abs(values).argmax() + 0.5) / len(values))


def _half_of(values: Floats) -> float:
    """Return the smallest share of the places that holds half of the magnitudes; 0 for a map of zeros."""
    order = np.sort(np.abs(values, dtype=np.float64), axis=None)[::-1]
    if not order[0]:
        return 0.0
    return float(np.searchsorted(np.cumsum(order), order.sum() / 2) + 1) / order.size


def _pile(seen: Seen, values: Floats, scale: Scale) -> SlicePile:
    """Lay the slices along D one below the other in one picture, at most `_MOST_SLICES` of them."""
    grey, depth = grey_of(seen), len(values)
    numbers = np.unique(np.linspace(0, depth - 1, min(depth, _MOST_SLICES)).round().astype(int))
    height, width = values.shape[1:]
    zoom = _SIDE / max(height, width)
    size = (round(width * zoom), round(height * zoom))
    pile = Image.new("RGB", (size[0], size[1] * len(numbers)))
    for row, number in enumerate(numbers):
        pixels = np.rint(255 * np.clip(picture_of(grey, values, scale, 0, int(number)), 0, 1)).astype(np.uint8)
        pile.paste(Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST), (0, row * size[1]))
    first = int(np.abs(numbers - centre_of(values)[0]).argmin())
    longest = max(pile.size)
    return SlicePile(picture_uri(pile, longest), size, tuple(int(number) for number in numbers), first)
