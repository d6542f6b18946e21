"""A row of a table with what a network uses of it: a bar for each feature, the longest first."""

import numpy as np
from matplotlib.axes import Axes

from bitlens.core.seen import Seen
from bitlens.view.arrays import Floats
from bitlens.view.colours import Scale, overlay
from bitlens.view.signals import GROUND, LIGHTEST

MOST = 20
"""So many features are drawn; what the others have together is told."""


def shown_of(seen: Seen, values: Floats) -> tuple[list[int], str]:
    """Return the features that are drawn, those with the largest values first, and what is said of the others."""
    order = np.argsort(-np.abs(values), kind="stable")
    left = order[MOST:]
    rest = f"{len(left)} other features, {float(np.abs(values[left]).sum()):.2g} together" if left.size else ""
    assert seen.values is not None
    return [int(number) for number in order[:MOST]], rest


def draw_features(axes: Axes, seen: Seen, values: Floats, scale: Scale, outline: Floats | None = None) -> None:
    """Draw a bar for each feature with its name and its value; those in `outline` (D,) are marked."""
    assert seen.values is not None
    chosen, _ = shown_of(seen, values)
    rows = np.arange(len(chosen))
    heights = values[chosen]
    colours = overlay(np.full((1, len(chosen)), LIGHTEST, np.float32), heights[None], scale)[0]
    axes.barh(rows, heights, height=0.72, color=list(colours), edgecolor="none")
    longest = 1.05 * max(scale.top, float(np.abs(heights).max()))
    axes.set(xlim=(-longest if scale.signed else 0.0, longest), ylim=(len(chosen) - 0.4, -0.6), facecolor=GROUND)
    names = seen.names or tuple(f"feature {number}" for number in range(len(values)))
    marks = ["● " if outline is not None and outline[number] else "" for number in chosen]
    labels = [f"{mark}{names[n]} = {_short(float(seen.values[n]))}" for mark, n in zip(marks, chosen, strict=True)]
    axes.set_yticks(rows, labels)


def _short(value: float) -> str:
    return (f"{value:,.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.4g}").replace("-", "−")
