"""How methods explain a segmentation network: a table of photos with masks, and what `bitlens evaluate` measured on them.

    python benchmarks/regions.py photos coco_voc/coco_voc.csv photos.csv
    bitlens evaluate --data csv:photos.csv --model zoo.py:deeplab_pascal_257 --methods … --metrics … --out FOLDER
    python benchmarks/regions.py table FOLDER [--half odd]

`photos` adds the column mask to a table with file and label, of pictures in `masks/` that are called as the photos are. `table`
tells the results with paired differences to the method named first (of iba by default), on all photos or on every other one, so
that what is chosen on one half can be reported on the other.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bitlens.evaluation.paired import compare, mean_of
from bitlens.evaluation.store import RowStore, Series

HALVES = {"all": (0, 1), "even": (0,), "odd": (1,)}


def write_photos(source: Path, table: Path) -> None:
    """Write a table with the columns file, label and mask, of one with file and label."""
    folder = source.resolve().parent
    with source.open(encoding="utf-8", newline="") as known, table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "mask"])
        for row in csv.DictReader(known):
            photo = folder / row["file"]
            writer.writerow([photo, row["label"], folder / "masks" / f"{photo.stem}.png"])


def half_of(series: Series, half: str) -> Series:
    """Return the samples at even or odd positions of the data set."""
    chosen = [place for place, index in enumerate(series.index) if index % 2 in HALVES[half]]
    parts = {name: getattr(series, name)[chosen] for name in ("index", "value", "scale", "probability", "correct")}
    return replace(series, **parts)


def lines(folder: Path, half: str, first: str) -> Iterator[str]:
    """Write a row of a table for each method, the best in the first metric first."""
    found = {pair: half_of(series, half) for pair, series in RowStore(folder / "rows").series().items()}
    metrics = list(dict.fromkeys(metric for _, metric in found))
    yield "| method | photos | " + " | ".join(f"{metric} | {first} minus it" for metric in metrics) + " |"
    yield "|---" * (2 + 2 * len(metrics)) + "|"
    methods = dict.fromkeys(method for method, _ in found)
    for method in sorted(methods, key=lambda name: -mean_of(found[name, metrics[0]]).mean):
        cells = []
        for metric in metrics:
            mean = mean_of(found[method, metric])
            cells.append(f"{mean.mean:.3f} ± {mean.standard_error:.3f}")
            apart = compare(found[first, metric], found[method, metric])
            cells.append("" if method == first else f"{apart.difference:+.3f} ± {apart.standard_error:.3f}")
        yield f"| `{method}` | {mean_of(found[method, metrics[0]]).count} | " + " | ".join(cells) + " |"


def main() -> None:
    """Read the command and do what it says."""
    parser = argparse.ArgumentParser(description="Write a table of photos with masks, or tell what was measured on it.")
    commands = parser.add_subparsers(dest="command", required=True)
    photos = commands.add_parser("photos")
    photos.add_argument("source", type=Path)
    photos.add_argument("table", type=Path)
    table = commands.add_parser("table")
    table.add_argument("folder", type=Path)
    table.add_argument("--half", choices=HALVES, default="all")
    table.add_argument("--first", default="iba")
    chosen = parser.parse_args()
    if chosen.command == "photos":
        write_photos(chosen.source, chosen.table)
    else:
        print("\n".join(lines(chosen.folder, chosen.half, chosen.first)))


if __name__ == "__main__":
    main()
