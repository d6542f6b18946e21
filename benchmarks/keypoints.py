"""How methods explain keypoints: degradation of a keypoint's probability on photos of people.

    python benchmarks/keypoints.py zoo.py:movenet photos.csv OUT.json --label 15 [--half odd] [--methods NAMES]

Of each photo with this label the keypoint that the network is surest of is asked about, where it is surer than half. What is
measured is kept photo by photo, and a run that was cut short goes on. Each method's degradation (tiles of 16 pixels) is told in
the end, with the paired difference to the method named first.
"""

import argparse
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitlens.core.regions import Keypoint
from bitlens.data.images import read_image
from bitlens.evaluation.paired import compare, mean_of
from bitlens.evaluation.store import Series
from bitlens.methods.building import build_method
from bitlens.methods.naming import read_methods
from bitlens.metrics import degradation
from bitlens.models.load import load_model
from bitlens.models.loaded import Loaded
from bitlens.probe import Network
from bitlens.system.files import write_text

METHODS = (
    "iba:layer=layer1:keep=0.9,grad-cam:layer=layer4,grad-cam,guided-backprop,occlusion-14:window=24,rise:samples=300"
)
HALVES = {"all": slice(None), "even": slice(0, None, 2), "odd": slice(1, None, 2)}
Found = dict[str, dict[str, list[float]]]
"""By method, by photo: the area between the two curves, and the fall that it is divided by."""


def surest(loaded: Loaded, image: torch.Tensor) -> tuple[int, float]:
    """Return the keypoint whose heat map is highest somewhere, and its probability there."""
    with torch.no_grad():
        peaks = loaded.model(image)[0].flatten(1).amax(1)
    return int(peaks.argmax()), float(peaks.max().sigmoid())


def measure(loaded: Loaded, photos: Sequence[Path], methods: Mapping[str, Any], kept: Path) -> Found:
    """Measure what is not in the file yet."""
    found: Found = json.loads(kept.read_text("utf-8")) if kept.is_file() else {}
    network = Network(loaded.model)
    for photo in photos:
        image = loaded.preprocess(read_image(photo))[None]
        index, probability = surest(loaded, image)
        for label, method in methods.items() if probability > 0.5 else ():
            if photo.name not in found.setdefault(label, {}):
                made = method.explain(image, Keypoint(index)).map
                fall = degradation(network, image, Keypoint(index), made, 16, points=8, precision="auto")
                found[label][photo.name] = [float(fall.areas()), float(fall.drop)]
                write_text(kept, json.dumps(found))
    return found


def lines(found: Found, names: Sequence[str], first: str) -> Iterator[str]:
    """Write a row of a table for each method, the best first."""
    series = {
        label: series_of([(names.index(name), *two) for name, two in one.items()]) for label, one in found.items()
    }
    yield f"| method | photos | degradation | {first} minus it |\n|---|---|---|---|"
    for label in sorted(series, key=lambda one: -mean_of(series[one]).mean):
        mean, apart = mean_of(series[label]), compare(series[first], series[label])
        difference = "" if label == first else f"{apart.difference:+.3f} ± {apart.standard_error:.3f}"
        yield f"| `{label}` | {mean.count} | {mean.mean:.3f} ± {mean.standard_error:.3f} | {difference} |"


def series_of(rows: Sequence[tuple[float, ...]]) -> Series:
    """Return areas and falls in the order of the photos."""
    index, value, scale = np.array(sorted(rows)).T
    return Series(index.astype(np.int64), value, scale, np.ones_like(value), np.ones(len(value), bool))


def main() -> None:
    """Read the command, measure, and tell the result."""
    parser = argparse.ArgumentParser(description="Measure how methods explain keypoints.")
    parser.add_argument("model")
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--label", default="15")
    parser.add_argument("--half", choices=HALVES, default="all")
    parser.add_argument("--methods", default=METHODS)
    given = parser.parse_args()
    loaded, specs = load_model(given.model), read_methods(given.methods)
    with given.photos.open(encoding="utf-8", newline="") as file:
        every = [Path(row["file"]) for row in csv.DictReader(file) if row["label"] == given.label][HALVES[given.half]]
    methods = {label: build_method(spec, loaded) for label, spec in specs.items()}
    found = measure(loaded, every, methods, given.out)
    print("\n".join(lines({label: found[label] for label in specs}, [path.name for path in every], next(iter(specs)))))


if __name__ == "__main__":
    main()
