"""A table of photos with masks for a segmentation network.

    python benchmarks/regions.py coco_voc/coco_voc.csv photos.csv
    bitlens evaluate --data csv:photos.csv --model zoo.py:deeplab_pascal_257 --methods … --metrics … --out FOLDER

The column mask is added to a table with file and label: pictures in `masks/` that are called as the photos are.
"""

import argparse
import csv
from pathlib import Path


def write_photos(source: Path, table: Path) -> None:
    """Write a table with the columns file, label and mask, of one with file and label."""
    folder = source.resolve().parent
    with source.open(encoding="utf-8", newline="") as known, table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "mask"])
        for row in csv.DictReader(known):
            photo = folder / row["file"]
            writer.writerow([photo, row["label"], folder / "masks" / f"{photo.stem}.png"])


def main() -> None:
    """Read the command and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("table", type=Path)
    chosen = parser.parse_args()
    write_photos(chosen.source, chosen.table)


if __name__ == "__main__":
    main()
