r"""Whether metrics tell better maps from worse ones, where it is known which are better.

`measure` takes a right map of each photo (the exact mask of the object, or what a method found), makes it worse step by step
(`corrupting.py`), and has every metric score every map, and maps that know nothing. Rows go to a folder, as an evaluation's do;
the same command goes on where it was. `report` prints, for each metric, Kendall's τ between the order of the mean scores and the
known order, mean over the ways to make a map worse, with its standard error over photos (bootstrap); and what the right map and
maps that know nothing score. A set of metrics is judged by the mean of their ranks, on either half of the photos.

    python benchmarks/judges.py measure --model builtin/scenes --data builtin:scenes --limit 40 --out judges/scenes
    python benchmarks/judges.py measure --model DATA/zoo.py:squeezenet --layer features.7 --right iba:keep=0.9 --metrics FEW \
        --data csv:DATA/imagenet/val.csv --limit 8 --out judges/squeezenet
    python benchmarks/judges.py measure --model DATA/zoo.py:cifar_resnet20 --layer layer2 --right iba:keep=0.9 \
        --data npz:DATA/cifar10/cifar10_test_1000.npz --metrics ... --out judges/cifar20
    python benchmarks/judges.py report judges/* --sets sds+kept-per-bit
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
from scipy.stats import kendalltau, rankdata

from bitlens.data.datasets import Sample, open_dataset
from bitlens.evaluation.case import Case
from bitlens.evaluation.measures import read_metrics, ready_metric
from bitlens.evaluation.paired import contributions
from bitlens.evaluation.pinned import pin_settings, read_settings
from bitlens.evaluation.rows import Row, RowWriter
from bitlens.evaluation.run import select_samples
from bitlens.evaluation.store import RowStore
from bitlens.evaluation.tables import metric_of
from bitlens.explaining.photo import Photo, read_photo
from bitlens.methods.building import build_method, layer_for, map_alone
from bitlens.methods.naming import read_methods
from bitlens.models.load import load_model
from bitlens.probe import Network

MANY = (
    "degradation-8:points=34,degradation-14:points=34,insertion:points=56,deletion:points=56,complexity:points=56,road,aim,"
    "sds,sensitivity-n-8:sets=20,kept-per-bit:points=10:noise_samples=4,sparseness,bbox,ehr,mass-inside:region=boxes,"
    "pointing-game:region=boxes,rank-auc:region=boxes"
)
FEW = (
    "degradation-14:points=12,insertion:points=14,deletion:points=14,complexity:points=14,road,aim:points=11,sds,"
    "sensitivity-n-8:sets=10,kept-per-bit:points=8:noise_samples=2,sparseness,bbox,ehr,mass-inside:region=boxes,"
    "pointing-game:region=boxes,rank-auc:region=boxes"
)
SMALL = (
    "degradation-8:tile=2:points=34,insertion:points=56:start=zero,deletion:points=56,complexity:points=56:start=zero,road,aim,"
    "sds,sensitivity-n-8:tile=2:sets=20,kept-per-bit:points=10:noise_samples=4,sparseness"
)
CHANCE = "random,centre,edges,constant"
LEAST = 0.5  # probability of the class that a photo shows: what the network does not see, no map can show
DRAWS = 400


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
    done, photos = RowStore(asked.out / "rows", len(samples)).done(failures=True), 0
    with RowWriter(asked.out / "rows") as writer:
        for index in select_samples(len(samples)):
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
                case = Case(photo, network, None, 0, values, layer=lambda: layer)
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


class Scores:
    """Scores of a folder, of photos that every map and metric is measured on; higher is better, whatever the metric says.

    Attributes:
        maps: their names.
        metrics: their labels.
        photos: how many.
    """

    def __init__(self, folder: Path) -> None:
        settings, series = read_settings(folder), RowStore(folder / "rows").series()
        self.maps, self.metrics = list(settings["methods"]), list(settings["metrics"])
        shared = sorted(set.intersection(*(set(one.index.tolist()) for one in series.values())))
        self.photos = len(shared)
        self._values, self._scales = np.full((2, len(self.maps), len(self.metrics), len(shared)), np.nan)
        self.sign = np.array([1 if metric_of(label).better == "higher" else -1 for label in self.metrics])
        for (name, label), one in series.items():
            place = (self.maps.index(name), self.metrics.index(label), slice(None))
            chosen = np.searchsorted(one.index, shared)
            self._values[place], self._scales[place] = one.value[chosen], one.scale[chosen]
        self._values *= self.sign[:, None]

    def means(self, photos: Any) -> np.ndarray:
        """(map, metric) over some photos: the mean, of metrics with a scale the ratio of means."""
        scales = self._scales[..., photos]
        divisor = np.where(np.isnan(scales).all(-1), 1.0, np.nan_to_num(scales).mean(-1))
        return np.nanmean(self._values[..., photos], -1) / divisor

    def taus(self, photos: Any, metrics: Sequence[int] | None = None) -> np.ndarray:
        """(metric, way) Kendall's τ with the known order; of several metrics together, by the mean of their ranks, (1, way)."""
        found = self.means(photos)
        if metrics is not None:
            found = np.mean([rankdata(found[:, metric]) for metric in metrics], 0)[:, None]
        rows = {way: [0, *(self.maps.index(f"{way}-{step}") for step in range(1, STEPS + 1))] for way in WAYS}
        known = -np.arange(STEPS + 1)
        return np.array(
            [[np.nan_to_num(kendalltau(known, column[rows[way]]).statistic) for way in WAYS] for column in found.T]
        )

    def told(self, name: str, metric: int) -> str:
        """What the metric gives to a map, with its standard error; as the metric itself says it."""
        value, scale = (held[self.maps.index(name), metric] for held in (self._values, self._scales))
        parts = contributions(value[~np.isnan(value)], scale[~np.isnan(value)]) * self.sign[metric]
        if not len(parts):
            return "–"
        return f"{parts.mean():.2f} ± {parts.std(ddof=1) / len(parts) ** 0.5:.2f}"


