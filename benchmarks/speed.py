"""How long a map takes: ratios measured alternately in one process, printed as a table and written as JSON.

    make bench                                     # ResNet-50 at layer2 and VGG-16 at features.17, random weights
    python benchmarks/speed.py --networks resnet50 --repeats 5 --out bench.json

Compared, per image of 224 x 224 with 10 steps and 10 noise samples unless the preset says otherwise:
  official      the released procedure, restated (benchmarks/official.py), which takes one image at a time
  floor         the least that the same 10 x 10 samples can cost: forward and backward of the suffix alone, 10 times
  float32       bitlens, quality "paper", float32
  bfloat16      bitlens, quality "paper", bfloat16 behind the layer
  fast          bitlens, quality "fast", precision "auto";  fast-float32: the same in float32
  ... x8        the same for eight images in one call, seconds for each
  captum-*      Captum's IntegratedGradients (50 steps), NoiseTunnel of Saliency (50), Occlusion 14x14, LayerGradCam
Weights are random: the time does not depend on them.
"""

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from official import official_procedure

from bitlens import IBA
from bitlens.errors import BitlensWarning
from bitlens.system.memory import keep_freed_memory

LAYERS = {"resnet50": "layer2", "vgg16": "features.17"}
MANY = 8


@dataclass(frozen=True)
class Job:
    """Something that is timed, and for how many images it works."""

    run: Callable[[], object]
    images: int = 1


def jobs_for(name: str, wanted: set[str]) -> dict[str, Job]:
    """What is timed on one network."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    layer = LAYERS[name]
    images, target = torch.randn(MANY, 3, 224, 224), 7
    statistics_batch = torch.randn(8, 3, 224, 224)

    def bottleneck(**settings: object) -> IBA:
        return IBA(model, layer, **settings).fit_statistics([statistics_batch], granularity="channel")

    exact, low = bottleneck(precision="float32"), bottleneck(precision="bfloat16")
    fast, fast32 = bottleneck(quality="fast"), bottleneck(quality="fast", precision="float32")
    noise = exact.statistics.noise(exact.noise)
    recording = exact.probe.record(images[:1])

    def floor(rows: int, times: int) -> None:
        batch = recording.features.expand(rows, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        with recording.suffix() as run:
            for _ in range(times):
                z = batch.detach().requires_grad_()
                torch.autograd.grad(run(z)[:, target].sum(), z)

    def ours(name: str, iba: IBA) -> dict[str, Job]:
        return {
            name: Job(lambda: iba.explain(images[:1], target, evidence_samples=0)),
            f"{name} x8": Job(lambda: iba.explain(images, target, evidence_samples=0), MANY),
        }

    module = model.get_submodule(layer)
    jobs: dict[str, Job] = {
        "official": Job(lambda: official_procedure(model, module, images[:1], target, noise.mean, noise.std)),
        "floor": Job(lambda: floor(10, 10)),
        "floor x8": Job(lambda: floor(16, 50), MANY),
        **ours("float32", exact),
        **ours("bfloat16", low),
        **ours("fast", fast),
        **ours("fast-float32", fast32),
        **{name: Job(run) for name, run in captum_jobs(model, images[:1], target).items()},
    }
    return {job: run for job, run in jobs.items() if not wanted or job in wanted}


def captum_jobs(model: torch.nn.Module, image: torch.Tensor, target: int) -> dict[str, Callable[[], object]]:
    """Captum's methods on the same network, with its own defaults and a batch of 10 where it takes one."""
    from captum.attr import IntegratedGradients, LayerGradCam, NoiseTunnel, Occlusion, Saliency

    last = model.layer4 if hasattr(model, "layer4") else model.features
    gradients, smooth = IntegratedGradients(model), NoiseTunnel(Saliency(model))
    occlusion, cam = Occlusion(model), LayerGradCam(model, last)
    window = (3, 14, 14)
    return {
        "captum-ig-50": lambda: gradients.attribute(image, target=target, n_steps=50, internal_batch_size=10),
        "captum-smoothgrad-50": lambda: smooth.attribute(image, nt_samples=50, nt_samples_batch_size=10, target=target),
        "captum-occlusion-14": lambda: occlusion.attribute(
            image, window, strides=window, target=target, perturbations_per_eval=16
        ),
        "captum-grad-cam": lambda: cam.attribute(image, target=target),
    }


def alternate(jobs: dict[str, Job], repeats: int) -> dict[str, list[float]]:
    """Seconds for one image of every job, in turn, so that whatever slows the machine slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(repeats + 1):
        for name, job in jobs.items():
            if turn == 0 and name in ("official", "floor x8", "float32 x8"):
                continue  # the first turn only warms up, and these are long
            begun = time.perf_counter()
            job.run()
            if turn:
                seconds[name].append((time.perf_counter() - begun) / job.images)
            print(f"\rturn {turn}/{repeats}: {name:24s}", end="", flush=True)
    print("\r" + " " * 50 + "\r", end="")
    return seconds


def report(name: str, seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Print medians and ratios, and give them back."""
    median = {job: statistics.median(times) for job, times in seconds.items()}
    result = {}
    print(f"{name} at {LAYERS[name]}: seconds for one image (median), and how many times cheaper than the official one")
    for job, value in median.items():
        result[job] = {"seconds": value}
        line = f"  {job:22s} {value:8.2f} s"
        for reference in ("official", "captum-ig-50"):
            if reference in median:
                result[job][f"{reference}/this"] = median[reference] / value
        if "captum-ig-50" in median:
            line += f"   IG/this {median['captum-ig-50'] / value:6.2f}"
        if "official" in median:
            line += f"   official/this {median['official'] / value:7.1f}"
        floor = "floor x8" if job.endswith("x8") else "floor"
        if floor in median:
            line += f"   this/{floor} {value / median[floor]:6.2f}"
        print(line)
    return result


def main() -> None:
    """Read the arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(LAYERS), choices=list(LAYERS))
    parser.add_argument("--jobs", nargs="*", default=[])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--keep-memory", choices=["yes", "no"], default="yes")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.keep_memory == "yes":  # as the command line does
        keep_freed_memory()
    warnings.simplefilter("ignore", BitlensWarning)  # statistics from 8 random images: only the time matters
    results = {}
    for name in arguments.networks:
        results[name] = report(name, alternate(jobs_for(name, set(arguments.jobs)), arguments.repeats))
    if arguments.out:
        arguments.out.write_text(json.dumps({"threads": torch.get_num_threads(), "results": results}, indent=1))


if __name__ == "__main__":
    main()
