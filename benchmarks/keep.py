r"""How well maps hold, with what bits and at what cost: published settings against `keep`, on photos whose objects are known.

Every map is judged by 64 noises that neither its fit nor its search has seen, and by 16 of the other statistics.

    python benchmarks/keep.py --model DATA/zoo.py:mobilenet_edgetpu --layer layer2 --data csv:DATA/imagenet/val.csv \
        --statistics-from csv:DATA/imagenet/more.csv --statistics-count 100 --skip 1 --step 2 --degradation --out edgetpu.json
    python tools/held.py edgetpu.json

One photo after the other, every procedure on each; what is in the file of --out is not done again. With --sweep every photo is
also explained at 20 prices of a bit, to tell how few bits keep as much.
"""

import argparse
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from judging import judging, together, write_rows
from torch import Tensor

import bitlens
from bitlens.core.gaussian import NoiseSettings
from bitlens.core.own import own_noise, places_of
from bitlens.data.batches import tensor_batches
from bitlens.data.boxes import box_mask, object_mask
from bitlens.data.datasets import open_dataset
from bitlens.errors import BitlensWarning
from bitlens.models.load import load_model

PROCEDURES: dict[str, dict[str, Any]] = {
    "published": {"quality": "paper"},
    "published, own": {"quality": "paper", "statistics": "own"},
    "keep": {"keep": 0.9},
    "keep, own": {"keep": 0.9, "statistics": "own"},
    "keep fast, own": {"keep": 0.9, "quality": "fast", "statistics": "own"},
    "keep best, own": {"keep": 0.9, "quality": "best", "statistics": "own"},
    "readout": {"method": "readout"},
    "readout, keep": {"method": "readout", "keep": 0.9},
}
_EXACT: dict[str, Any] = {"price": 1e-4, "averaged": False}
_AVERAGED: dict[str, Any] = {"price": 1e-4, "averaged": True}
_LONG: dict[str, Any] = {"steps": 14, "rising": False}
TRIED: dict[str, dict[str, Any]] = {
    name: {"keep": 0.9, "statistics": "own", "fit": fit}
    for name, fit in {
        "exact slopes": _EXACT,
        "exact, bits x 3": {**_EXACT, "price": 3e-4},
        "exact, start at 2": {**_EXACT, "initial_logit": 2.0},
        "exact, blur of 0.5 cells": {**_EXACT, "smoothing": 0.5},
        "exact, blur of 1.5 cells": {**_EXACT, "smoothing": 1.5},
        "exact, Adam at 1.5": {**_EXACT, "learning_rate": 1.5},
        "exact, 11 steps of one copy": {
            **_EXACT,
            "steps": 11,
            "noise_samples": 1,
            "antithetic": False,
            "rising": False,
        },
        "exact, 14 steps of two copies": {**_EXACT, **_LONG},
        "averaged slopes": _AVERAGED,
        "averaged, bits x 1.4 (the default)": {**_AVERAGED, "price": 1.4e-4},
        "averaged, bits x 2": {**_AVERAGED, "price": 2e-4},
        "averaged, bits x 3": {**_AVERAGED, "price": 3e-4},
        "averaged, blur of 1.5 cells": {**_AVERAGED, "smoothing": 1.5},
        "averaged, bits x 2, blur of 1.5 cells": {**_AVERAGED, "price": 2e-4, "smoothing": 1.5},
        "averaged, bits x 2, 14 steps of one copy": {
            **_AVERAGED,
            **_LONG,
            "price": 2e-4,
            "noise_samples": 1,
            "antithetic": False,
        },
        "averaged, bits x 2, 14 steps of two copies (best)": {**_AVERAGED, **_LONG, "price": 2e-4},
        "averaged, bits x 3, 14 steps of two copies": {**_AVERAGED, **_LONG, "price": 3e-4},
    }.items()
}  # fits from which those of `HOLDING` were chosen
PRICES = {
    f"price {price:.1e}": {"beta": price, "statistics": "own"} for price in torch.logspace(-0.3, 2, 20).tolist()
}  # β


