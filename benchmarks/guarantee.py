r"""Whether guarantees hold, and how much they take: bits that keep a class, and areas of photos that keep it, of several methods.

`bitlens calibrate` writes how many bits each photo needs; `tools/covered.py` makes the table of it. `fresh` has every other of
these photos calibrate, and writes whether each of the rest keeps its class, under noise of its own, in a map of the bits that
this guarantees; the table is one of `tools/paired.py`. `areas` writes, for each photo and method, the smallest share of pixels,
those of the map's highest values, from which on all larger ones keep the class, with another colour in place of the rest; the
table is made by `tools/areas.py`.

    python benchmarks/guarantee.py areas --model DATA/zoo.py:mobilenet_edgetpu --layer layer2 --last layer4 \
        --data csv:DATA/imagenet/val.csv --limit 30 --out MobileNet-EdgeTPU.jsonl
    python benchmarks/guarantee.py fresh --model ... --layer layer2 --data ... --guarantee FILE.safetensors --out fresh
"""

import argparse
import json
import math
import warnings
from pathlib import Path
from random import Random
from typing import Any

import torch
from stored import Stored
from torch import Tensor

from bitlens.bottlenecks.calibrating import needed_bits
from bitlens.bottlenecks.per_sample import IBA
from bitlens.core.conformal import fewest_from_above, quantile
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
_ROWS = 16


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
    """Calibrate on every other photo of a guarantee; keep of which of the rest the class is kept, under noise of their own."""
    stored, name = Stored(asked.out), asked.guarantee.stem
    if stored.has(name):
        return
    loaded, known = load_model(asked.model), Guarantee.load(asked.guarantee)
    seed, precision = int(known.settings["seed"]), str(known.settings["precision"])
    method = IBA(loaded.model, asked.layer, quality="fast", seed=seed, precision=precision)
    photos = {fingerprint(sample): sample for sample in open_dataset(asked.data)}
    images = torch.stack([loaded.preprocess(photos[mark].image) for mark in known.inputs[1::2]])
    found = {}
    for level in LEVELS:
        bits = quantile(known.bits[::2], level)
        if math.isfinite(bits):
            kept = needed_bits(method, images, budgets=[bits], noises=known.noises, first=1_000_000).isfinite()
            found[f"{level:.0%}"] = kept.double()
            print(f"{level:.0%}: {bits:,.0f} bits keep {int(kept.sum())} of {len(kept)}", flush=True)
    stored.add_all(name, found)


def main() -> None:
    """Read what is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for work in (areas, fresh):
        command = commands.add_parser(work.__name__)
        command.set_defaults(work=work)
        command.add_argument("--out", type=Path, required=True)
        for name in ("--model", "--layer", "--data"):
            command.add_argument(name, required=True)
        if work is areas:
            command.add_argument("--limit", type=int, default=100)
            command.add_argument("--last", help="layer of 'iba, last'; with it other maps of iba are tried as well")
            command.add_argument("--instead", nargs="+", choices=INSTEAD, default=["mean"], help="of the other pixels")
        else:
            command.add_argument("--guarantee", type=Path, required=True)
    asked = parser.parse_args()
    warnings.simplefilter("ignore", BitlensWarning)
    asked.work(asked)


if __name__ == "__main__":
    main()
