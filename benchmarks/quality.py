"""What the presets "fast", "paper" and "best" are worth: box ratio and likeness of maps, on photos with boxes.

    python benchmarks/quality.py --model FILE.py:CALLABLE --layer layer2 --data csv:val.csv --statistics-from DIR

Every preset explains the same photos (those whose boxes cover less than a third) for their labelled class. Printed are the
top-n box ratio, its paired difference to "paper" with standard error, the mean Pearson correlation of the maps with those
of "paper", the probability under noise, and seconds per photo. "paper" with another seed says how much is chance.
"""

import argparse
import time
from pathlib import Path

import torch

from bitlens.bottlenecks.per_sample import IBA
from bitlens.cache import statistics_from
from bitlens.data.boxes import box_mask
from bitlens.data.datasets import open_dataset
from bitlens.metrics import bounding_box_ratio
from bitlens.models.load import LoadedModel, load_model

MOST_BOX = 0.33  # of the picture, algorithms G2
RUNS = [("paper", 0), ("paper", 1), ("fast", 0), ("fast", 1), ("best", 0)]


def photos(loaded: LoadedModel, data: str, limit: int) -> tuple[torch.Tensor, list[int | None], torch.Tensor]:
    """The first photos with small boxes: inputs, labels, box masks."""
    images, labels, masks = [], [], []
    for sample in open_dataset(data):
        photo = sample.image
        mask = box_mask(sample.boxes, photo.size, loaded.preprocess)
        if mask.mean() <= MOST_BOX and bool((mask > 0.5).any()):
            images.append(loaded.preprocess(photo))
            labels.append(sample.label)
            masks.append(mask)
        if len(images) == limit:
            break
    return torch.stack(images), labels, torch.stack(masks)


def likeness(maps: torch.Tensor, others: torch.Tensor) -> float:
    """Mean Pearson correlation of maps, one by one."""
    pairs = zip(maps.flatten(1), others.flatten(1), strict=True)
    return float(torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs]).mean())


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--layer", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--statistics-from", required=True)
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    loaded = load_model(arguments.model, arguments.weights)
    images, labels, masks = photos(loaded, arguments.data, arguments.limit)
    pool = open_dataset(arguments.statistics_from)
    reference: tuple[torch.Tensor, torch.Tensor] | None = None
    print(f"{loaded.name} at {arguments.layer}, {len(images)} photos, boxes cover {masks.mean():.3f}")
    for quality, seed in RUNS:
        iba = IBA(loaded.model, arguments.layer, quality=quality, seed=seed)
        statistics_from(pool, arguments.statistics_from, loaded, iba, 200, "channel")
        begun = time.perf_counter()
        made = iba.explain(images, labels)
        seconds = (time.perf_counter() - begun) / len(images)
        ratio = bounding_box_ratio(made.map, masks)
        reference = reference or (made.map, ratio)
        difference = ratio - reference[1]
        print(
            f"  {quality:6s} seed {seed}   box ratio {ratio.mean():.3f}   to paper {difference.mean():+.4f} ± "
            f"{difference.std() / len(ratio) ** 0.5:.4f}   Pearson {likeness(made.map, reference[0]):.3f}   "
            f"p under noise {made.evidence.under_noise.mean():.3f}   {seconds:.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
