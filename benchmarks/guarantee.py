r"""Whether guarantees hold, and how much they take: bits that keep a class, and areas of photos that keep it, of several methods.

`bitlens calibrate` writes how many bits each photo needs. `areas` writes, for each photo and method, the smallest share of
pixels, those of the map's highest values, from which on all larger ones keep the class, with another colour in place of the
rest; `tools/areas.py` makes the table of them. Both are rows of single photos; of bits, splits into halves are drawn afterwards:
one half calibrates, the other is held out.

    python benchmarks/guarantee.py areas --model DATA/zoo.py:mobilenet_edgetpu --layer layer2 --last layer4 \
        --data csv:DATA/imagenet/val.csv --limit 30 --out MobileNet-EdgeTPU.jsonl
    python benchmarks/guarantee.py fresh --model ... --layer layer2 --data ... --guarantee edgetpu.safetensors
    python benchmarks/guarantee.py tables --bits edgetpu.safetensors ...
"""

import argparse
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitlens.bottlenecks.calibrating import needed_bits
from bitlens.bottlenecks.per_sample import IBA
from bitlens.core.conformal import fewest_from_above, quantile, rank
from bitlens.core.guarantee import LEVELS, Guarantee
from bitlens.data.datasets import Sample, open_dataset
from bitlens.errors import BitlensWarning
from bitlens.explaining.photo import fingerprint
from bitlens.methods.building import build_method, map_alone
from bitlens.methods.specs import Spec
from bitlens.metrics.perturbation import REPLACEMENTS
from bitlens.metrics.ranking import ranks
from bitlens.models.load import load_model
from bitlens.models.loaded import Loaded

METHODS: dict[str, dict[str, Any]] = {
    "iba": {"keep": 0.9, "quality": "fast"},
    "grad-cam": {},
    "smoothgrad": {"noise_samples": 20},
    "lrp-alpha1-beta0": {},
    "rise": {"samples": 200},
}
TRIED: dict[str, dict[str, Any]] = {
    "iba, published": {"beta": 10.0, "quality": "paper"},
    "iba, best": {"keep": 0.9, "quality": "best"},
    "iba, keep 0.99": {"keep": 0.99, "quality": "fast"},
    "iba, blur of 3 cells": {"keep": 0.9, "quality": "fast", "smoothing": 3.0},
    "iba, last": {"keep": 0.9, "quality": "fast"},
}  # other maps of iba, to find one whose areas are smaller
AREAS = tuple(step / 64 for step in range(1, 65))
INSTEAD = ("mean", "blur")
HEAD = "| network | level | coverage of the held-out half ± deviation of one split | expected | bits |\n|---|---|---|---|---|"
_ROWS, _SPLITS = 16, 2000


def chosen(data: str, limit: int) -> list[Sample]:
    """Draw photos by chance, the same each time."""
    samples = open_dataset(data)
    return [samples[i] for i in Random(0).sample(range(len(samples)), min(limit, len(samples)))]


