"""Photos with masks for a segmentation network, and what `bitlens evaluate` measured on them, packed.

    python benchmarks/regions.py photos coco_voc/coco_voc.csv photos.csv
    bitlens evaluate --data csv:photos.csv --model zoo.py:deeplab_pascal_257 --methods … --metrics … --out FOLDER
    python benchmarks/regions.py pack FOLDER benchmarks/results/regions
    make results

`photos` adds the column mask to a table with file and label, of pictures in `masks/` that are called as the photos are. `pack`
writes the rows of a folder into one file, without what tables do not need; of those `tools/regions.py` makes the tables of
docs/results/regions.md.
"""

import argparse
import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

KEPT = ("index", "target", "predicted", "probability", "method", "metric", "value", "scale", "error")


def write_photos(source: Path, table: Path) -> None:
    """Write a table with the columns file, label and mask, of one with file and label."""
    folder = source.resolve().parent
    with source.open(encoding="utf-8", newline="") as known, table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "mask"])
        for row in csv.DictReader(known):
            photo = folder / row["file"]
            writer.writerow([photo, row["label"], folder / "masks" / f"{photo.stem}.png"])


def pack(folder: Path, into: Path) -> None:
    """Write the rows of a folder into one file of another, in their order, without names of files, curves and times."""
    rows = pa.concat_tables([pq.read_table(path) for path in sorted((folder / "rows").glob("*.parquet"))])
    (into / "rows").mkdir(parents=True, exist_ok=True)
    ordered = rows.select(KEPT).sort_by([(name, "ascending") for name in ("method", "metric", "index")])
    pq.write_table(ordered, into / "rows" / "rows.parquet", compression="zstd")


def main() -> None:
    """Read the command and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    photos = commands.add_parser("photos")
    photos.add_argument("source", type=Path)
    photos.add_argument("table", type=Path)
    packed = commands.add_parser("pack")
    packed.add_argument("folder", type=Path)
    packed.add_argument("into", type=Path)
    chosen = parser.parse_args()
    if chosen.command == "photos":
        write_photos(chosen.source, chosen.table)
    else:
        pack(chosen.folder, chosen.into)


if __name__ == "__main__":
    main()
