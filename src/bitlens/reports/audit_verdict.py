"""What became of verifying an audit: how much came out the same, and what did not."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Verdict:
    """Outcome of verifying an audit.

    Attributes:
        maps: how many it holds.
        verified_maps: how many came out the same.
        rows: of an evaluation, how many it holds.
        verified_rows: how many came out the same.
        largest: how far the farthest number was off, as a share of what is tolerated.
        problems: what differs.
        notes: what is different here, and need not matter.
    """

    maps: int = 0
    verified_maps: int = 0
    rows: int = 0
    verified_rows: int = 0
    largest: float = 0.0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Say whether everything came out the same."""
        return not self.problems and (self.maps, self.rows) == (self.verified_maps, self.verified_rows)

    def compare(self, what: str, recorded: float, found: float, tolerance: float) -> bool:
        """Compare two numbers; a share of them is tolerated where they exceed 1."""
        off = abs(recorded - found) / (tolerance * max(1.0, abs(recorded)))
        self.largest = max(self.largest, off)
        if not off <= 1:
            self.problems.append(f"{what}: was {recorded:.6g}, is {found:.6g}")
        return off <= 1

    def compare_maps(self, what: str, recorded: Any, found: Any, tolerance: float) -> bool:
        """Compare two maps; a share of the largest value is tolerated."""
        first, second = np.asarray(recorded, np.float64), np.asarray(found, np.float64)
        if first.shape != second.shape:
            self.problems.append(f"{what}: the map was {first.shape}, is {second.shape}")
            return False
        largest = float(np.abs(first).max())
        far = float(np.abs(first - second).max())
        off = far / (tolerance * largest) if largest else (0.0 if far == 0 else np.inf)
        self.largest = max(self.largest, off)
        if not off <= 1:
            self.problems.append(
                f"{what}: the map differs by up to {far / largest if largest else far:.2%} of its largest value"
            )
        return off <= 1
