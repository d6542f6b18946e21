r"""How well maps hold, with what bits and at what cost: published settings against `keep`, on photos whose objects are known.

Every map is judged by 64 noises that neither its fit nor its search has seen, and by 16 of the other statistics.

    python benchmarks/keep.py --model DATA/zoo.py:mobilenet_edgetpu --layer layer2 --data csv:DATA/imagenet/val.csv \
        --statistics-from csv:DATA/imagenet/more.csv --statistics-count 100 --skip 1 --step 2 --degradation --out edgetpu.json
    python benchmarks/keep.py --show edgetpu.json

One photo after the other, every procedure on each; what is in the file of --out is not done again. With --sweep every photo is
also explained at 20 prices of a bit, to tell how few bits keep as much.
"""

import argparse
import json
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import bitlens
from bitlens.bottlenecks import bottleneck
from bitlens.bottlenecks.settling import Settled, settle
from bitlens.core.family import MaskFamily
from bitlens.core.gaussian import NoiseSettings
from bitlens.core.holding import Holding
from bitlens.core.own import own_noise, places_of
from bitlens.data.boxes import box_mask, object_mask
from bitlens.data.datasets import open_dataset, tensor_batches
from bitlens.errors import BitlensWarning
from bitlens.models.load import load_model
from bitlens.system.files import write_text

JUDGED, SEED = 64, 0x51ED270B
_SPAN = 0.02  # of a probability above the floor: with less there is nothing to keep
PROCEDURES: dict[str, dict[str, Any]] = {
    "published": {"quality": "paper"},
    "published, own": {"quality": "paper", "statistics": "own"},
    "keep": {"keep": 0.9},
    "keep, own": {"keep": 0.9, "statistics": "own"},
    "keep fast, own": {"keep": 0.9, "quality": "fast", "statistics": "own"},
    "keep best, own": {"keep": 0.9, "quality": "best", "statistics": "own"},
}
PRICES = {
    f"price {price:.1e}": {"beta": price, "statistics": "own"} for price in torch.logspace(-0.3, 2, 20).tolist()
}  # β


@contextmanager
def judging(found: dict[str, Any], rows: list[int], other: Any) -> Iterator[None]:
    """Within the block every map that is settled is judged under other noise; rows of that are not counted."""

    def settled(recorded: Any, fitted: Any, fit: Any, keep: float | None, bits: float | None) -> Settled:
        made = settle(recorded, fitted, fit, keep, bits)
        before = rows[0]
        clean = recorded.target.value(recorded.output).detach()
        with torch.no_grad():
            for name, noise in (("", recorded.noise), ("other ", other(recorded))):
                masks = MaskFamily.of(recorded.features, noise, recorded.layout, recorded.region, fit.smoothing)
                held = Holding(recorded.run, recorded.target, masks, recorded.group.rows, recorded.deeper)
                count = JUDGED // 4 if name else JUDGED
                floor = held.floor(count, SEED + 1).mean(0)
                values = held.values(made.fitted.u, count, SEED)
                found[f"{name}floor"] = float(floor)
                found[f"{name}kept"] = float((values.mean(0) - floor) / (clean - floor))
                found[f"{name}capped"] = float((values.minimum(clean).mean(0) - floor) / (clean - floor))
        found["before"] = float(clean)
        rows[0] = before
        return made

    bottleneck.settle = settled  # type: ignore[attr-defined]
    try:
        yield
    finally:
        bottleneck.settle = settle  # type: ignore[attr-defined]


def inside(map_: Tensor, mask: Tensor) -> float:
    """Share of the most important pixels, as many as the box has, that lie in it."""
    count = int((mask > 0.5).sum())
    return float((mask.flatten() > 0.5)[map_.flatten().topk(count).indices].float().mean())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--model", "--layer", "--data", "--statistics-from"):
        parser.add_argument(name)
    for name, number in (("--statistics-count", 200), ("--limit", 1000), ("--skip", 0), ("--step", 1), ("--tile", 14)):
        parser.add_argument(name, type=int, default=number)
    parser.add_argument("--area", type=float, default=0.33)
    parser.add_argument("--degradation", action="store_true")
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--only", default="published;keep;keep, own;keep fast, own", help="procedures, separated by ;")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--show", type=Path, nargs="*", help="print what files of --out say")
    return parser


def _samples(asked: argparse.Namespace, loaded: Any) -> list[tuple[Any, Tensor]]:
    found = []
    for sample in open_dataset(asked.data):
        if sample.mask is not None:
            mask = object_mask(sample.mask, loaded.preprocess)
        elif sample.boxes:
            mask = box_mask(sample.boxes, sample.image.size, loaded.preprocess)
        else:
            continue
        if 0 < float(mask.mean()) <= asked.area:
            found.append((sample, mask))
    return found[asked.skip :: asked.step][: asked.limit]


