"""Table of docs/results/guarantee.md, from what `bitlens calibrate` wrote: how many held-out photos a guarantee covers.

    python tools/covered.py MobileNet-EdgeTPU.safetensors SqueezeNet.safetensors

A file holds what each photo needs. Splits into halves are drawn by chance: one half calibrates, and of the other it is counted
which photos need no more than that guarantees. Errors are the standard deviation of one split, which is what a person has.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bitlens.core.conformal import quantile, rank
from bitlens.core.guarantee import LEVELS, Guarantee

_SPLITS = 2000


def coverage_table(files: Sequence[Path]) -> str:
    """Return a line for each network and level: the coverage of held-out photos, what was to be expected, and the bits."""
    titles = ("network, layer (photos)", "level", "coverage", "expected", "bits")
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for file in files:
        known = Guarantee.load(file)
        label = f"{file.stem}, `{known.provenance.layer}` ({len(known)})"
        for number, level in enumerate(LEVELS):
            cells = (label if number == 0 else "", f"{level:.0%}", *_cells(known.bits, level))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(needed: Tensor, level: float) -> tuple[str, str, str]:
    count = len(needed) // 2
    place = rank(count, level)
    if place > count:
        return f"half of them, {count}, are too few", "", ""
    found = np.array(list(_splits(needed, level, count)))
    (bits, coverage), (spread, error) = found.mean(0), found.std(0)
    return f"{coverage:.3f} ± {error:.3f}", f"{place / (count + 1):.3f}", f"{bits:,.0f} ± {spread:,.0f}"


def _splits(needed: Tensor, level: float, count: int) -> Iterator[tuple[float, float]]:
    """Give, for random splits, the bits that `count` inputs guarantee, and the share of the others that need no more."""
    draw = np.random.default_rng(0)
    for _ in range(_SPLITS):
        order = torch.from_numpy(draw.permutation(len(needed)))
        enough = quantile(needed[order[:count]], level)
        yield enough, float((needed[order[count:]] <= enough).double().mean())


if __name__ == "__main__":
    print(coverage_table([Path(name) for name in sys.argv[1:]]))
