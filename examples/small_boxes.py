"""Choose the photos whose boxes cover less than a third: the box ratio's rule (Schulz et al., section 4.3).

    python examples/small_boxes.py val.csv small.csv --model FILE.py:CALLABLE
    python examples/small_boxes.py val.csv small.csv --model FILE.py:CALLABLE --least-probability 0.6  # as InputIBA's code does

Writes the chosen rows with absolute paths, in an order that a seed fixes, so that any first part is a random sample.
"""

import argparse
import csv
import random
from pathlib import Path

import torch

from bitlens.data.boxes import box_mask
from bitlens.data.datasets import Sample, open_dataset
from bitlens.models.load import load_model
from bitlens.models.loaded import Loaded

MOST = 0.33  # of what the network sees


def suits(loaded: Loaded, sample: Sample, least: float) -> bool:
    """Say whether the boxes of a photo are small, and its label has at least this probability."""
    mask = box_mask(sample.boxes, sample.image.size, loaded.preprocess)
    if mask.mean() > MOST or not bool((mask > 0.5).any()):
        return False
    if least == 0:
        return True
    with torch.no_grad():
        answer = loaded.model(loaded.preprocess(sample.image)[None]).softmax(1)[0]
    return float(answer[sample.label]) >= least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--model", default="builtin/scenes", help="whose preprocessing counts: what it cuts away does not"
    )
    parser.add_argument("--least-probability", type=float, default=0.0, help="of the label, by that model")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with options.table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    loaded = load_model(options.model)
    chosen = []
    for row, sample in zip(rows, open_dataset(f"csv:{options.table}"), strict=True):
        if suits(loaded, sample, options.least_probability):
            chosen.append(row | {"file": str((options.table.parent / row["file"]).resolve())})
    random.Random(options.seed).shuffle(chosen)
    with options.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(chosen[0]))
        writer.writeheader()
        writer.writerows(chosen)
    print(f"{options.out}: {len(chosen)} of {len(rows)} photos")


if __name__ == "__main__":
    main()
