r"""Whether metrics tell better maps from worse ones, where it is known which are better.

A right map of each photo (the exact mask of the object, or what a method found) is made worse step by step (`corrupting.py`), and
every metric scores every map, and maps that know nothing. Rows go to a folder, as an evaluation's do; the same command goes on
where it was. `python tools/pack.py` writes them into one file, as they lie in `benchmarks/results/judges`; of those
`python tools/results.py` makes the tables of docs/results/judges.md.

    python benchmarks/judges.py --model builtin/scenes --data builtin:scenes --limit 40 --out judges/scenes
    python benchmarks/judges.py --model DATA/zoo.py:squeezenet --layer features.7 --right iba:keep=0.9 --metrics FEW \
        --data csv:DATA/imagenet/val.csv --limit 8 --out judges/squeezenet
    python benchmarks/judges.py --model DATA/zoo.py:cifar_resnet20 --layer layer2 --right iba:keep=0.9 \
        --data npz:DATA/cifar10/cifar10_test_1000.npz --metrics ... --out judges/cifar20
    python tools/pack.py judges/scenes benchmarks/results/judges/scenes
"""

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from corrupting import STEPS, WAYS, worse
from PIL import Image

from bitlens.data.datasets import Sample, open_dataset
from bitlens.evaluation.case import Case
from bitlens.evaluation.judges import Judges
from bitlens.evaluation.measures import read_metrics, ready_metric
from bitlens.evaluation.pinned import pin_settings
from bitlens.evaluation.rows import Row, RowWriter
from bitlens.evaluation.run import select_samples
from bitlens.evaluation.store import RowStore
from bitlens.explaining.photo import Photo, read_photo
from bitlens.methods.building import build_method, layer_for, map_alone
from bitlens.methods.naming import read_methods
from bitlens.methods.teaching import Source
from bitlens.models.load import load_model
from bitlens.probe import Network

MANY = (
    "degradation-8:points=34,degradation-14:points=34,insertion:points=56,deletion:points=56,complexity:points=56,road,aim,"
    "sds,sensitivity-n-8:sets=20,kept-per-bit:points=10:noise_samples=4,sparseness,bbox,ehr,mass-inside:region=boxes,"
    "pointing-game:region=boxes,rank-auc:region=boxes,idsds,f-fidelity"
)
FEW = (
    "degradation-14:points=12,insertion:points=14,deletion:points=14,complexity:points=14,road,aim:points=11,sds,"
    "sensitivity-n-8:sets=10,kept-per-bit:points=8:noise_samples=2,sparseness,bbox,ehr,mass-inside:region=boxes,"
    "pointing-game:region=boxes,rank-auc:region=boxes"
)
SMALL = (
    "degradation-8:tile=2:points=34,insertion:points=56:start=zero,deletion:points=56,complexity:points=56:start=zero,road,aim,"
    "sds,sensitivity-n-8:tile=2:sets=20,kept-per-bit:points=10:noise_samples=4,sparseness,"
    "idsds,f-fidelity:tile=2"
)
CHANCE = "random,centre,edges,constant"
TUNED = 200  # other photos, on which copies of the network learn deletions
LEAST = 0.5  # probability of the class that a photo shows: what the network does not see, no map can show