def main() -> None:
    """Measure each procedure on the photos, and print a line for each."""
    asked = _parser().parse_args()
    if asked.show:
        print(HEAD, "|---" * HEAD.count(" | ") + "|---|", sep="\n")
        for path in asked.show:
            show(path.stem, json.loads(path.read_text("utf-8")))
        return
    warnings.simplefilter("ignore", BitlensWarning)
    loaded = load_model(asked.model)
    learn = open_dataset(asked.statistics_from)
    learn = [learn[i] for i in range(0, len(learn), max(1, len(learn) // asked.statistics_count))]
    learn = learn[: asked.statistics_count]
    base = bitlens.IBA(loaded.model, asked.layer)
    base.fit_statistics((batch for batch, _ in tensor_batches(learn, loaded.preprocess, 16)), granularity="channel")
    rows = [0]
    loaded.model.register_forward_hook(lambda _m, _a, output: rows.__setitem__(0, rows[0] + len(output)))
    chosen = {name: PROCEDURES[name] for name in asked.only.split(";")} | (PRICES if asked.sweep else {})
    methods = {
        name: bitlens.IBA(loaded.model, asked.layer, **{"statistics": base.statistics, **settings})
        for name, settings in chosen.items()
    }

    def other(recorded: Any) -> Any:
        """Noise of the statistics that a map was not fitted with."""
        if own[0]:
            return base.statistics.noise(NoiseSettings(), tuple(recorded.features.shape[1:]))
        return own_noise(
            recorded.features, places_of(recorded.features, recorded.layout), recorded.layout, NoiseSettings()
        )

    own, table = [False], dict[str, dict[str, Any]]()
    if asked.out and asked.out.exists():
        table = json.loads(asked.out.read_text("utf-8"))
    for sample, mask in _samples(asked, loaded):
        image = loaded.preprocess(sample.image)[None]
        with torch.no_grad():
            label = loaded.model(image).argmax(1)  # what the network says, right or wrong
        for name, iba in methods.items():
            if sample.name in table.get(name, {}):
                continue
            own[0] = iba.own
            if name not in table:
                iba.explain(image, label)  # what is measured of a network once is not counted
            found: dict[str, Any] = {}
            rows[0] = 0
            with judging(found, rows, other):
                map_ = iba.explain(image, label)
            found |= {"rows": rows[0], "box": inside(map_.map[0], mask), "bits": float(map_.total_bits[0])}
            found["auc"] = float(bitlens.metrics.rank_auc(map_.map, mask[None])[0])
            if asked.degradation and name not in PRICES:
                result = bitlens.metrics.degradation(loaded.model, image, label, map_.map, tile=asked.tile, points=16)
                found["degradation"] = float((result.lerf - result.morf).mean())
            table.setdefault(name, {})[sample.name] = found
        if asked.out:
            write_text(asked.out, json.dumps(table))
    show(asked.model, table)


HEAD = (
    "| network | procedure | rows | bits | nothing needed | ≥ 0.9 kept | ≥ 0.85 | least | mean to 1 | by the other noise "
    "| box | rank AUC | degradation |"
)


def show(name: str, table: dict[str, dict[str, Any]]) -> None:
    """Print the table of a network: a line for each procedure, quality paired to the first."""
    photos = sorted(set.intersection(*(set(rows) for rows in table.values())))
    first = next(iter(table))
    for procedure, rows in table.items():
        if procedure in PRICES:
            continue
        found = [rows[photo] for photo in photos]
        held = [one for one in found if one["bits"] > 1e-3 and one["before"] - one["floor"] > _SPAN]
        kept, capped, other = (torch.tensor([one[key] for one in held]) for key in ("kept", "capped", "other kept"))
        cells = [
            f"{name} ({len(photos)})" if procedure == first else "",
            procedure,
            f"{_mean([one['rows'] - 1 for one in found], digits=1)}",  # one of them is the clean pass
            f"{sum(one['bits'] for one in found) / len(found):,.0f}",
            str(len(found) - len(held)),
            *(f"{float((kept >= share).float().mean()):.3f}" for share in (0.9, 0.85)),
            f"{kept.min():.2f}",
            f"{capped.mean():.3f}",
            f"{other.clamp(0, 1).mean():.2f}",
        ]
        for key in ("box", "auc", "degradation"):
            known = all(key in one for one in found)
            cells.append(_mean([rows[photo][key] - table[first][photo][key] for photo in photos], "+") if known else "")
        print(f"| {' | '.join(cells)} |")
    sweep = [price for price in table if price in PRICES]
    for procedure in [one for one in table if one not in PRICES and sweep]:
        ratios = torch.tensor([_against(table, procedure, photo, sweep) for photo in photos])
        ratios = ratios[ratios.isfinite()]
        print(
            f"{name}, {procedure}: {_mean(ratios.tolist())} times the fewest bits of {len(sweep)} prices that keep as much, "
            f"median {ratios.median():.3f} ({len(ratios)} photos)"
        )


def _against(table: dict[str, dict[str, Any]], name: str, photo: str, sweep: list[str]) -> float:
    """Bits of a map over the fewest with which some price keeps as much, between two prices on a logarithmic scale."""
    one = table[name][photo]
    if one["before"] - one["floor"] <= _SPAN:
        return math.nan
    points = sorted((table[price][photo]["bits"], table[price][photo]["capped"]) for price in sweep)
    for (bits, kept), (more, better) in zip([(points[0][0], -math.inf), *points], points, strict=False):
        if better >= one["capped"]:
            share = (one["capped"] - kept) / (better - kept) if math.isfinite(kept) and better > kept else 1.0
            return float(one["bits"] / math.exp(math.log(bits) + share * (math.log(more) - math.log(bits))))
    return math.nan


def _mean(values: list[float], sign: str = "", digits: int = 3) -> str:
    numbers = torch.tensor(values).float()
    return f"{numbers.mean():{sign}.{digits}f} ± {numbers.std() / len(numbers) ** 0.5:.{digits}f}"


if __name__ == "__main__":
    main()
