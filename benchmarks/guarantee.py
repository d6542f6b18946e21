r"""Whether guarantees hold, and how much they take: bits that keep a class, and areas of photos that keep it, of several methods.

`bitlens calibrate` writes how many bits each photo needs. `areas` writes, for each photo and method, the smallest share of
pixels, those of the map's highest values, from which on all larger ones keep the class, with another colour in place of the
rest, and what share of the map (its height above its lowest value, summed) such pixels hold. So either the area can be
calibrated, the same for all photos, or the share of the map, which takes another area of each. All are rows of single photos;
splits into halves are drawn afterwards: one half calibrates, the other is held out.

    python benchmarks/guarantee.py areas --model DATA/zoo.py:mobilenet_edgetpu --layer layer2 \
        --data csv:DATA/imagenet/val.csv --limit 100 --out areas-edgetpu.jsonl
    python benchmarks/guarantee.py fresh --model ... --layer layer2 --data ... --guarantee edgetpu.safetensors
    python benchmarks/guarantee.py tables --areas areas-*.jsonl --bits edgetpu.safetensors ...
"""

import argparse
import json
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
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
AREAS = tuple(step / 64 for step in range(1, 65))
INSTEAD = ("mean", "blur")
HEAD = "| {} | level | coverage of the held-out half ± deviation of one split | expected | {} |\n|---|---|---|---|---|"
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


def mass_of(map_: Tensor) -> list[float]:
    """Return what share of a map the pixels of its highest values hold, for each of the areas."""
    heights = (map_.double() - map_.min()).flatten().sort(descending=True).values.cumsum(0)
    counts = torch.tensor([round(area * len(heights)) - 1 for area in AREAS])
    total = float(heights[-1])
    return [round(float(one), 5) for one in (heights[counts] / total if total else counts.double() + 1)]


def areas(asked: argparse.Namespace) -> None:
    """Add rows of photos that have none yet."""
    loaded = load_model(asked.model)
    done = {(row["photo"], row["method"]) for row in _rows([asked.out])} if asked.out.is_file() else set()
    methods = {name: _method(name, loaded, asked.layer) for name in METHODS}
    with asked.out.open("a") as file:
        for sample in chosen(asked.data, asked.limit):
            image = loaded.preprocess(sample.image)[None]
            for name, method in methods.items():
                if (sample.name, name) in done:
                    continue
                found = method.explain(image, **map_alone(method)).map[0]
                with torch.no_grad():
                    needed = {instead: kept_areas(loaded.model, image, found, instead) for instead in asked.instead}
                row = {
                    "network": asked.model.rpartition(":")[2],
                    "photo": sample.name,
                    "method": name,
                    **needed,
                    "mass": mass_of(found),
                }
                file.write(json.dumps(row) + "\n")
            file.flush()


def _method(name: str, loaded: Loaded, layer: str) -> Any:
    place = {"layer": layer} if name == "iba" else {}
    return build_method(Spec(name, {**METHODS[name], **place}), loaded)


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


def _rows(paths: Sequence[Path]) -> list[dict[str, Any]]:
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


Area = Callable[[float, Tensor], float]
"""What is guaranteed, of held-out inputs (n,) → how much that takes of them, in the mean."""


def splits(needed: Tensor, level: float, count: int, worst: float, area: Area) -> Iterator[tuple[float, float]]:
    """Give, for random splits, what it takes that `count` inputs guarantee, and the share of the others that need no more."""
    draw = np.random.default_rng(0)
    for _ in range(_SPLITS):
        order = torch.from_numpy(draw.permutation(len(needed)))
        enough = min(quantile(needed[order[:count]], level), worst)
        yield area(enough, order[count:]), float((needed[order[count:]] <= enough).double().mean())


def line(name: str, needed: Tensor, worst: float, form: str, area: Area = lambda enough, _: enough) -> list[str]:
    """Write a row for each level: the coverage of held-out inputs, what was to be expected, and what it took."""
    lines, count = [], len(needed) // 2
    for level in LEVELS:
        place = rank(count, level)
        if place > count and worst == float("inf"):
            lines.append(f"| {name} | {level:.0%} | too few inputs | | |")
            continue
        found = np.array(list(splits(needed, level, count, worst, area)))
        (taken, coverage), (spread, error) = found.mean(0), found.std(0)
        least = min(place / (count + 1), 1.0)
        lines.append(
            f"| {name} | {level:.0%} | {coverage:.3f} ± {error:.3f} | {least:.3f} | {taken:{form}} ± {spread:{form}} |"
        )
    return lines