def measure(asked: argparse.Namespace) -> None:
    """Score every map of every photo by every metric, into rows."""
    loaded = load_model(asked.model, None, "cpu")
    layer = asked.layer or layer_for(loaded)
    network = Network(loaded.model, output=loaded.output)
    samples = samples_of(asked.data)
    specs = read_metrics({"MANY": MANY, "FEW": FEW, "SMALL": SMALL}.get(asked.metrics, asked.metrics))
    metrics = {label: ready_metric(spec) for label, spec in specs.items()}
    blind = {name: build_method(spec, loaded) for name, spec in read_methods(CHANCE).items()}
    finder = None
    if asked.right != "mask":
        ((_, spec),) = read_methods(asked.right).items()
        finder = build_method(spec, loaded, layer=layer)
    names = ["right", *(f"{way}-{step}" for way in WAYS for step in range(1, STEPS + 1)), *blind]
    about = {"model": asked.model.rpartition("/")[2], "data": asked.data.rpartition("/")[2], "right": asked.right}
    listed = {"methods": {name: {} for name in names}, "metrics": {label: {} for label in metrics}}
    pin_settings(asked.out, {**about, "layer": layer, "samples": len(samples), "seed": 0, **listed})
    others = [samples[index] for index in select_samples(len(samples), (2, 2), TUNED)]  # that no metric is measured on
    judges = Judges(loaded, Source(asked.data, others, TUNED), asked.out / "learned", lambda *_: None, 0)
    done, photos = RowStore(asked.out / "rows", len(samples)).done(failures=True), 0
    with RowWriter(asked.out / "rows") as writer:
        for index in select_samples(len(samples), (1, 2)):
            if photos == asked.limit:
                break
            photo = read_photo(samples[index], network, loaded.preprocess)
            large = bool(photo.sample.boxes) and photo.inside("boxes", 0.33) is None
            if photo.predicted != photo.target or photo.probability < LEAST or large:
                continue
            photos += 1
            pairs = itertools.product(names, metrics)
            lacking = {pair for pair in pairs if done.lacks(pair, np.array([index]))[0]}
            if not lacking:
                continue
            began = time.perf_counter()
            for name, values in maps_of(photo, finder, blind):
                case = Case(photo, network, None, 0, values, layer=lambda: layer, judge=judges.knowing)
                writer.add(
                    [scored(index, case, name, label, metrics[label]) for label in metrics if (name, label) in lacking]
                )
            print(f"{photos:4d} of {asked.limit}  {photo.sample.name}  {time.perf_counter() - began:.0f} s", flush=True)


def samples_of(data: str) -> Sequence[Sample]:
    """The data set; `npz:FILE` holds images (N, H, W, 3) of bytes and labels."""
    if not data.startswith("npz:"):
        return open_dataset(data)
    held = np.load(data.removeprefix("npz:"))
    pictures = zip(held["images"], held["labels"], strict=True)
    return [Sample(f"{n}", partial(Image.fromarray, image), int(label)) for n, (image, label) in enumerate(pictures)]


def maps_of(photo: Photo, finder: Any, blind: dict[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """All maps of a photo by name: the right one, worse ones, and those that know nothing."""
    if finder is None:
        inside = photo.inside("mask", 1.0)
        assert inside is not None, "--right mask needs a data set with masks"
        right = inside[0]
    else:
        right = finder.explain(photo.image, photo.target, **map_alone(finder)).map[0]
    yield from worse(right, photo.fingerprint)
    for name, method in blind.items():
        yield name, method.explain(photo.image, photo.target).map[0]


def scored(index: int, case: Case, name: str, label: str, compute: Any) -> Row:
    """One row; curves are not kept."""
    photo, start = case.photo, time.perf_counter()
    found = compute(case)
    known = found is not None and np.isfinite(found.value)
    numbers = {"value": found.value, "scale": found.scale} if known else {}
    return Row(
        index, photo.sample.name, photo.fingerprint, name, label, photo.target, photo.predicted, photo.probability,
        seconds=time.perf_counter() - start, **numbers,
    )  # fmt: skip


def main() -> None:
    """Read the command and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin/scenes")
    parser.add_argument("--data", default="builtin:scenes")
    parser.add_argument("--layer")
    parser.add_argument("--right", default="mask", help="mask, or a method")
    parser.add_argument(
        "--metrics",
        default="MANY",
        help="MANY, FEW (large networks), SMALL (32 x 32 pixels), or as in `bitlens evaluate`",
    )
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--out", type=Path, required=True)
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
