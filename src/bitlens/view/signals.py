"""A signal with what a network uses of it: each lead in the colours of the map, and the map itself below.

Where almost nothing is used a lead is dim grey on a dark ground, as photos are.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection

from bitlens.core.seen import Seen
from bitlens.view.arrays import Floats
from bitlens.view.canvas import FONT
from bitlens.view.colours import Scale, overlay

GROUND, LIGHTEST, LABEL = "#161616", 0.45, "#555555"
"""The ground of a signal, the grey of what is not used, and the colour of letters beside it."""
_MOST = 1500
"""So many points of a lead are drawn: of longer ones the lowest and the highest of each piece."""
_BETWEEN = 2.4
"""How far leads lie apart, in their own 99th percentiles."""
_HALO = "#4fc3f7"


def draw_leads(axes: Axes, seen: Seen, values: Floats | None, scale: Scale, outline: Floats | None = None) -> None:
    """Draw all leads one below the other.

    Args:
        axes: where.
        seen: the signal (C, T), names of its leads, and samples per second.
        values: (T,) of the map; without, the leads are grey.
        scale: what its colours mean.
        outline: (T,), non-zero where the answer is known to lie: marked above the leads.
    """
    assert seen.values is not None
    signal = seen.values.numpy().astype(np.float32)
    times = times_of(seen)
    reach = float(np.percentile(np.abs(signal - np.median(signal, axis=1, keepdims=True)), 99.5)) or 1.0
    for number in range(len(signal)):
        lead: Floats = signal[number]
        level = -number * _BETWEEN * reach - float(np.median(lead))
        x, y, v = _thinned(times, lead, values if values is not None else np.zeros_like(lead))
        points = np.stack([x, y + level], axis=1)
        colours = overlay(np.full((1, len(v)), LIGHTEST, np.float32), v[None], scale)[0]
        pieces = np.stack([points[:-1], points[1:]], axis=1)
        strength = np.clip(np.abs(v[1:]) / scale.top, 0, 1)
        widths = 0.7 + 0.9 * np.sqrt(strength)
        axes.add_collection(
            LineCollection(list(pieces), colors=list(colours[1:]), linewidths=list(widths), capstyle="round")
        )
    below = -(len(signal) - 1) * _BETWEEN * reach
    axes.set(xlim=(times[0], times[-1]), ylim=(below - 1.25 * reach, 1.25 * reach), facecolor=GROUND)
    names = seen.names or tuple(f"{number + 1}" for number in range(len(signal)))
    shown = range(0, len(signal), max(1, len(signal) // 12))
    axes.set_yticks([-number * _BETWEEN * reach for number in shown], [names[number] for number in shown])
    if outline is not None:
        _mark(axes, times, outline)


def draw_strip(axes: Axes, seen: Seen, values: Floats, scale: Scale) -> None:
    """Draw a map (T,) as a filled curve in its own colours, over the time of the signal."""
    times = times_of(seen)
    x, v, _ = _thinned(times, values, values)
    corners = np.stack([x[:-1], x[1:], x[1:], x[:-1]], axis=1)
    heights = np.stack([np.zeros_like(v[1:]), np.zeros_like(v[1:]), v[1:], v[:-1]], axis=1)
    colours = overlay(np.full((1, len(v)), LIGHTEST, np.float32), v[None], scale)[0, 1:]
    axes.add_collection(
        PolyCollection(list(np.stack([corners, heights], axis=2)), facecolors=list(colours), edgecolors="none")
    )
    axes.plot(x, v, color="#d9d9d9", linewidth=0.5)
    low = -1.05 * scale.top if scale.signed else 0.0
    axes.set(xlim=(times[0], times[-1]), ylim=(low, 1.05 * scale.top), facecolor=GROUND)


def draw_spectrogram(axes: Axes, seen: Seen, values: Floats, scale: Scale) -> None:
    """Draw the power of all leads together over time and frequency, dim, with the map over it."""
    from scipy.signal import spectrogram

    assert seen.values is not None
    assert seen.rate is not None
    signal = seen.values.numpy()
    window = max(16, min(256, signal.shape[1] // 16))
    frequencies, middles, power = spectrogram(signal, seen.rate, nperseg=window, noverlap=window * 7 // 8, axis=1)
    level = np.log10(power.sum(0) + 1e-12)
    low, high = np.percentile(level, (30, 99.5))
    grey = (0.06 + 0.36 * np.clip((level - low) / max(high - low, 1e-9), 0, 1)).astype(np.float32)
    along = np.interp(middles, times_of(seen), values).astype(np.float32)
    strength = (grey - 0.06) / 0.36
    picture = overlay(grey, np.broadcast_to(along, grey.shape) * strength, scale)
    times = times_of(seen)
    half = (middles[1] - middles[0]) / 2 if len(middles) > 1 else times[-1] / 2
    extent = (middles[0] - half, middles[-1] + half, 0.0, float(frequencies[-1]))
    axes.imshow(picture, origin="lower", aspect="auto", extent=extent, interpolation="nearest")
    axes.set(xlim=(times[0], times[-1]), ylim=(0, frequencies[-1]), facecolor=GROUND)


def times_of(seen: Seen) -> Floats:
    """Return when each sample is: in seconds where the rate is known, else its number."""
    assert seen.values is not None
    times: Floats = (np.arange(seen.values.shape[-1]) / (seen.rate or 1.0)).astype(np.float32)
    return times


def style(axes: Axes, *, below: str = "", beside: str = "", size: float = 7.5, colour: str = LABEL) -> None:
    """Give axes the letters and frames of all pictures; `below` and `beside` name what they count."""
    axes.tick_params(
        labelsize=size, labelfontfamily=FONT, labelcolor=colour, color="#bbbbbb", length=2.5, width=0.6, pad=2
    )
    if not below:
        axes.set_xticklabels([])
    axes.set_xlabel(below, fontfamily=FONT, fontsize=size, color=colour, labelpad=2, parse_math=False)
    axes.set_ylabel(beside, fontfamily=FONT, fontsize=size, color=colour, labelpad=3, parse_math=False)
    for spine in axes.spines.values():
        spine.set(edgecolor="#bbbbbb", linewidth=0.6, visible=True)
    axes.grid(False)


def _mark(axes: Axes, times: Floats, outline: Floats) -> None:
    """Mark where the answer is known to lie by bars along the upper edge."""
    inside = np.concatenate([[0], (outline != 0).astype(int), [0]])
    starts, ends = np.flatnonzero(np.diff(inside) == 1), np.flatnonzero(np.diff(inside) == -1) - 1
    top = axes.get_ylim()[1]
    for start, end in zip(starts, ends, strict=True):
        axes.plot([times[start], times[end]], [top, top], color=_HALO, linewidth=5, solid_capstyle="butt")


def _thinned(times: Floats, lead: Floats, values: Floats) -> tuple[Floats, Floats, Floats]:
    """Return fewer points of a long lead, lowest and highest of each piece, with its largest value."""
    step = -(-len(lead) // _MOST)
    if step < 2:
        return times, lead, values
    count = len(lead) // (2 * step) * 2
    cut = count * step
    pieces, strength = lead[:cut].reshape(-1, 2 * step), np.abs(values[:cut]).reshape(-1, 2 * step)
    ends = np.sort(np.stack([pieces.argmin(1), pieces.argmax(1)], 1), 1)
    rows = np.arange(len(pieces))[:, None]
    chosen = (rows * 2 * step + ends).ravel()
    largest = (rows[:, 0] * 2 * step + strength.argmax(1)).repeat(2)
    return times[chosen], lead[chosen], values[largest]
