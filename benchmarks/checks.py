"""What it costs that nothing is guessed: `IBA.explain` with and without the checks, printed as a table.

    python benchmarks/checks.py                # ResNet-50 at layer2, random weights, 1 image and 8
    python benchmarks/checks.py --repeats 5 --images 1

Each turn makes the network and the bottleneck anew, with statistics from elsewhere, and explains twice: the first call
measures how the features lie, whether anything goes round the layer, whether passes repeat and samples mix; the second
knows. Without the checks the layout is guessed from shapes, as version 0.1.0 did. That a replayed pass agrees with the
full one is checked in both. Seconds are the processor's.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
import torchvision

import bitlens
from bitlens.bottlenecks.paths import check_paths, warn_if_unread
from bitlens.core.inputs import ModelInputs
from bitlens.core.layout import detect_layout
from bitlens.core.statistics import FeatureStatistics
from bitlens.errors import BitlensWarning
from bitlens.probe.geometry import Geometry
from bitlens.probe.pictured import pictured

Times = tuple[float, float]
LAYER, SIZE = "layer2", 224


@contextmanager
def without_checks() -> Iterator[None]:
    """Take the checks away within the block."""
    layout = detect_layout((512, SIZE // 8, SIZE // 8), (SIZE, SIZE))
    with ExitStack() as away:
        for name in ("check_paths", "warn_if_unread"):
            away.enter_context(patch(f"bitlens.bottlenecks.at_layer.{name}", lambda *_, **__: None))
        away.enter_context(patch("bitlens.bottlenecks.at_layer.pictured", lambda _, inputs: inputs))
        away.enter_context(patch("bitlens.probe.proving.check_behaviour", lambda *_, **__: None))
        away.enter_context(patch("bitlens.probe.probe.Probe.geometry", lambda *_: Geometry(layout)))
        yield


def measured(known: FeatureStatistics, images: torch.Tensor) -> Times:
    """Return seconds of the processor (others may use it too) for the first call and for the second."""
    torch.manual_seed(0)
    iba = bitlens.IBA(torchvision.models.resnet50(weights=None).eval(), LAYER, statistics=known)
    times = []
    for _ in range(2):
        begin = time.process_time()
        iba.explain(images, 7)
        times.append(time.process_time() - begin)
    return times[0], times[1]


def again(iba: bitlens.IBA, images: torch.Tensor) -> float:
    """Return milliseconds of all checks of a call that is not the first."""
    inputs = ModelInputs.of(images)
    for turns in (1, 20):
        begin = time.process_time()
        for _ in range(turns):
            pictured(iba.probe, inputs)
            check_paths(iba.probe, inputs, allowed=False)
            warn_if_unread(iba.probe, inputs, iba.probe.geometry(inputs).layout)
    return (time.process_time() - begin) / turns * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    warnings.simplefilter("ignore", BitlensWarning)
    torch.manual_seed(0)
    network = torchvision.models.resnet50(weights=None).eval()
    iba = bitlens.IBA(network, LAYER).fit_statistics([torch.randn(8, 3, SIZE, SIZE)], granularity="channel")
    print("| images | call | with checks | without | more |\n|---|---|---|---|---|")
    for count in given.images:
        images, turns = torch.randn(count, 3, SIZE, SIZE), []
        for _ in range(given.repeats):
            with without_checks():
                plain = measured(iba.statistics, images)
            turns.append((measured(iba.statistics, images), plain))
        for place, call in enumerate(("first", "second")):
            ours, plain_ones = ([turn[which][place] for turn in turns] for which in (0, 1))
            more = statistics.median(a / b for a, b in zip(ours, plain_ones, strict=True)) - 1
            times = f"{statistics.median(ours):.2f} s | {statistics.median(plain_ones):.2f} s"
            print(f"| {count} | {call} | {times} | {more:+.1%} |", flush=True)
    print(f"\nAll checks of a second call: {again(iba, torch.randn(1, 3, SIZE, SIZE)):.2f} ms")


if __name__ == "__main__":
    main()
