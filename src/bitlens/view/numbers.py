"""The numbers along axes and colour bars: where they stand, and how they are written."""

import re
from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

_STEPS = (1, 2, 2.5, 5, 10)


def ticks(low: float, high: float, most: int) -> tuple[list[float], list[str]]:
    """Choose round numbers from `low` to `high`, about `most` at most, and write them."""
    places = MaxNLocator(most, steps=_STEPS).tick_values(low, high)
    slack = 1e-6 * max(abs(low), abs(high))
    shown = [float(place) for place in places if low - slack <= place <= high + slack]
    return shown, written(shown)


def written(places: Sequence[float]) -> list[str]:
    """Write numbers with the fewest decimals that tell them apart and exactly."""
    largest = max((abs(place) for place in places), default=0.0)
    if 1e-3 <= largest < 1e5:
        decimals = next(n for n in range(6) if n == 5 or all(abs(round(p, n) - p) < 1e-5 * largest for p in places))
        texts = [f"{place:.{decimals}f}" for place in places]
    else:
        texts = [re.sub(r"e([+-])0*", lambda sign: "e-" if sign[1] == "-" else "e", f"{p:.3g}") for p in places]
    return ["0" if abs(p) < 1e-9 * largest else t.replace("-", "−") for p, t in zip(places, texts, strict=True)]
