"""How often the interval of what a map keeps is right, and how many noises it takes: sequential proofs beside fixed ones.

`measure` explains photos and asks the network under many noises, pairs of a noise and its negative; `judge` replays rules on
these values: how many noises each takes, and how often its interval of two standard errors holds what all noises together say.
Its rows, one for each photo, lie in `benchmarks/results/proofs`.

    python benchmarks/proofs.py measure --model DATA/zoo.py:squeezenet --layer features.7 --data csv:DATA/imagenet/val.csv \
        --statistics-from csv:DATA/imagenet/more.csv --limit 60 --out proofs/squeezenet.pt
    python benchmarks/proofs.py judge proofs/squeezenet.pt SqueezeNet
    python tools/pack.py SqueezeNet benchmarks/results/proofs/SqueezeNet
"""

import argparse
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from stored import Stored
from torch import Tensor

import bitlens
from bitlens.bottlenecks.groups import Group, Wanted
from bitlens.bottlenecks.settling import settle
from bitlens.core.family import MaskFamily
from bitlens.core.holding import Holding
from bitlens.core.proofs import Look, Share, doubt, mean_and_error, proven
from bitlens.data.batches import tensor_batches
from bitlens.data.datasets import open_dataset
from bitlens.errors import BitlensWarning
from bitlens.models.load import load_model

PROCEDURES = {
    "fast, published price": {"quality": "fast"},
    "paper": {"quality": "paper"},
    "fast, a tenth of it": {"quality": "fast", "beta": 1.0},
}
PAIRS, AT_ONCE = 256, 32
TURNS = 40  # of drawing among them
NEEDED = 0.02  # between the clean value and the floor: below it nothing is needed
Recordings = Sequence[dict[str, Tensor]]


def values_of(iba: bitlens.IBA, image: Tensor) -> dict[str, Tensor]:
    """Answers about the predicted class under many noises at the mask of one photo: (2, PAIRS), and the floor's (64,)."""

    def work(group: Group) -> dict[str, Tensor]:
        with iba.recorded(group) as recorded, torch.enable_grad():
            fitted = settle(recorded, iba.masks(recorded), iba.fit, iba.keep, iba.bits).fitted
            masks = MaskFamily.of(
                recorded.features, recorded.noise, recorded.layout, recorded.region, iba.fit.smoothing
            )
            held = Holding(recorded.run, recorded.target, masks, group.rows)
            pairs = [held.values(fitted.u, 2 * AT_ONCE, 10_000 + i, antithetic=True) for i in range(PAIRS // AT_ONCE)]
            return {
                "before": recorded.target.value(recorded.output).float(),
                "values": torch.cat([v[:, 0].reshape(2, AT_ONCE) for v in pairs], 1),
                "floor": held.floor(64, 77)[:, 0],
            }

    samples = iba.read(image[None], None).arranged(iba.probe.device)
    return next(iter(iba.each_group(samples, None, Wanted(evidence_samples=8), work)))


def measure(asked: argparse.Namespace) -> None:
    """Measure what is missing in the file of --out."""
    loaded = load_model(asked.model)
    some = open_dataset(asked.statistics_from)
    batches = tensor_batches([some[i] for i in range(100)], loaded.preprocess, 16)
    base = bitlens.IBA(loaded.model, asked.layer)
    base.fit_statistics([images for images, _ in batches], granularity="channel")
    found = torch.load(asked.out) if asked.out.exists() else {}
    data = open_dataset(asked.data)
    for index in range(asked.limit):
        for name, settings in PROCEDURES.items():
            if (name, index) in found:
                continue
            iba = bitlens.IBA(loaded.model, asked.layer, statistics=base.statistics, **settings)
            found[name, index] = values_of(iba, loaded.preprocess(data[index].image))
        torch.save(found, asked.out)
        print(f"{index + 1} of {asked.limit}", flush=True)


def replayed(found: Recordings, rule: Callable[..., Tensor], seed: int) -> dict[str, Tensor]:
    """What a rule says of every photo, under noises drawn from those that were measured."""
    values, floor = torch.stack([one["values"] for one in found], 2), torch.stack([one["floor"] for one in found], 1)
    before, bottom = torch.cat([one["before"] for one in found]), floor.mean(0)
    order, used = torch.randperm(values.shape[1], generator=torch.Generator().manual_seed(seed)), {"pairs": 0}

    def look(_: Tensor, samples: Tensor, count: int, __: int) -> Tensor:
        begin, used["pairs"] = used["pairs"], used["pairs"] + count // 2
        return values[:, order[begin : used["pairs"]]].flatten(0, 1)[:, samples]

    def share(seen: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        mean, _, error = mean_and_error(seen)
        span = (before - bottom)[samples]
        return (mean - bottom[samples]) / span, error / span

    seen, error = rule(look, share, torch.zeros_like(before), values[0, order])
    off = (seen.nanmean(0) - values.mean((0, 1))) / (before - bottom)
    error = doubt(seen, before - bottom) if error is None else error
    return {"noises": seen.isfinite().sum(0).float(), "off": off, "error": error / (before - bottom)}


def sequential(look: Look, share: Share, shift: Tensor, _: Tensor) -> tuple[Tensor, None]:
    """As bitlens proves maps at a price."""
    return proven(look, share, shift, 8), None


def fixed(count: int) -> Callable[..., tuple[Tensor, Tensor]]:
    """So many independent noises, and their standard error."""

    def rule(_: Look, __: Share, ___: Tensor, independent: Tensor) -> tuple[Tensor, Tensor]:
        seen = independent[:count]
        return seen, mean_and_error(seen)[2]

    return rule


RULES = {"sequential": sequential, "32 fixed": fixed(32), "8 fixed": fixed(8)}


def judge(path: Path, stored: Stored) -> None:
    """Keep what each rule says of each photo of a file and its maps: noises, root mean square error, how often it is right."""
    measured = torch.load(path)
    for name in PROCEDURES:
        found = [one for (whose, _), one in measured.items() if whose == name]
        found = [one for one in found if float(one["before"] - one["floor"].mean()) > NEEDED]
        for rule, by in RULES.items():
            turns = [replayed(found, by, seed) for seed in range(TURNS)]
            noises, off, error = (torch.stack([turn[what] for turn in turns]) for what in ("noises", "off", "error"))
            right = (off.abs() <= 2 * error).double().mean(0)
            numbers = {"noises": noises.mean(0), "off by": off.square().mean(0).sqrt(), "interval right": right}
            stored.add_all(f"{name}: {rule}", numbers)


def main() -> None:
    """Read the arguments, measure or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked = parser.add_subparsers(required=True, dest="what")
    measuring = asked.add_parser("measure")
    for name in ("--model", "--layer", "--data", "--statistics-from"):
        measuring.add_argument(name, required=True)
    measuring.add_argument("--limit", type=int, default=40)
    measuring.add_argument("--out", type=Path, required=True)
    judging = asked.add_parser("judge")
    judging.add_argument("file", type=Path)
    judging.add_argument("out", type=Path, help="folder of the rows")
    given = parser.parse_args()
    warnings.simplefilter("ignore", BitlensWarning)
    if given.what == "measure":
        measure(given)
    else:
        judge(given.file, Stored(given.out))


if __name__ == "__main__":
    main()
