"""Readouts on the bundled scenes: prices of information, what a teacher and the asked class are worth, cost of a map.

    python benchmarks/readout.py FOLDER --betas 0.1 1 10 100     table 4 of the paper: information and accuracy under noise
    python benchmarks/readout.py FOLDER --teaching               how training begins: at what price, or with masks of method iba
    python benchmarks/readout.py FOLDER --classes                two scenes side by side: bits in the half that is asked for
    python benchmarks/readout.py FOLDER --cost MODEL READOUT     seconds for a map of any network by a trained readout's file

`python tools/paired.py FOLDER` tells the rows; what is there is not measured again. Every readout is trained anew on `--train`
scenes with `--epochs` epochs; measured are the first `--test` test scenes.
"iba" is the per-sample bottleneck with the paper's settings and the same statistics. `--scenes` names a file that keeps the
drawn scenes for the next time.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from stored import Stored
from torch import Tensor

from bitlens import IBA, ReadoutIBA
from bitlens.bottlenecks.readout.task import Teaching
from bitlens.data.scenes import Scenes
from bitlens.metrics import bounding_box_ratio, restricted_accuracy
from bitlens.models.builtin.scenes import LAYER, MEAN, READOUT, STD, scenes
from bitlens.models.load import load_model
from bitlens.system.arrays import read_arrays, write_arrays
from bitlens.training.examples import Examples, InMemory, Pairs
from bitlens.training.settings import TrainingSettings

NATS = 0.6931472


@dataclass(frozen=True)
class Split:
    """Scenes as the network takes them: images (N, 3, 96, 96), labels (N,), masks of the objects (N, 96, 96)."""

    images: Tensor
    labels: Tensor
    masks: Tensor


def drawn(split: str, count: int, folder: Path | None) -> Split:
    """The first scenes of a split."""
    place = folder / f"{split}-{count}.safetensors" if folder else None
    if place is None or not place.is_file():
        made = list(Scenes(split, count))
        arrays = {
            "images": torch.stack([torch.from_numpy(scene.image) for scene in made]).permute(0, 3, 1, 2),
            "labels": torch.tensor([scene.label for scene in made]),
            "masks": torch.stack([torch.from_numpy(scene.mask) for scene in made]),
        }
        if place is not None:
            write_arrays(place, arrays, {})
    else:
        arrays, _ = read_arrays(place, "scenes", lambda _: True)
    return Split((arrays["images"].float() / 255 - MEAN) / STD, arrays["labels"], arrays["masks"])


class Bench:
    """The network, its scenes, and how readouts of it are trained."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.model, self.stored = scenes()[0], Stored(arguments.out)
        self.train = drawn("train", arguments.train, arguments.scenes)
        self.test = drawn("test", arguments.test, arguments.scenes)
        self.seeds = range(arguments.seeds)
        self.settings = TrainingSettings(epochs=arguments.epochs, learning_rate=2e-3, patience=0)
        self.statistics = IBA(self.model, LAYER).fit_statistics([self.train.images], granularity="channel").statistics

    def readout(self, beta: float, teaching: Teaching | None = None) -> ReadoutIBA:
        """A readout as in the paper, trained."""
        made = ReadoutIBA(self.model, LAYER, beta=beta)
        began = time.process_time()
        done = made.fit_weights([(self.train.images, self.train.labels)], self.settings, teaching=teaching)
        seconds = time.process_time() - began
        last = {name: f"{value:.3f}" for name, value in done.rows[-1].held_out.items()}
        print(f"  trained β={beta:g} in {seconds:.0f} s of the CPU, held out: {last}", flush=True)
        return made

    def told(self, seed: int, *, paired: bool) -> ReadoutIBA:
        """A conditional readout, trained on pairs of scenes or on single ones."""
        made = ReadoutIBA(self.model, LAYER, beta=1.0, conditional=True).fit_statistics([self.train.images])
        examples: Examples = InMemory([(self.train.images, self.train.labels)])
        made.fit_weights(Pairs(examples, seed) if paired else examples, replace(self.settings, seed=seed))
        return made

    def iba(self, beta: float) -> IBA:
        """The per-sample bottleneck."""
        return IBA(self.model, LAYER, beta=beta, statistics=self.statistics)

    def measure(self, name: str, made: Callable[[], IBA]) -> None:
        """Measure a method that is not stored yet."""
        if self.stored.has(name, len(self.test.labels) - 1):
            return
        method, test = made(), self.test
        found = restricted_accuracy(method, test.images, test.labels)
        maps = method.explain(test.images, test.labels, evidence_samples=0).map
        information = {"bits/feature": found.information, "nats/feature": found.information * NATS}
        right = {"top-1": found.top1, "top-5": found.top5}
        self.stored.add_all(name, {**information, **right, "on object": bounding_box_ratio(maps, test.masks)})


