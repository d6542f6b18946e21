"""Tables of docs/results/regions.md, from the rows that `bitlens evaluate` measured of a segmentation network.

    python tools/regions.py FOLDER [--half odd] [--first METHOD]

Differences are paired by photo, to the method named first; on all photos or on every other one, so that what is chosen on one
half is reported on the other.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bitlens.evaluation.paired import compare, mean_of
from bitlens.evaluation.store import RowStore, Series

HALVES = {"all": (0, 1), "even": (0,), "odd": (1,)}
FIRST = "iba[layer=layer4,smoothing=0]"
_NAMES = {"degradation-14[points=8]": "degradation", "mass-inside": "mass inside", "rank-auc": "rank AUC"}


def half_of(series: Series, half: str) -> Series:
    """Return the samples at even or odd positions of the data set."""
    chosen = [place for place, index in enumerate(series.index) if index % 2 in HALVES[half]]
    parts = {name: getattr(series, name)[chosen] for name in ("index", "value", "scale", "probability", "correct")}
    return replace(series, **parts)


def regions_table(folder: Path, half: str, first: str = FIRST) -> str:
    """Return a line for each method, the best in the first metric first."""
    found = {pair: half_of(series, half) for pair, series in RowStore(folder / "rows").series().items()}
    metrics = list(dict.fromkeys(metric for _, metric in found))
    methods = dict.fromkeys(method for method, _ in found)
    ordered = sorted(methods, key=lambda name: -mean_of(found[name, metrics[0]]).mean)
    head = "| method | photos | " + " | ".join(f"{_NAMES[metric]} | difference" for metric in metrics) + " |"
    lines = [head, "|---" * (2 + 2 * len(metrics)) + "|"]
    for method in ordered:
        cells = [cell for metric in metrics for cell in _cells(found[method, metric], found[first, metric])]
        lines.append(f"| `{method}` | {mean_of(found[method, metrics[0]]).count} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cells(one: Series, first: Series) -> Iterator[str]:
    """Give the mean of a method, and how much above it the first one is."""
    mean = mean_of(one)
    yield f"{mean.mean:.3f} ± {mean.standard_error:.3f}"
    apart = compare(first, one)
    told = f"{apart.difference:+.3f} ± {apart.standard_error:.3f}".replace("-", "−")
    yield "" if one is first else told


def main() -> None:
    """Read the command and print the table."""
    parser = argparse.ArgumentParser(description="Tell what was measured on a segmentation network.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--half", choices=HALVES, default="all")
    parser.add_argument("--first", default=FIRST)
    chosen = parser.parse_args()
    print(regions_table(chosen.folder, chosen.half, chosen.first))


if __name__ == "__main__":
    main()
