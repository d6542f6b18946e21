"""How the time of a map grows with images, image size, steps, noise samples and the depth of the layer.

    python benchmarks/scaling.py                   # ResNet-50, random weights, float32

Each line is the median of several runs taken in turn, divided by the first line of its block.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import torch
import torchvision

from bitlens import IBA
from bitlens.errors import BitlensWarning
from bitlens.system.memory import keep_freed_memory

IMAGES = (1, 2, 4, 8, 16)
SIZES = (96, 160, 224, 320)
STEPS = (5, 10, 20, 40)
SAMPLES = (1, 2, 5, 10, 20)
LAYERS = ("layer1", "layer2", "layer3", "layer4")


def blocks(network: str) -> dict[str, dict[str, Callable[[], object]]]:
    """What is timed, by what grows."""
    model = torchvision.models.get_model(network, weights=None).eval()

    def job(
        layer: str = "layer2", count: int = 1, size: int = 224, steps: int = 10, samples: int = 2
    ) -> Callable[[], object]:
        iba = IBA(model, layer, steps=steps, noise_samples=samples, precision="float32")
        iba.fit_statistics([torch.randn(2, 3, size, size)], granularity="channel")
        images = torch.randn(count, 3, size, size)
        return lambda: iba.explain(images, 7, evidence_samples=0)

    return {
        "images": {str(n): job(count=n) for n in IMAGES},
        "side of the image": {str(n): job(size=n) for n in SIZES},
        "steps": {str(n): job(steps=n) for n in STEPS},
        "noise samples": {str(n): job(samples=n) for n in SAMPLES},
        "layer": {name: job(layer=name) for name in LAYERS},
    }


def main() -> None:
    """Measure every block in turn, print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", BitlensWarning)  # statistics from two random images: only the time matters
    keep_freed_memory()
    for block, jobs in blocks(arguments.network).items():
        seconds: dict[str, list[float]] = {name: [] for name in jobs}
        for turn in range(arguments.repeats + 1):
            for name, run in jobs.items():
                begun = time.perf_counter()
                run()
                if turn:  # the first turn warms up
                    seconds[name].append(time.perf_counter() - begun)
        median = {name: statistics.median(times) for name, times in seconds.items()}
        first = next(iter(median.values()))
        print(f"{arguments.network}, {block}")
        for name, value in median.items():
            print(f"  {name:>8s} {value:8.2f} s   {value / first:6.2f}", flush=True)


if __name__ == "__main__":
    main()
