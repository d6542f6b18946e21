"""What an explanation of a volume costs: seconds and memory of methods on a small 3-D ResNet, over sizes of the volume.

    python benchmarks/volumes.py                       # 32, 64, 96 and 128 voxels along each axis
    python benchmarks/volumes.py --sizes 128 --methods iba

Each cell runs in a process of its own, whose peak of memory is told, the network and the volume included; weights are random.
Seconds are by the clock, with the processor's beside them: on a busy machine the clock runs ahead. The last column says how both
grow with the number of voxels: the exponent between the two largest sizes, 1 if they grow in proportion.
"""

import argparse
import math
import multiprocessing
import resource
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import bitlens

METHODS = ("iba", "grad-cam", "gradient", "integrated-gradients", "occlusion-14", "input-iba")
SETTINGS: dict[str, dict[str, Any]] = {
    "iba": {"layer": "layer2", "keep": 0.9},
    "grad-cam": {},
    "occlusion-14": {"window": 16},
    "input-iba": {"layer": "layer2"},
}


class Block(nn.Module):
    """Two convolutions and a way round them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv3d(before, after, 3, stride, 1, bias=False), nn.BatchNorm3d(after)
        self.conv2, self.bn2 = nn.Conv3d(after, after, 3, 1, 1, bias=False), nn.BatchNorm3d(after)
        self.short = nn.Conv3d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (N, after, ...)."""
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(inner + self.short(x))


class ResNet(nn.Module):
    """A 3-D ResNet of three stages, for volumes (N, 1, D, H, W) of any size."""

    def __init__(self, width: int = 8, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(1, width, 5, 2, 2, bias=False), nn.BatchNorm3d(width), nn.ReLU())
        self.layer1, self.layer2 = Block(width, width, 1), Block(width, 2 * width, 2)
        self.layer3, self.fc = Block(2 * width, 4 * width, 2), nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes)."""
        logits: Tensor = self.fc(self.layer3(self.layer2(self.layer1(self.stem(x)))).mean((2, 3, 4)))
        return logits


@dataclass(frozen=True)
class Cost:
    """What one explanation took.

    Attributes:
        seconds: by the clock.
        processor: seconds of all cores.
        gigabytes: the process's peak.
    """

    seconds: float
    processor: float
    gigabytes: float


def measure(method: str, size: int, threads: int) -> Cost:
    """Explain one volume, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (method, size, threads))


def _measured(method: str, size: int, threads: int) -> Cost:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")  # of few places, of statistics: not what is measured
    network, volume = ResNet().eval(), torch.randn(1, 1, size, size, size)
    made = bitlens.method(method, network, **SETTINGS.get(method, {}))
    start, processor = time.perf_counter(), time.process_time()
    found = made.explain(volume, 1)
    assert found.map.shape == (1, size, size, size)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Cost(time.perf_counter() - start, time.process_time() - processor, peak / 2**30)


def _exponents(costs: Sequence[Cost], sizes: Sequence[int]) -> str:
    """Say how seconds of the processor and memory grow with the number of voxels between the two largest sizes."""
    if len(sizes) < 2:
        return "-"
    voxels = 3 * math.log(sizes[-1] / sizes[-2])
    grown = (math.log(costs[-1].processor / costs[-2].processor), math.log(costs[-1].gigabytes / costs[-2].gigabytes))
    return ", ".join(f"{value / voxels:.2f}" for value in grown)


def main() -> None:
    """Print the table, row by row."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 96, 128])
    options.add_argument("--methods", nargs="+", default=list(METHODS))
    options.add_argument("--threads", type=int, default=2)
    given = options.parse_args()
    heads = [f"{size}³" for size in given.sizes]
    print(f"| method | {' | '.join(heads)} | exponents (time, memory) |")
    print("|---" * (len(heads) + 2) + "|")
    for method in given.methods:
        costs = [measure(method, size, given.threads) for size in given.sizes]
        cells = [f"{c.seconds:.1f} s ({c.processor:.1f} s), {c.gigabytes:.2f} GB" for c in costs]
        print(f"| {method} | {' | '.join(cells)} | {_exponents(costs, given.sizes)} |", flush=True)


if __name__ == "__main__":
    main()
