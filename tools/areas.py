"""Table of docs/results/guarantee.md, from the rows that `benchmarks/guarantee.py areas` measured.

    python tools/areas.py areas-edgetpu.jsonl areas-squeezenet.jsonl

A row says of a photo and a method which area keeps the class, with another colour in place of the rest. The area for 90 % is the
one that a new photo needs at most, with that probability, told from all photos; errors are the standard deviation over photos
drawn anew (bootstrap), paired for differences.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bitlens.core.conformal import quantile

REFERENCE, LEVEL = "iba", 0.9
_DRAWS = 500


class Areas:
    """What share of pixels each photo needs, by method, of the photos that all methods were measured on.

    Attributes:
        name: of the network.
        needed: shares (photos,), by the name of the method.
    """

    def __init__(self, path: Path, instead: str = "mean") -> None:
        found: dict[str, dict[str, float]] = defaultdict(dict)
        for line in path.read_text("utf-8").splitlines():
            row = json.loads(line)
            found[row["method"]][row["photo"]] = row[instead]
        self.name = path.stem
        photos = sorted(set.intersection(*(set(one) for one in found.values())))
        self.needed = {
            name: torch.tensor([one[photo] for photo in photos], dtype=torch.float64) for name, one in found.items()
        }

    def __len__(self) -> int:
        return len(self.needed[REFERENCE])


def at_level(needed: Tensor) -> float:
    """Return the area that a new photo needs at most, with the probability of the level; the whole photo for too few of them."""
    return min(quantile(needed, LEVEL), 1.0)


def areas_table(networks: Sequence[Areas]) -> str:
    """Return a line for each method of each network."""
    titles = ("network (photos)", "method", f"area, {LEVEL:.0%}", "iba less it", "mean need", "iba less it")
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for network in networks:
        reference, draw = network.needed[REFERENCE], np.random.default_rng(0)
        drawn = torch.from_numpy(draw.integers(0, len(network), (_DRAWS, len(network))))
        for number, (name, needed) in enumerate(network.needed.items()):
            shown = [
                "" if name == REFERENCE else _difference(reference, needed, drawn, one) for one in (at_level, _mean)
            ]
            label = f"{network.name} ({len(network)})" if number == 0 else ""
            cells = (label, f"`{name}`", f"{at_level(needed):.3f}", shown[0], f"{_mean(needed):.3f}", shown[1])
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(needed: Tensor) -> float:
    return float(needed.mean())


def _difference(reference: Tensor, needed: Tensor, drawn: Tensor, of: Callable[[Tensor], float]) -> str:
    by_chance = [of(reference[photos]) - of(needed[photos]) for photos in drawn]
    return f"{of(reference) - of(needed):+.3f} ± {np.std(by_chance):.3f}".replace("-", "−")


if __name__ == "__main__":
    print(areas_table([Areas(Path(name)) for name in sys.argv[1:]]))
