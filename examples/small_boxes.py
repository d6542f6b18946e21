"""Choose the photos whose boxes cover less than a third: the box ratio's rule (Schulz et al., section 4.3).

    python examples/small_boxes.py val.csv small.csv --model FILE.py:CALLABLE

Writes the chosen rows with absolute paths, in an order that a seed fixes, so that any first part is a random sample.
"""

import argparse
import csv
import random
from pathlib import Path

from bitlens.data.boxes import box_mask
from bitlens.data.datasets import open_dataset
from bitlens.models.load import load_model

MOST = 0.33  # of what the network sees


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--model", default="builtin/scenes", help="whose preprocessing counts: what it cuts away does not"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with options.table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    seen = load_model(options.model).preprocess
    chosen = []
    for row, sample in zip(rows, open_dataset(f"csv:{options.table}"), strict=True):
        mask = box_mask(sample.boxes, sample.image.size, seen)
        if mask.mean() <= MOST and bool((mask > 0.5).any()):
            chosen.append(row | {"file": str((options.table.parent / row["file"]).resolve())})
    random.Random(options.seed).shuffle(chosen)
    with options.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(chosen[0]))
        writer.writeheader()
        writer.writerows(chosen)
    print(f"{options.out}: {len(chosen)} of {len(rows)} photos")


if __name__ == "__main__":
    main()
