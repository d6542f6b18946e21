"""Readouts on the bundled scenes: prices of information, what a teacher and the asked class are worth, cost of a map.

    python benchmarks/readout.py --betas 0.1 1 10 100      table 4 of the paper: information and accuracy under noise
    python benchmarks/readout.py --teaching                    first epochs, or all, that learn masks of method iba
    python benchmarks/readout.py --classes                     two scenes side by side: bits in the half that is asked for
    python benchmarks/readout.py --cost                        seconds for a map, in turns, one scene at a time

Every readout is trained anew on `--train` scenes with `--epochs` epochs; measured are the first `--test` test scenes.
"iba" is the per-sample bottleneck with the paper's settings and the same statistics. `--scenes` names a file that keeps the
drawn scenes for the next time.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bitlens import IBA, ReadoutIBA
from bitlens.bottlenecks.readout_task import Teaching
from bitlens.data.scenes import Scenes
from bitlens.files import read_arrays, write_arrays
from bitlens.metrics import bounding_box_ratio, degradation, restricted_accuracy
from bitlens.models.builtin.scenes import LAYER, MEAN, READOUT, STD, scenes
from bitlens.training.settings import TrainingSettings

NATS = 0.6931472
RAMPED = 10.0  # from this price on a few hundred steps drive everything out, unless it grows


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
        self.model = scenes()[0]
        self.train = drawn("train", arguments.train, arguments.scenes)
        self.test = drawn("test", arguments.test, arguments.scenes)
        self.settings = TrainingSettings(epochs=arguments.epochs, learning_rate=2e-3, patience=0)
        self.statistics = IBA(self.model, LAYER).fit_statistics([self.train.images], granularity="channel").statistics

    def readout(self, beta: float, *, conditional: bool = False, ramp: int = 0, teaching: int = 0) -> ReadoutIBA:
        """A readout, trained."""
        made = ReadoutIBA(self.model, LAYER, beta=beta, conditional=conditional)
        began = time.perf_counter()
        data = [(self.train.images, self.train.labels)]
        done = made.fit_weights(data, self.settings, teaching=Teaching(ramp, teaching))
        seconds = time.perf_counter() - began
        last = {name: f"{value:.3f}" for name, value in done.rows[-1].held_out.items()}
        print(f"  trained β={beta:g} in {seconds:.0f} s, held out: {last}", flush=True)
        return made

    def iba(self, beta: float) -> IBA:
        """The per-sample bottleneck."""
        return IBA(self.model, LAYER, beta=beta, statistics=self.statistics)

    def line(self, name: str, method: IBA, *, degrade: bool = False) -> None:
        """Measure a method and print a row."""
        test = self.test
        found = restricted_accuracy(method, test.images, test.labels)
        maps = method.explain(test.images, test.labels, evidence_samples=0).map
        numbers = [
            f"{float(found.information.mean()):.4f}",
            f"{float(found.information.mean()) * NATS:.4f}",
            f"{float(found.top1.mean()):.3f}",
            f"{float(found.top5.mean()):.3f}",
            f"{float(bounding_box_ratio(maps, test.masks).mean()):.3f}",
        ]
        if degrade:
            numbers.append(f"{float(degradation(self.model, test.images, test.labels, maps, tile=8).score()):.3f}")
        print(f"| {name} | {' | '.join(numbers)} |", flush=True)


def betas(bench: Bench, prices: list[float]) -> None:
    """Table 4's columns for each price, and the per-sample bottleneck beside them; high prices grow in training."""
    print("| method | bits/feature | nats/feature | top-1 | top-5 | on object |")
    for beta in prices:
        ramp = bench.settings.epochs * 3 // 4 if beta >= RAMPED else 0
        bench.line(f"readout, β·k = {beta:g}", bench.readout(beta, ramp=ramp))
        bench.line(f"iba, β·k = {beta:g}", bench.iba(beta))


def teaching(bench: Bench) -> None:
    """Readouts that learnt masks of method iba in no epoch, in the first third, in all."""
    for epochs in (0, max(1, bench.settings.epochs // 3), bench.settings.epochs):
        bench.line(f"{epochs} of {bench.settings.epochs} epochs with the teacher", bench.readout(1.0, teaching=epochs))
    bench.line("iba", bench.iba(1.0))


def pairs(split: Split) -> Iterator[tuple[Tensor, list[int]]]:
    """Two neighbouring scenes of different classes side by side, and their classes from left to right."""
    for i in range(0, len(split.labels) - 1, 2):
        classes = [int(split.labels[i]), int(split.labels[i + 1])]
        if classes[0] != classes[1]:
            yield torch.cat([split.images[i], split.images[i + 1]], 2), classes


def classes(bench: Bench) -> None:
    """What share of the bits lies in the half whose class is asked for."""
    methods: dict[str, IBA] = {
        "readout": ReadoutIBA(bench.model, weights=READOUT),
        "readout, conditional": bench.readout(1.0, conditional=True, ramp=bench.settings.epochs // 2),
        "iba": bench.iba(1.0),
    }
    images, asked = zip(*pairs(bench.test), strict=True)
    batch = torch.stack(images)
    for name, method in methods.items():
        shares = []
        for half in (0, 1):
            wanted = [names[half] for names in asked]
            maps = method.explain(batch, wanted, evidence_samples=0).map
            width = maps.shape[2] // 2
            shares.append(maps[:, :, half * width : (half + 1) * width].sum((1, 2)) / maps.sum((1, 2)))
        share = torch.cat(shares)
        print(f"| {name} | {float(share.mean()):.3f} ± {float(share.std() / len(share) ** 0.5):.3f} |", flush=True)
    for name, method in methods.items():
        if name != "readout":
            bench.line(f"{name}, single scenes", method)


def cost(bench: Bench) -> None:
    """Seconds for one map, without evidence: the least of seven turns."""
    methods: dict[str, IBA] = {"readout": ReadoutIBA(bench.model, LAYER, beta=1.0), "iba, paper": bench.iba(1.0)}
    methods["readout"].fit_weights([bench.train.images[:64]], TrainingSettings(epochs=1))  # type: ignore[attr-defined]
    image, best = bench.test.images[:1], dict.fromkeys(methods, float("inf"))
    for turn in range(8):
        for name, method in methods.items():
            start = time.process_time()
            method.explain(image, 0 if name != "readout" else None, evidence_samples=0)
            if turn:  # the first one finds out how the network is called
                best[name] = min(best[name], time.process_time() - start)
    for name, seconds in best.items():
        print(f"| {name} | {seconds * 1000:.1f} ms | {best['iba, paper'] / seconds:.0f}x |")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--betas", type=float, nargs="+", default=[])
    parser.add_argument("--teaching", action="store_true")
    parser.add_argument("--classes", action="store_true")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--scenes", type=Path, help="folder that keeps the drawn scenes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(arguments)
    if arguments.betas:
        betas(bench, arguments.betas)
    for name, run in (("teaching", teaching), ("classes", classes), ("cost", cost)):
        if getattr(arguments, name):
            run(bench)


if __name__ == "__main__":
    main()
