"""What fewer passes cost: degradation, box ratio and likeness of maps of the presets and of other choices, on photos.

    python benchmarks/quality.py --model FILE.py:CALLABLE --layer layer2 --data csv:val.csv --statistics-from DIR
    python benchmarks/quality.py ... --runs paper paper-other-seed one-sample four-steps --limit 60

Every run explains the same photos (those whose boxes cover less than a third) for their labelled class. Printed are the
passes behind the layer (forward and backward) for a map, degradation (tiles of 14) and top-n box ratio with their paired
difference to "paper" ± its standard error, the mean Pearson correlation with the maps of "paper", the bits and the
probability under noise. "paper-other-seed" says how much of a difference is chance.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitlens import metrics
from bitlens.bottlenecks.per_sample import IBA
from bitlens.core.attribution import Attribution
from bitlens.core.effort import QUALITY, FitSettings
from bitlens.data.boxes import box_mask
from bitlens.data.datasets import open_dataset
from bitlens.methods.lessons import STATISTICS
from bitlens.methods.teaching import Source, Teacher
from bitlens.metrics import bounding_box_ratio, degradation
from bitlens.models.load import load_model
from bitlens.models.loaded import Loaded
from bitlens.probe import Network

MOST_BOX = 0.33  # of the picture, algorithms G2
PAPER, FAST = QUALITY["paper"], QUALITY["fast"]
SHORT = FitSettings(steps=7, noise_samples=2, rising=True, antithetic=True, initial_logit=3.0, readout="final")
RUNS: dict[str, tuple[FitSettings, int]] = {
    "paper": (PAPER, 0),
    "paper-other-seed": (PAPER, 1),
    "fast": (FAST, 0),
    "fast-other-seed": (FAST, 1),
    "best": (QUALITY["best"], 0),
    "short": (SHORT, 0),
    "short-other-seed": (SHORT, 1),
    "short-averaged": (replace(SHORT, averaged=True), 0),
    "short-two": (replace(SHORT, rising=False), 0),
    "four-samples": (replace(PAPER, noise_samples=4), 1),
    "two-samples": (replace(PAPER, noise_samples=2), 1),
    "one-sample": (replace(PAPER, noise_samples=1), 1),
    "four-antithetic": (replace(PAPER, noise_samples=4, antithetic=True), 1),
    "two-antithetic": (replace(PAPER, noise_samples=2, antithetic=True), 1),
    "three-rising": (replace(PAPER, noise_samples=3, rising=True), 1),
    "start-at-3": (replace(PAPER, noise_samples=2, antithetic=True, initial_logit=3.0, steps=8), 1),
    "seven-steps": (replace(PAPER, noise_samples=2, antithetic=True, steps=7, learning_rate=1.5), 1),
    "four-steps": (replace(PAPER, steps=5, learning_rate=2.0), 1),
}
PRESETS = ["paper", "paper-other-seed", "fast", "fast-other-seed", "best"]


def photos(loaded: Loaded, data: str, limit: int, half: int) -> tuple[Tensor, list[int | None], Tensor]:
    """The first photos with small boxes, or every second of them: inputs, labels, box masks."""
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
    chosen = slice(None) if half == 0 else slice(half - 1, None, 2)
    return torch.stack(images[chosen]), labels[chosen], torch.stack(masks[chosen])


def likeness(maps: Tensor, others: Tensor) -> float:
    """Mean Pearson correlation of maps, one by one."""
    pairs = zip(maps.flatten(1), others.flatten(1), strict=True)
    return float(torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs]).mean())


def difference(values: Tensor, reference: Tensor) -> str:
    """Mean of values, and of their paired difference to the reference with its standard error."""
    change = values - reference
    return f"{values.mean():.3f} ({change.mean():+.4f} ± {change.std() / len(change) ** 0.5:.4f})"


def judged(network: Network, images: Tensor, labels: Any, masks: Tensor, made: Attribution, points: int) -> Any:
    """Per photo: what it adds to the degradation score, and its box ratio."""
    curves: metrics.Degradation = degradation(network, images, labels, made.map, tile=14, points=points)
    return curves.contributions(), bounding_box_ratio(made.map, masks)


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--layer", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--statistics-from", required=True)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument(
        "--half", type=int, choices=(0, 1, 2), default=0, help="every second photo, from the first or second"
    )
    parser.add_argument("--points", type=int, default=34, help="of the degradation curves")
    parser.add_argument("--runs", nargs="+", default=PRESETS, choices=list(RUNS))
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    loaded = load_model(arguments.model, arguments.weights)
    images, labels, masks = photos(loaded, arguments.data, arguments.limit, arguments.half)
    network = Network(loaded.model)
    iba = IBA(loaded.model, arguments.layer)
    Teacher(loaded, Source.open(arguments.statistics_from, "image", 200)).teach(STATISTICS, iba)
    reference: tuple[Tensor, Tensor, Tensor] | None = None
    print(f"{loaded.name} at {arguments.layer}, {len(images)} photos, boxes cover {masks.mean():.3f}")
    for name in ["paper", *(run for run in arguments.runs if run != "paper")]:
        iba.fit, seed = RUNS[name]
        iba.passes = replace(iba.passes, seed=seed)
        begun = time.perf_counter()
        made = iba.explain(images, labels, evidence_samples=8)
        seconds = (time.perf_counter() - begun) / len(images)
        scores, ratios = judged(network, images, labels, masks, made, arguments.points)
        reference = reference or (made.map, scores, ratios)
        assert made.evidence is not None
        assert made.total_bits is not None
        print(
            f"  {name:17s} {iba.fit.passes:4d} passes  degradation {difference(scores, reference[1])}  "
            f"box ratio {difference(ratios, reference[2])}  Pearson {likeness(made.map, reference[0]):.3f}  "
            f"{made.total_bits.mean():7,.0f} bits  p under noise {made.evidence.under_noise.mean():.3f}  {seconds:.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
