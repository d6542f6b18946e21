"""How methods explain keypoints: degradation of a keypoint's probability on photos of people.

    python benchmarks/keypoints.py zoo.py:movenet photos.csv FOLDER --label 15 [--methods NAMES]
    python tools/paired.py FOLDER half=odd order=best "reference=iba[keep=0.9,layer=layer1]"

Of each photo with this label the keypoint that the network is surest of is asked about, where it is surer than half: the
degradation of its probability, in tiles of 16 pixels. A run that was cut short goes on.
"""

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from stored import Stored

from bitlens.core.regions import Keypoint
from bitlens.data.images import read_image
from bitlens.methods.building import build_method
from bitlens.methods.naming import read_methods
from bitlens.metrics import degradation
from bitlens.models.load import load_model
from bitlens.models.loaded import Loaded
from bitlens.probe import Network

METHODS = (
    "iba:layer=layer1:keep=0.9,grad-cam:layer=layer4,grad-cam,guided-backprop,occlusion-14:window=24,rise:samples=300"
)


def surest(loaded: Loaded, image: torch.Tensor) -> tuple[int, float]:
    """Return the keypoint whose heat map is highest somewhere, and its probability there."""
    with torch.no_grad():
        peaks = loaded.model(image)[0].flatten(1).amax(1)
    return int(peaks.argmax()), float(peaks.max().sigmoid())


def measure(loaded: Loaded, photos: Sequence[Path], methods: Mapping[str, Any], stored: Stored) -> None:
    """Measure what is not stored yet."""
    network = Network(loaded.model, output=loaded.output)
    for number, photo in enumerate(photos):
        image = loaded.preprocess(read_image(photo))[None]
        index, probability = surest(loaded, image)
        for label, method in methods.items() if probability > 0.5 else ():
            if not stored.has(label, number):
                made = method.explain(image, Keypoint(index)).map
                fall = degradation(network, image, Keypoint(index), made, 16, points=8, precision="auto")
                stored.add(label, number, {"degradation": float(fall.areas())}, float(fall.drop))
                print(photo.name, label, f"{float(fall.areas() / fall.drop):.3f}", flush=True)


def main() -> None:
    """Read the command and measure."""
    parser = argparse.ArgumentParser(description="Measure how methods explain keypoints.")
    parser.add_argument("model")
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path, help="folder of the rows")
    parser.add_argument("--label", default="15")
    parser.add_argument("--methods", default=METHODS)
    given = parser.parse_args()
    loaded, specs = replace(load_model(given.model), output="multi-label"), read_methods(given.methods)  # log-odds
    with given.photos.open(encoding="utf-8", newline="") as file:
        photos = [Path(row["file"]) for row in csv.DictReader(file) if row["label"] == given.label]
    methods = {label: build_method(spec, loaded) for label, spec in specs.items()}
    measure(loaded, photos, methods, Stored(given.out))


if __name__ == "__main__":
    main()