def inside(map_: Tensor, mask: Tensor) -> float:
    """Share of the most important pixels, as many as the box has, that lie in it."""
    count = int((mask > 0.5).sum())
    return float((mask.flatten() > 0.5)[map_.flatten().topk(count).indices].float().mean())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--model", "--layer", "--data", "--statistics-from"):
        parser.add_argument(name)
    for name, number in (
        ("--statistics-count", 200),
        ("--floors", 64),
        ("--limit", 1000),
        ("--skip", 0),
        ("--step", 1),
        ("--tile", 14),
    ):
        parser.add_argument(name, type=int, default=number)
    parser.add_argument("--area", type=float, default=0.33)
    parser.add_argument("--degradation", action="store_true")
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument(
        "--only",
        default="published;keep;keep, own;keep fast, own",
        help="procedures, separated by ; (tried: all of those)",
    )
    parser.add_argument(
        "--readout", type=Path, help="weights of a readout; those that come with the network if not given"
    )
    parser.add_argument("--out", type=Path, required=True, help="file of the rows; what it has is not done again")
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


def _built(settings: dict[str, Any], loaded: Any, base: bitlens.IBA, readout: Path | None) -> Any:
    if settings.get("method") == "readout":
        return bitlens.ReadoutIBA(loaded.model, weights=readout or loaded.readout, keep=settings.get("keep"))
    own_price = {} if loaded.beta is None or "keep" in settings or "beta" in settings else {"beta": loaded.beta}
    given = {name: value for name, value in settings.items() if name != "fit"}
    iba = bitlens.IBA(loaded.model, base.probe.name, **{"statistics": base.statistics, **own_price, **given})
    iba.fit = replace(iba.fit, **settings.get("fit", {}))
    return iba


def main() -> None:
    """Measure each procedure on the photos, and store what was found."""
    asked = _parser().parse_args()
    warnings.simplefilter("ignore", BitlensWarning)
    loaded = load_model(asked.model)
    learn = open_dataset(asked.statistics_from or loaded.learns_from)
    learn = [learn[i] for i in range(0, len(learn), max(1, len(learn) // asked.statistics_count))]
    learn = learn[: asked.statistics_count]
    layer = asked.layer or loaded.layer
    base = bitlens.IBA(loaded.model, layer)
    base.fit_statistics((batch for batch, _ in tensor_batches(learn, loaded.preprocess, 16)), granularity="channel")
    rows = [0]
    loaded.model.register_forward_hook(lambda _m, _a, output: rows.__setitem__(0, rows[0] + len(output)))
    known = PROCEDURES | TRIED
    names = [one for name in asked.only.split(";") for one in (TRIED if name == "tried" else [name])]
    chosen = {name: known[name] for name in names} | (PRICES if asked.sweep else {})
    methods = {name: _built(settings, loaded, base, asked.readout) for name, settings in chosen.items()}

    def other(recorded: Any) -> Any:
        """Noise of the statistics that a map was not fitted with."""
        if own[0]:
            return base.statistics.noise(NoiseSettings(), tuple(recorded.features.shape[1:]))
        return own_noise(
            recorded.features, places_of(recorded.features, recorded.layout), recorded.layout, NoiseSettings()
        )

    own, table = [False], dict[str, dict[str, Any]]()
    if asked.out.exists():
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
            judged: list[dict[str, float]] = []
            rows[0] = 0
            with judging(judged, rows, other, asked.floors):
                map_ = iba.explain(image, label)
            found = together(judged) | {
                "rows": rows[0],
                "box": inside(map_.map[0], mask),
                "bits": float(map_.total_bits[0]),
            }
            found["auc"] = float(bitlens.metrics.rank_auc(map_.map, mask[None])[0])
            if asked.degradation and name not in PRICES:
                result = bitlens.metrics.degradation(loaded.model, image, label, map_.map, tile=asked.tile, points=16)
                found["degradation"] = float((result.lerf - result.morf).mean())
            table.setdefault(name, {})[sample.name] = found
        write_rows(asked.out, table)
    print(f"rows are in {asked.out}; a table of them: python tools/held.py {asked.out}")


if __name__ == "__main__":
    main()