def kept_areas(model: Any, image: Tensor, map_: Tensor, instead: str) -> float:
    """Return the smallest share of pixels, those of the map's highest values, from which on all larger ones keep the class."""
    label, size = int(model(image).argmax(1)), map_.numel()
    places = ranks(map_.reshape(1, -1), descending=True, seed=0).reshape(map_.shape)
    other = REPLACEMENTS[instead](image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    known: dict[float, bool] = {}

    def keeps(area: float, left: Tensor) -> Tensor:
        if area not in known:  # and those below it with it: passes are full
            stop = AREAS.index(area) + 1
            some = AREAS[max(0, stop - _ROWS) : stop]
            shown = torch.stack([places < round(share * size) for share in some])[:, None]
            answers = model(torch.where(shown, image, other)).argmax(1)
            known.update({share: int(answer) == label for share, answer in zip(some, answers, strict=True)})
        return torch.full((len(left),), known[area])

    return float(fewest_from_above(keeps, 1, AREAS))


def areas(asked: argparse.Namespace) -> None:
    """Add rows of photos that have none yet."""
    loaded = load_model(asked.model)
    rows = asked.out.read_text("utf-8").splitlines() if asked.out.is_file() else []
    done = {(row["photo"], row["method"]) for row in map(json.loads, rows)}
    methods = {
        name: _method(name, loaded, asked.last if name == "iba, last" else asked.layer)
        for name in (METHODS | TRIED if asked.last else METHODS)
    }
    with asked.out.open("a") as file:
        for sample in chosen(asked.data, asked.limit):
            image = loaded.preprocess(sample.image)[None]
            for name, method in methods.items():
                if (sample.name, name) in done:
                    continue
                found = method.explain(image, **map_alone(method)).map[0]
                with torch.no_grad():
                    needed = {instead: kept_areas(loaded.model, image, found, instead) for instead in asked.instead}
                file.write(json.dumps({"photo": sample.name, "method": name, **needed}) + "\n")
            file.flush()


def _method(name: str, loaded: Loaded, layer: str) -> Any:
    known = name.partition(",")[0]
    place = {"layer": layer} if known == "iba" else {}
    return build_method(Spec(known, {**(METHODS | TRIED)[name], **place}), loaded)


def fresh(asked: argparse.Namespace) -> None:
    """Calibrate on every other photo of a guarantee; say of how many of the rest the class is kept, under noise of their own."""
    loaded, known = load_model(asked.model), Guarantee.load(asked.guarantee)
    method = IBA(loaded.model, asked.layer, quality="fast", seed=int(known.settings["seed"]))
    photos = {fingerprint(sample): sample for sample in open_dataset(asked.data)}
    held_out = known.inputs[1::2]
    images = torch.stack([loaded.preprocess(photos[mark].image) for mark in held_out])
    for level in LEVELS:
        bits = quantile(known.bits[::2], level)
        if bits == float("inf"):
            continue
        kept = needed_bits(method, images, budgets=[bits], noises=known.noises, first=1_000_000).isfinite()
        share = float(kept.double().mean())
        error = (share * (1 - share) / len(kept)) ** 0.5
        print(f"{level:.0%}: {bits:,.0f} bits keep {share:.3f} ± {error:.3f} of {len(kept)}", flush=True)


def splits(needed: Tensor, level: float, count: int) -> Iterator[tuple[float, float]]:
    """Give, for random splits, the bits that `count` inputs guarantee, and the share of the others that need no more."""
    draw = np.random.default_rng(0)
    for _ in range(_SPLITS):
        order = torch.from_numpy(draw.permutation(len(needed)))
        enough = quantile(needed[order[:count]], level)
        yield enough, float((needed[order[count:]] <= enough).double().mean())


def line(name: str, needed: Tensor) -> list[str]:
    """Write a row for each level: the coverage of held-out inputs, what was to be expected, and the bits that it took."""
    lines, count = [], len(needed) // 2
    for level in LEVELS:
        place = rank(count, level)
        if place > count:
            lines.append(f"| {name} | {level:.0%} | too few inputs | | |")
            continue
        found = np.array(list(splits(needed, level, count)))
        (taken, coverage), (spread, error) = found.mean(0), found.std(0)
        least = min(place / (count + 1), 1.0)
        lines.append(
            f"| {name} | {level:.0%} | {coverage:.3f} ± {error:.3f} | {least:.3f} | {taken:,.0f} ± {spread:,.0f} |"
        )
    return lines


def tables(asked: argparse.Namespace) -> None:
    """Print what guarantees of bits say."""
    print(HEAD)
    for path in asked.bits:
        known = Guarantee.load(path)
        print("\n".join(line(f"{path.stem}, {known.provenance.layer}, {len(known)} photos", known.bits)))


def main() -> None:
    """Read what is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for work in (areas, fresh, tables):
        command = commands.add_parser(work.__name__)
        command.set_defaults(work=work)
        if work is tables:
            command.add_argument("--bits", type=Path, nargs="+", required=True)
            continue
        for name in ("--model", "--layer", "--data"):
            command.add_argument(name, required=True)
        if work is areas:
            command.add_argument("--limit", type=int, default=100)
            command.add_argument("--last", help="layer of 'iba, last'; with it other maps of iba are tried as well")
            command.add_argument("--instead", nargs="+", choices=INSTEAD, default=["mean"], help="of the other pixels")
            command.add_argument("--out", type=Path, required=True)
        else:
            command.add_argument("--guarantee", type=Path, required=True)
    asked = parser.parse_args()
    warnings.simplefilter("ignore", BitlensWarning)
    asked.work(asked)


if __name__ == "__main__":
    main()
