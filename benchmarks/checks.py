"""What it costs that nothing is guessed: `IBA.explain` with and without the checks, printed as a table.

    python benchmarks/checks.py                # ResNet-50 at layer2, random weights, 1 image and 8
    python benchmarks/checks.py --repeats 9 --images 1

The first call of a bottleneck measures how the features lie, whether anything goes round the layer, whether passes repeat and
samples mix; every later call knows. Without the checks the layout is guessed from shapes, as version 0.1.0 did. That a replayed
pass agrees with the full one is checked in both. Calls with and without come in pairs, one right after the other and in turns the
one or the other first, and the table has the median of what a call costs more than its partner. Seconds are the processor's. The
operations of PyTorch that a call makes are counted as well: they are the same on every machine, whatever else it does.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
import torchvision
from torch.utils._python_dispatch import TorchDispatchMode

import bitlens
from bitlens.bottlenecks.paths import check_paths, warn_if_unread
from bitlens.core.inputs import ModelInputs
from bitlens.core.layout import detect_layout
from bitlens.core.statistics import FeatureStatistics
from bitlens.errors import BitlensWarning
from bitlens.probe.geometry import Geometry
from bitlens.probe.pictured import pictured

LAYER, SIZE = "layer2", 224


class Counting(TorchDispatchMode):
    """Count the operations of PyTorch within the block."""

    count = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return operation(*args, **(kwargs or {}))


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


def made(known: FeatureStatistics) -> bitlens.IBA:
    """Make a network and a bottleneck of which nothing is known yet."""
    torch.manual_seed(0)
    return bitlens.IBA(torchvision.models.resnet50(weights=None).eval(), LAYER, statistics=known)


def timed(iba: bitlens.IBA, images: torch.Tensor, *, checks: bool) -> float:
    """Return seconds of the processor for a call."""
    with nullcontext() if checks else without_checks():
        begin = time.process_time()
        iba.explain(images, 7)
        return time.process_time() - begin


def counted(iba: bitlens.IBA, images: torch.Tensor, *, checks: bool) -> int:
    """Return how many operations a call makes."""
    with nullcontext() if checks else without_checks(), Counting() as counting:
        iba.explain(images, 7)
    return counting.count


def pairs(
    known: FeatureStatistics, images: torch.Tensor, repeats: int, *, again: bool
) -> Iterator[tuple[float, float]]:
    """Yield seconds with and without checks, of two first calls, or of two calls that are not."""
    both = {checks: made(known) for checks in (True, False)}
    if again:
        for checks, iba in both.items():
            timed(iba, images, checks=checks)
    for turn in range(repeats):
        found = {}
        for checks in (True, False) if turn % 2 else (False, True):
            found[checks] = timed(both[checks] if again else made(known), images, checks=checks)
        yield found[True], found[False]


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


def row(name: str, found: list[tuple[float, float]]) -> str:
    """Write a row of the table: medians, and the median and the middle half of what a call costs more than its partner."""
    ours, plain = zip(*found, strict=True)
    more = sorted(a / b - 1 for a, b in found)
    low, high = more[len(more) // 4], more[-1 - len(more) // 4]
    times = f"{statistics.median(ours):.2f} s | {statistics.median(plain):.2f} s"
    return f"| {name} | {times} | {statistics.median(more):+.1%} | {low:+.1%} to {high:+.1%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    warnings.simplefilter("ignore", BitlensWarning)
    torch.manual_seed(0)
    network = torchvision.models.resnet50(weights=None).eval()
    iba = bitlens.IBA(network, LAYER).fit_statistics([torch.randn(8, 3, SIZE, SIZE)], granularity="channel")
    print("| images | call | with checks | without | more | half of the pairs |\n|---|---|---|---|---|---|")
    for count in given.images:
        images = torch.randn(count, 3, SIZE, SIZE)
        for call in ("first", "later"):
            found = list(pairs(iba.statistics, images, given.repeats, again=call == "later"))
            print(row(f"{count} | {call}", found), flush=True)
    one, said = torch.randn(1, 3, SIZE, SIZE), []
    both = {checks: made(iba.statistics) for checks in (True, False)}
    for call in ("first", "later"):
        ours, plain = (counted(both[checks], one, checks=checks) for checks in (True, False))
        said.append(f"{ours:,} in the {call} call ({plain:,} without checks)")
    print(f"\nOperations for one image: {'; '.join(said)}.")
    print(f"All checks of a later call: {again(iba, one):.2f} ms")


if __name__ == "__main__":
    main()
