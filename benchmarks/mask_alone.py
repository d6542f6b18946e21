"""What `bitlens roar` found, network by network, and how far the mask of removed pixels tells the class by itself.

    bitlens roar --data npz:FILE --methods random,iba --rates 0.3 --seeds 2 --out roar
    python benchmarks/mask_alone.py roar FOLDER
    python tools/paired.py FOLDER

For each seed a network is trained that sees nothing but which 30 % of the pixels a map removes, for the labels, and is tested on
test images: where it names many classes, a curve of ROAR says what the masks tell of the labels, not what the pixels do.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import torch
from stored import Stored
from torch import Tensor

from bitlens.data.small import read_small_images
from bitlens.metrics.retraining import RetrainingSettings, remove_top, small_resnet, train_network
from bitlens.system.arrays import read_arrays

RATE, SHARES = 0.3, (0.7, 0.1, 0.2)


def accuracy_of_masks(maps: dict[str, Tensor], labels: tuple[Tensor, ...], plan: dict, seed: int) -> float:
    """Train on the masks of part 0 and test on those of part 2."""
    train, _, test = (
        remove_top(torch.ones(len(part), 3, *part.shape[1:]), part, RATE, torch.zeros(3)) - (1 - RATE)
        for part in (maps[name] for name in "012")
    )
    build = partial(small_resnet, int(labels[0].max()) + 1, 3, plan["width"])
    network = train_network(build, train, labels[0], RetrainingSettings(**plan["training"]), seed).eval()
    with torch.no_grad():
        return float((network(test).argmax(1) == labels[2]).float().mean())


def main() -> None:
    """Read what was trained, train on the masks, and keep both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("roar", type=Path, help="folder of `bitlens roar`")
    parser.add_argument("out", type=Path, help="folder of the rows")
    asked = parser.parse_args()
    plan, stored = json.loads((asked.roar / "plan.json").read_text("utf-8")), Stored(asked.out)
    images = read_small_images(plan["data"], plan["size"], plan["limit"])
    labels = tuple(part.labels for part in images.split(SHARES, plan["seed"]))
    known = json.loads((asked.roar / "untouched.json").read_text("utf-8"))["rows"]
    for method in dict.fromkeys(row["method"] for row in json.loads((asked.roar / "rows.json").read_text("utf-8"))):
        trained = known + json.loads((asked.roar / f"{method}.json").read_text("utf-8"))["rows"]
        maps, _ = read_arrays(asked.roar / "maps" / f"{method}.safetensors", "maps", lambda _: True)
        for seed in sorted({row["seed"] for row in trained}):
            if not stored.has(method, seed):
                found = {f"{row['rate']:.0%} removed": row["test_accuracy"] for row in trained if row["seed"] == seed}
                alone = accuracy_of_masks(maps, labels, plan, seed)
                stored.add(method, seed, found | {f"the mask alone, {RATE:.0%}": alone})
                print(method, seed, f"{alone:.3f}", flush=True)


if __name__ == "__main__":
    main()