def difference(area: Callable[[str, Tensor], float], name: str, count: int) -> str:
    """Write by how much less iba takes at 90 %, with an error from photos drawn again and again."""
    draw, every = np.random.default_rng(1), torch.arange(count)
    drawn = [torch.from_numpy(draw.integers(0, count, count)) for _ in range(_SPLITS // 4)]
    differences = np.array([area("iba", one) - area(name, one) for one in drawn])
    return f"{area('iba', every) - area(name, every):+.3f} ± {differences.std():.3f}"


def tables(asked: argparse.Namespace) -> None:
    """Print what the rows say."""
    if asked.bits:
        print(HEAD.format("network", "bits"))
    for path in asked.bits:
        known = Guarantee.load(path)
        title = f"{path.stem}, {known.provenance.layer}, {len(known)} photos"
        print("\n".join(line(title, known.bits, float("inf"), ",.0f")))
    networks: dict[str, dict[str, dict[str, dict[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
    for row in _rows(asked.areas):
        networks[row["network"]][row["method"]][row["photo"]] = row
    for network, methods in networks.items():
        photos = sorted(set.intersection(*(set(known) for known in methods.values())))
        mass = {name: _numbers([rows[one]["mass"] for one in photos]) for name, rows in methods.items()}
        for instead in (
            one for one in INSTEAD if all(one in row for rows in methods.values() for row in rows.values())
        ):
            needed = {name: _numbers([rows[one][instead] for one in photos]) for name, rows in methods.items()}
            print(f"\n{network}, {len(photos)} photos, in place of the rest: {instead}\n")
            _by_area(needed)
            _by_mass(needed, mass)


def _numbers(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _by_area(needed: Mapping[str, Tensor]) -> None:
    print(HEAD.format("the same area of all photos", "area"))
    for name, one in needed.items():
        print("\n".join(line(name, one, 1.0, ".3f")))

    def at_90(name: str, photos: Tensor) -> float:
        return min(quantile(needed[name][photos], 0.9), 1.0)

    for name, one in needed.items():
        print(f"iba less {name} at 90 %: {difference(at_90, name, len(one))}; median need {float(one.median()):.3f}")


def _by_mass(needed: Mapping[str, Tensor], mass: Mapping[str, Tensor]) -> None:
    """Of each photo the pixels that hold the same share of its map."""
    shares = {name: _share(one, mass[name]) for name, one in needed.items()}

    def area_of(name: str, enough: float, photos: Tensor) -> float:
        places = (mass[name][photos] >= min(enough, 1.0) - 1e-9).double().argmax(1)
        return float(_numbers(AREAS)[places].mean())

    print(HEAD.format("the same share of all maps", "mean area"))
    for name, one in shares.items():
        print("\n".join(line(name, one, 1.0, ".3f", partial(area_of, name))))

    def at_90(name: str, photos: Tensor) -> float:
        return area_of(name, quantile(shares[name][photos], 0.9), photos)

    for name, one in shares.items():
        print(f"iba less {name} at 90 %: {difference(at_90, name, len(one))}")


def _share(needed: Tensor, mass: Tensor) -> Tensor:
    """Return what share of its map each photo needs: that of the pixels it needs."""
    return mass.gather(1, (needed * len(AREAS)).round().long()[:, None] - 1)[:, 0]


def main() -> None:
    """Read what is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for work in (areas, fresh, tables):
        command = commands.add_parser(work.__name__)
        command.set_defaults(work=work)
        if work is tables:
            command.add_argument("--areas", type=Path, nargs="*", default=[])
            command.add_argument("--bits", type=Path, nargs="*", default=[])
            continue
        for name in ("--model", "--layer", "--data"):
            command.add_argument(name, required=True)
        if work is areas:
            command.add_argument("--limit", type=int, default=100)
            command.add_argument("--instead", nargs="+", choices=INSTEAD, default=["mean"], help="of the other pixels")
            command.add_argument("--out", type=Path, required=True)
        else:
            command.add_argument("--guarantee", type=Path, required=True)
    asked = parser.parse_args()
    warnings.simplefilter("ignore", BitlensWarning)
    asked.work(asked)


if __name__ == "__main__":
    main()