def betas(bench: Bench, prices: list[float]) -> None:
    """Table 4's columns for each price, the per-sample bottleneck beside them, and the readout that comes with the network."""
    for beta in prices:
        bench.measure(f"readout, β·k = {beta:g}", partial(bench.readout, beta))
        bench.measure(f"iba, β·k = {beta:g}", partial(bench.iba, beta))
    bench.measure("the bundled readout, β·k = 1", partial(ReadoutIBA, bench.model, weights=READOUT))


def teaching(bench: Bench) -> None:
    """How training begins, at β·k = 10."""
    epochs = bench.settings.epochs
    third = max(1, epochs // 3)
    ways = {
        "β from the start": Teaching(),
        f"masks of iba in the first {third} of {epochs} epochs, then β": Teaching(epochs=third),
        f"nothing but masks of iba, {epochs} epochs": Teaching(epochs=epochs),
        f"β grows over {epochs // 2} of {epochs} epochs": Teaching(ramp=epochs // 2),
    }
    for name, way in ways.items():
        bench.measure(name, partial(bench.readout, 10.0, way))


def pairs(split: Split) -> Iterator[tuple[Tensor, list[int]]]:
    """Two neighbouring scenes of different classes side by side, and their classes from left to right."""
    for i in range(0, len(split.labels) - 1, 2):
        classes = [int(split.labels[i]), int(split.labels[i + 1])]
        if classes[0] != classes[1]:
            yield torch.cat([split.images[i], split.images[i + 1]], 2), classes


def classes(bench: Bench) -> None:
    """Two scenes side by side, each class asked for in turn: bits in its half; and how often the class of a single one holds."""
    images, asked = zip(*pairs(bench.test), strict=True)
    batch = torch.stack(images)

    def show(name: str, made: Callable[[], IBA]) -> None:
        if bench.stored.has(name, len(bench.test.labels) - 1):
            return
        method, shares, held = made(), [], []
        for half in (0, 1):
            found = method.explain(batch, [names[half] for names in asked])
            assert found.evidence is not None
            width = found.map.shape[2] // 2
            shares.append(found.map[:, :, half * width : (half + 1) * width].sum((1, 2)) / found.map.sum((1, 2)))
            held.append(found.evidence.under_noise)
        alone = restricted_accuracy(method, bench.test.images, bench.test.labels).top1
        asked_for = {"share of the bits in its half": torch.cat(shares), "its probability under noise": torch.cat(held)}
        for found_of in (asked_for, {"top-1 on single scenes": alone}):
            bench.stored.add_all(name, found_of)

    if bench.seeds:
        show("readout, as in the paper", partial(bench.readout, 1.0))
    show("iba", partial(bench.iba, 1.0))
    show("the bundled readout", partial(ReadoutIBA, bench.model, weights=READOUT))
    for paired in (False, True):
        for seed in bench.seeds:
            name = f"conditional, {'pairs' if paired else 'single scenes'}, seed {seed}"
            show(name, partial(bench.told, seed, paired=paired))


def cost(stored: Stored, model: str, weights: str) -> None:
    """Seconds for one map, without evidence, in seven turns. What is in the image does not matter for it."""
    loaded = load_model(model)
    shape = loaded.preprocess(Image.new("RGB", (512, 512))).shape
    images = torch.randn(16, *shape, generator=torch.Generator().manual_seed(0))
    readout = ReadoutIBA(loaded.model, weights=weights)
    iba = IBA(loaded.model, readout.probe.name).fit_statistics([images])
    methods: dict[str, IBA] = {"iba, 10 steps x 10 copies": iba, "readout": readout}
    turns: dict[str, Callable[[], object]] = {"clean pass": lambda: loaded.model(images[:1])}
    for name, method in methods.items():
        turns[name] = partial(method.explain, images[:1], evidence_samples=0)
    for turn in range(8):
        for name, run in turns.items():
            start = time.process_time()
            with torch.no_grad():
                run()
            if turn:  # the first one finds out how the network is called
                taken = {"milliseconds": 1000 * (time.process_time() - start)}
                stored.add(f"{loaded.name}: {name}", turn - 1, taken)


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the rows")
    parser.add_argument("--betas", type=float, nargs="*")
    parser.add_argument("--teaching", action="store_true")
    parser.add_argument("--classes", action="store_true")
    parser.add_argument("--cost", nargs=2, metavar=("MODEL", "READOUT"))
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3, help="readouts of each kind with --classes; 0 trains none")
    parser.add_argument("--scenes", type=Path, help="folder that keeps the drawn scenes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.cost:
        cost(Stored(arguments.out), *arguments.cost)
        return
    bench = Bench(arguments)
    if arguments.betas is not None:
        betas(bench, arguments.betas)
    for name, run in (("teaching", teaching), ("classes", classes)):
        if getattr(arguments, name):
            run(bench)


if __name__ == "__main__":
    main()
