"""What one photo alone pays beside eight that share their passes, and what for; printed as a table.

    python benchmarks/one.py                      # ResNet-50 at layer2, quality "fast", random weights
    python benchmarks/one.py --precision float32 --repeats 5

Seconds of the processor for one image, without evidence, medians of calls taken in turn: as it is, with the weights behind the
layer made ready anew in every call, and the floor: the passes behind the layer alone, as many rows at once as the map has them.
One photo's passes hold one to three rows, and every one of them reads all weights: that is what no call can save.
"""

import argparse
import statistics
import time
import warnings

import torch
import torchvision
from speed import LAYERS, MANY, TARGET, floor_of

from bitlens import IBA
from bitlens.errors import BitlensWarning
from bitlens.system.memory import keep_freed_memory


def forget(iba: IBA) -> None:
    """Let go of the weights that earlier calls made ready."""
    for replay in iba.probe._replays.values():
        replay.weights._made.clear()


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet50", choices=list(LAYERS))
    parser.add_argument("--precision", default="auto", choices=["auto", "float32"])
    parser.add_argument("--images", type=int, nargs="+", default=[1, MANY])
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    keep_freed_memory()
    warnings.simplefilter("ignore", BitlensWarning)
    torch.manual_seed(0)
    model = torchvision.models.get_model(given.network, weights=None).eval()
    images = torch.randn(max(MANY, *given.images), 3, 224, 224)
    iba = IBA(model, LAYERS[given.network], quality="fast", precision=given.precision)
    iba.fit_statistics([images], granularity="channel")
    floors = {count: floor_of(iba, images[:count], proof=0) for count in given.images}
    taken: dict[tuple[int, str], list[float]] = {}
    for turn in range(given.repeats + 1):
        for count in given.images:
            few = images[:count]
            for what in ("as it is", "made anew", "floor"):
                if what == "made anew":
                    forget(iba)
                begun = time.process_time()
                floors[count]() if what == "floor" else iba.explain(few, TARGET, evidence_samples=0)
                if turn:
                    taken.setdefault((count, what), []).append((time.process_time() - begun) / count)
    print("| images | as it is | made anew | floor |\n|---|---|---|---|")
    for count in given.images:
        cells = (f"{statistics.median(taken[count, what]):.2f} s" for what in ("as it is", "made anew", "floor"))
        print(f"| {count} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
