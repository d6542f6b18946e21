"""What InputIBA's priors and passes are worth: EHR, deletion, insertion, box ratio and seconds for a photo.

    python benchmarks/input.py FOLDER --model FILE.py:CALLABLE --layer layer2 --data csv:val.csv --statistics-from DIR
    python benchmarks/input.py FOLDER ... --runs published fast none --limit 10
    python tools/paired.py FOLDER reference=published

Photos are those whose boxes cover less than a third and whose labelled class has a probability of 0.6 or more; seconds are
processor time on a CPU. "published" is the published procedure: its critic, 600 passes in stage 3. "iba" is stage 1 alone; those
with numbers have steps and noise samples of stage 3, without a critic.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from stored import Stored
from torch import Tensor

from bitlens.bottlenecks.input.images import InputIBA
from bitlens.bottlenecks.per_sample import IBA
from bitlens.data.boxes import box_mask
from bitlens.data.datasets import open_dataset
from bitlens.methods.lessons import STATISTICS
from bitlens.methods.teaching import Source, Teacher
from bitlens.metrics import bounding_box_ratio, effective_heat_ratio, insertion_deletion
from bitlens.models.load import load_model
from bitlens.models.loaded import Loaded
from bitlens.probe import Network

MOST_BOX, LEAST_PROBABILITY = 0.33, 0.6  # algorithms G3
_ANTITHETIC: dict[str, Any] = {"one_mask": False, "learning_rate": 1.0}  # of "fast"
RUNS: dict[str, dict[str, Any]] = {
    "published": {"quality": "paper"},
    "official": {"quality": "official"},
    "paper-map": {"quality": "paper", "prior": "feature-map"},
    "fast": {},
    **{prior: {"prior": prior} for prior in ("none", "feature-matching", "wgan-gp", "wgan")},
    "other-seed": {"seed": 1},
    "bits": {"readout": "information"},
    "beyond-prior": {"readout": "beyond-prior"},
    "20 x 4": {**_ANTITHETIC, "steps": 20, "noise_samples": 4},
    "30 x 2": {**_ANTITHETIC, "steps": 30, "noise_samples": 2},
    "60 x 1": {"quality": "paper", "prior": "feature-map", "noise_samples": 1},
    "30 x 2, rate 0.5": {**_ANTITHETIC, "steps": 30, "noise_samples": 2, "learning_rate": 0.5},
    "30 x 2, rate 0.5, one mask": {"steps": 30, "noise_samples": 2, "learning_rate": 0.5},
    "30 x 4, rate 0.5, one mask": {"steps": 30, "noise_samples": 4, "learning_rate": 0.5},
}


def photos(loaded: Loaded, data: str, limit: int) -> tuple[Tensor, list[int], Tensor]:
    """The first that fit: inputs, labels, box masks."""
    images, labels, masks = [], [], []
    network = Network(loaded.model)
    for sample in open_dataset(data):
        photo = sample.image
        mask = box_mask(sample.boxes, photo.size, loaded.preprocess)
        if sample.label is None or mask.mean() > MOST_BOX or not bool((mask > 0.5).any()):
            continue
        image = loaded.preprocess(photo)
        with torch.no_grad(), network.running(network.prepared(image[None])) as run:
            probability = float(run(image[None].to(network.device)).softmax(1)[0, sample.label])
        if probability >= LEAST_PROBABILITY:
            images.append(image)
            labels.append(sample.label)
            masks.append(mask)
        if len(images) == limit:
            break
    return torch.stack(images), labels, torch.stack(masks)


def method_for(run: str, loaded: Loaded, layer: str, iba: IBA, prices: dict[str, Any]) -> Any:
    """What a run explains with; statistics are those of `iba`."""
    if run == "iba":
        return iba
    return InputIBA(loaded.model, layer, statistics=iba.statistics, **{**prices, **RUNS[run]})


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the rows; what it has is not measured again")
    parser.add_argument("--model", required=True)
    parser.add_argument("--layer", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--statistics-from", required=True)
    parser.add_argument("--limit", type=int, default=30)
    parser.add_argument("--points", type=int, default=56, help="of the insertion and deletion curves")
    parser.add_argument("--runs", nargs="+", default=["published", "fast"], choices=[*RUNS, "iba"])
    parser.add_argument("--beta", type=float, help="of stage 1, if not that of the preset")
    parser.add_argument("--beta-input", type=float, help="of stage 3, likewise")
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    loaded = load_model(arguments.model, arguments.weights)
    images, labels, masks = photos(loaded, arguments.data, arguments.limit)
    network = Network(loaded.model)
    clock = time.process_time if network.device.type == "cpu" else time.perf_counter  # others may use the machine
    prices = {"beta": arguments.beta, "beta_input": arguments.beta_input}
    iba = IBA(loaded.model, arguments.layer, quality="paper", beta=arguments.beta or 10.0)
    Teacher(loaded, Source.open(arguments.statistics_from, "image", 200)).teach(STATISTICS, iba)
    print(f"{loaded.name} at {arguments.layer}, {len(images)} photos, boxes cover {masks.mean():.3f}")
    stored = Stored(arguments.out)
    for run in arguments.runs:
        if stored.has(run, len(images) - 1):
            continue
        method = method_for(run, loaded, arguments.layer, iba, prices)
        begun = clock()
        made = method.explain(images, labels, evidence_samples=0)
        seconds = (clock() - begun) / len(images)
        curves = insertion_deletion(network, images, labels, made.map, points=arguments.points)
        scores = {
            "EHR": effective_heat_ratio(made.map, masks),
            "deletion": curves.deletion_areas(),
            "insertion": curves.insertion_areas(),
            "box ratio": bounding_box_ratio(made.map, masks),
        }
        stored.add_all(run, {**scores, "seconds": torch.full((len(images),), seconds)})
        print(f"{run}: {seconds:.2f} s", flush=True)


if __name__ == "__main__":
    main()