def drawn(photos: np.ndarray) -> Iterator[np.ndarray]:
    """Photos drawn with replacement, as often as `DRAWS` says."""
    random = np.random.default_rng(0)
    for _ in range(DRAWS):
        yield random.choice(photos, len(photos))


def report(folders: Sequence[Path], sets: Sequence[str]) -> None:
    """Print the tables of each folder."""
    for folder in folders:
        scores = Scores(folder)
        photos = np.arange(scores.photos)
        often = np.array([scores.taus(some).mean(1) for some in drawn(photos)])
        single = np.array([scores.taus([one]).mean(1) for one in photos])
        of_means = scores.taus(photos)
        shown = ("right", *CHANCE.split(","))
        print(f"\n{folder.name}: {scores.photos} photos\n")
        print(f"| metric | τ | τ of one photo | {' | '.join(WAYS)} | {' | '.join(shown)} |")
        print("|---" * (3 + len(WAYS) + len(shown)) + "|")
        for row in np.argsort(-of_means.mean(1), kind="stable"):
            error = single[:, row].std(ddof=1) / len(photos) ** 0.5
            cells = [scores.metrics[row], f"{of_means[row].mean():.2f} ± {often[:, row].std():.2f}"]
            cells += [f"{single[:, row].mean():.2f} ± {error:.2f}", *(f"{value:.1f}" for value in of_means[row])]
            print(f"| {' | '.join([*cells, *(scores.told(name, row) for name in shown)])} |")
        for names in sets:
            wanted = names.split("+")
            chosen = [place for place, label in enumerate(scores.metrics) if label.partition("[")[0] in wanted]
            for half, part in (("first", photos[::2]), ("second", photos[1::2])):
                error = np.std([scores.taus(some, chosen).mean() for some in drawn(part)])
                alone = np.mean([scores.taus([one], chosen).mean() for one in part])
                found = scores.taus(part, chosen).mean()
                print(
                    f"{names}, {half} half ({len(part)} photos): τ {found:.3f} ± {error:.3f}; of one photo {alone:.3f}"
                )


def main() -> None:
    """Measure or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("measure")
    one.add_argument("--model", default="builtin/scenes")
    one.add_argument("--data", default="builtin:scenes")
    one.add_argument("--layer")
    one.add_argument("--right", default="mask", help="mask, or a method")
    one.add_argument(
        "--metrics",
        default="MANY",
        help="MANY, FEW (large networks), SMALL (32 x 32 pixels), or as in `bitlens evaluate`",
    )
    one.add_argument("--limit", type=int, default=40)
    one.add_argument("--out", type=Path, required=True)
    other = commands.add_parser("report")
    other.add_argument("folders", type=Path, nargs="+")
    other.add_argument("--sets", nargs="*", default=[], help="metrics joined by +, judged together")
    asked = parser.parse_args()
    if asked.command == "measure":
        measure(asked)
    else:
        report(asked.folders, asked.sets)


if __name__ == "__main__":
    main()
