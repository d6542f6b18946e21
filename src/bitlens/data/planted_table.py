"""Rows of a table of twenty readings of a pump, of which two alone decide what is wrong with it.

The class is whether the vibration is high and whether the seal leaks, each above or below the usual: four in all. All twenty
readings are drawn alike, apart from their units, and independent of each other.
"""

import numpy as np

from bitlens.data.numbers import Numbers
from bitlens.data.planted import Planted

CLASSES = ("sound", "worn bearing", "leak", "worn bearing and leak")
FEATURES = (
    "speed", "flow", "inlet temperature", "outlet temperature", "vibration", "inlet pressure", "outlet pressure", "current",
    "voltage", "power", "torque", "seal leakage", "oil level", "oil temperature", "noise", "humidity", "room temperature",
    "hours of use", "starts", "filter age",
)  # fmt: skip
DECISIVE = (FEATURES.index("vibration"), FEATURES.index("seal leakage"))
MEAN = np.array([1480, 32, 18, 24, 2.8, 1.2, 6.5, 14, 400, 7.4, 48, 12, 60, 55, 78, 45, 21, 9000, 320, 110], np.float64)
STD = np.array([40, 4, 3, 3, 0.7, 0.2, 0.5, 2, 6, 0.9, 6, 4, 9, 6, 4, 10, 3, 2500, 80, 40], np.float64)
_NEAREST, _SPREAD = 0.4, 0.5


def planted_row(rng: np.random.Generator) -> Planted:
    """Draw one row with its class and its two decisive features; no reading is close to the usual one."""
    count = len(FEATURES)
    away = rng.choice([-1, 1], count) * (_NEAREST + np.abs(rng.normal(0, _SPREAD, count)))
    high = [bool(away[feature] > 0) for feature in DECISIVE]
    mask = np.isin(np.arange(count), DECISIVE)
    return Planted(Numbers((MEAN + STD * away).astype(np.float32), "table", FEATURES), high[0] + 2 * high[1], mask)
