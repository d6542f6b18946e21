r"""How well maps hold, with what bits and at what cost: published settings against `keep`, on photos with boxes.

Every map is judged by 64 noises that neither its fit nor its search has seen.

    python benchmarks/keep.py --model DATA/zoo.py:mobilenet_edgetpu --layer layer2 --data csv:small.csv \
        --statistics-from csv:more.csv --limit 40 --out keep.json
"""

import argparse
import json
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
from bitlens.core.holding import Holding
from bitlens.data.boxes import box_mask
from bitlens.data.datasets import open_dataset, tensor_batches
from bitlens.errors import BitlensWarning
from bitlens.models.load import load_model

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


@contextmanager
def judging(found: list[dict[str, float]], rows: list[int]) -> Iterator[None]:
    """Within the block every map that is settled is judged under other noise; rows of that are not counted."""

    def settled(recorded: Any, fitted: Any, fit: Any, keep: float | None, bits: float | None) -> Settled:
        made = settle(recorded, fitted, fit, keep, bits)
        masks = MaskFamily.of(recorded.features, recorded.noise, recorded.layout, recorded.region, fit.smoothing)
        held, before = Holding(recorded.run, recorded.target, masks, recorded.group.rows, recorded.deeper), rows[0]
        with torch.no_grad():
            clean = recorded.target.value(recorded.output)
            floor = held.floor(JUDGED, SEED + 1).mean(0)
            under = held.values(made.fitted.u, JUDGED, SEED).mean(0)
        rows[0] = before
        kept = (under - floor) / (clean - floor)
        found.extend(
            {"before": float(b), "floor": float(f), "kept": float(k)}
            for b, f, k in zip(clean, floor, kept, strict=True)
        )
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
        parser.add_argument(name, required=True)
    for name, number in (("--statistics-count", 200), ("--limit", 40), ("--skip", 0), ("--step", 1)):
        parser.add_argument(name, type=int, default=number)
    parser.add_argument("--area", type=float, default=0.33)
    parser.add_argument("--degradation", action="store_true")
    parser.add_argument("--only", default="", help="names of procedures, separated by ;")
    parser.add_argument("--out", type=Path)
    return parser


def main() -> None:
    """Measure each procedure on the photos, and print a line for each."""
    asked = _parser().parse_args()
    warnings.simplefilter("ignore", BitlensWarning)
    loaded = load_model(asked.model)
    samples, masks = [], []
    for sample in open_dataset(asked.data):
        mask = box_mask(sample.boxes, sample.image.size, loaded.preprocess) if sample.boxes else None
        if mask is not None and 0 < float(mask.mean()) <= asked.area:
            samples.append(sample)
            masks.append(mask)
    samples, masks = (part[asked.skip :: asked.step][: asked.limit] for part in (samples, masks))
    images = torch.stack([loaded.preprocess(sample.image) for sample in samples])
    with torch.no_grad():
        labels = loaded.model(images).argmax(1)  # what the network says, right or wrong
    learn = open_dataset(asked.statistics_from)
    learn = [learn[i] for i in range(0, len(learn), max(1, len(learn) // asked.statistics_count))][
        : asked.statistics_count
    ]
    base = bitlens.IBA(loaded.model, asked.layer)
    base.fit_statistics((batch for batch, _ in tensor_batches(learn, loaded.preprocess, 16)), granularity="channel")
    rows = [0]
    loaded.model.register_forward_hook(lambda _m, _a, output: rows.__setitem__(0, rows[0] + len(output)))
    table: dict[str, Any] = {}
    for name, settings in PROCEDURES.items():
        if asked.only and name not in asked.only.split(";"):
            continue
        iba = bitlens.IBA(loaded.model, asked.layer, **{"statistics": base.statistics, **settings})
        iba.explain(images[:1], labels[:1])
        found: list[dict[str, float]] = []
        rows[0] = 0
        with judging(found, rows):
            maps = iba.explain(images, labels)
        boxes = [inside(one, mask) for one, mask in zip(maps.map, masks, strict=True)]
        row: dict[str, Any] = {"rows": rows[0] / len(images), "box": boxes, "found": found}
        row["bits"] = maps.total_bits.tolist() if maps.total_bits is not None else []
        row["said"] = maps.evidence.kept.tolist() if maps.evidence is not None else []
        if asked.degradation:
            result = bitlens.metrics.degradation(loaded.model, images, labels, maps.map, tile=14, points=16)
            row["degradation"] = (result.lerf - result.morf).mean(1).tolist()
        table[name] = row
        print(line(name, row, table), flush=True)
        if asked.out:
            asked.out.write_text(json.dumps(table))


def line(name: str, row: dict[str, Any], table: dict[str, Any]) -> str:
    """Say in a line how a procedure did, paired to the first."""
    kept = torch.tensor([one["kept"] for one in row["found"] if one["before"] - one["floor"] > _SPAN])
    first = next(iter(table.values()))
    box = torch.tensor(row["box"]) - torch.tensor(first["box"])
    text = (
        f"{name:16s} rows {row['rows']:5.1f}  box ({box.mean():+.3f} ± "
        f"{box.std() / len(box) ** 0.5:.3f})  bits {torch.tensor(row['bits']).mean():8,.0f}  kept: median {kept.median():.3f}, "
        f"mean up to 1 {kept.clamp_max(1).mean():.3f}, "
        f">= .9 {float((kept >= 0.9).float().mean()):.2f}, >= .85 {float((kept >= 0.85).float().mean()):.3f}, "
        f"least {kept.min():.2f}"
    )
    if "degradation" in row:
        other = torch.tensor(row["degradation"]) - torch.tensor(first["degradation"])
        text += f"  degradation {other.mean():+.3f} ± {other.std() / len(other) ** 0.5:.3f}"
    return text


if __name__ == "__main__":
    main()
