"""How long metrics take, beside Quantus on the same work: the same network, images, maps, tiles and replacement.

    python benchmarks/metrics_speed.py                                   # the bundled network, 96 x 96
    python benchmarks/metrics_speed.py --networks squeezenet1_0 mobilenet_v2 --regions 9

Degradation is Quantus' RegionPerturbation in both orders, deletion its PixelFlipping; both replace by zero. Results must
agree to 1e-4 in float32. Quantus runs with its default batch size of 64 and with a smaller one, which suits CPUs better.
The floor is the network alone in float32, batch norm folded and channels last, for as many rows as bitlens sends through it:
no metric can be faster that asks for as many.
Times are CPU time, taken in turn, the least of all turns: other work on the machine counts little. They are given for one
pass of one image, since insertion comes with deletion here and not there. On top of them, Quantus makes a pass for every
tile: 1,568 for the degradation of one image with 784 tiles, where the 100 points of the paper need 197.
Weights of torchvision's networks are random: the time does not depend on them.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from bitlens.metrics import degradation, insertion_deletion
from bitlens.models.builtin.scenes import scenes
from bitlens.probe import Network

SIZES = {"scenes": 96, "default": 192}  # Quantus wants steps of whole pixels that divide their number
SMALLER_BATCH, ROWS = 8, 16
LOOSE = ("auto", "floor")  # what is not, or not to 1e-4, the same as in float32
Job = Callable[[], "np.ndarray"]


@dataclass(frozen=True)
class Work:
    """What is computed on one network."""

    model: nn.Module
    images: Tensor
    labels: np.ndarray
    maps: Tensor
    regions: int

    @property
    def side(self) -> int:
        """Of a region, in pixels."""
        return self.images.shape[-1] // int(self.regions**0.5)

    @property
    def pixels(self) -> int:
        """In one step of deletion, which takes as many steps as there are regions."""
        return self.images.shape[-1] ** 2 // self.regions


def work_for(name: str, count: int, regions: int) -> Work:
    torch.manual_seed(0)
    size = SIZES.get(name, SIZES["default"])
    model = scenes()[0] if name == "scenes" else torchvision.models.get_model(name, weights=None).eval()
    images, maps = torch.randn(count, 3, size, size), torch.randn(count, size, size)
    labels = torch.randint(0, model(images[:1]).shape[1], (count,)).numpy()
    return Work(model, images, labels, maps, regions)


def our_degradation(work: Work, precision: str) -> Job:
    def run() -> np.ndarray:
        found = degradation(
            work.model,
            work.images,
            torch.from_numpy(work.labels),
            work.maps,
            work.side,
            points=work.regions + 1,
            replacement="zero",
            precision=precision,
        )
        return torch.stack([found.morf, found.lerf])[:, :, 1:].numpy()

    return run


def our_deletion(work: Work, precision: str) -> Job:
    def run() -> np.ndarray:
        found = insertion_deletion(
            work.model,
            work.images,
            torch.from_numpy(work.labels),
            work.maps,
            points=work.regions,
            start="zero",
            precision=precision,
        )
        return found.deletion[:, 1:].numpy()

    return run


def floor(work: Work, passes: int) -> Job:
    """The network alone, for so many rows."""
    network = Network(work.model)
    rows = network.prepared(work.images[:ROWS].contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def run() -> np.ndarray:
        with network.running(rows) as answers:
            return np.stack([answers(rows.first).numpy() for _ in range(passes // ROWS)])

    return run


def quantus_regions(work: Work, batch_size: int) -> Job:
    import quantus

    clean = torch.cat([work.model(part).softmax(1) for part in work.images.split(16)]).detach().numpy()
    clean = clean[np.arange(len(work.labels)), work.labels]

    def run() -> np.ndarray:
        both = []
        for order in ("morf", "lerf"):
            metric = quantus.RegionPerturbation(
                patch_size=work.side,
                regions_evaluation=work.regions,
                order=order,
                perturb_baseline=0.0,
                normalise=False,
                abs=False,
                disable_warnings=True,
            )
            both.append(call(metric, work, batch_size))
        return clean[:, None] - np.stack(both)

    return run


def quantus_pixels(work: Work, batch_size: int) -> Job:
    import quantus

    metric = quantus.PixelFlipping(
        features_in_step=3 * work.pixels, perturb_baseline=0.0, normalise=False, abs=False, disable_warnings=True
    )
    return lambda: call(metric, work, batch_size)


def call(metric: Callable[..., list[list[float]]], work: Work, batch_size: int) -> np.ndarray:
    return np.array(
        metric(
            work.model,
            work.images.numpy(),
            work.labels,
            work.maps[:, None].numpy(),
            softmax=True,
            channel_first=True,
            device="cpu",
            batch_size=batch_size,
        )
    )


def timed(jobs: dict[str, Job], repeats: int) -> dict[str, float]:
    """CPU seconds of every job, the least of all turns; results in float32 must agree."""
    reference = jobs["float32"]()
    least = dict.fromkeys(jobs, float("inf"))
    for _ in range(repeats):
        for name, run in jobs.items():
            begun = time.process_time()
            found = run()
            least[name] = min(least[name], time.process_time() - begun)
            largest = 0.0 if name in LOOSE else float(np.abs(found - reference).max())
            if largest > 1e-4:
                raise SystemExit(
                    f"{name} differs from bitlens in float32 by {largest:.2g}: these are not the same numbers"
                )
    return least


def report(title: str, seconds: dict[str, float], passes: dict[str, int]) -> dict[str, float]:
    print(f"{title}: ms of CPU time for one pass of one image, and how many times bitlens is faster")
    each = {name: 1e3 * value / passes[name] for name, value in seconds.items()}
    for name, value in each.items():
        ratios = "".join(
            f"   {ours} {value / each[ours]:5.1f}x" for ours in ("float32", "auto", "floor") if "quantus" in name
        )
        print(f"  {name:22s} {value:8.2f} ms{ratios}", flush=True)
    return each


def main() -> None:
    """Read the arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["scenes"], help="scenes, or names of torchvision's networks")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--regions", type=int, default=144, choices=(9, 36, 144, 576))
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")  # Quantus warns of every tile whose replacement is close to what was there
    results = {}
    for name in arguments.networks:
        work = work_for(name, arguments.images, arguments.regions)
        for metric, ours, theirs, curves in (
            ("degradation", our_degradation, quantus_regions, 2),  # both make two curves
            ("deletion", our_deletion, quantus_pixels, 1),
        ):
            jobs = {
                "float32": ours(work, "float32"),
                "auto": ours(work, "auto"),
                "floor": floor(work, 2 * arguments.images * arguments.regions),
                f"quantus, batch {SMALLER_BATCH}": theirs(work, SMALLER_BATCH),
                "quantus, batch 64": theirs(work, 64),
            }
            title = f"{metric} on {name}, {work.images.shape[-1]} pixels"
            one = arguments.images * arguments.regions
            passes = {job: one * (curves if "quantus" in job else 2) for job in jobs}
            results[title] = report(title, timed(jobs, arguments.repeats), passes)
    if arguments.out:
        arguments.out.write_text(json.dumps({"threads": arguments.threads, "ms per pass": results}, indent=1))


if __name__ == "__main__":
    main()
