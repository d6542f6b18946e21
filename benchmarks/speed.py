"""How long a map takes: ratios measured alternately in one process, printed as one table.

    make bench                                     # ResNet-50 at layer2 and VGG-16 at features.17, random weights
    make bench-check                               # ResNet-50 alone: fails if a ratio fell by a tenth below those in ranges.json
    python benchmarks/speed.py --networks resnet50 --repeats 5 --out bench.json

Compared, per image of 224 x 224, with the evidence that people get:
  official      the released procedure, restated (benchmarks/official.py), which takes one image at a time
  float32       bitlens, quality "paper", float32
  auto          bitlens, quality "paper", bfloat16 behind the layer where the hardware multiplies it natively
  fast          bitlens, quality "fast", precision "auto";  fast-float32: the same in float32
  keep          bitlens, keep=0.9, quality "fast", precision "auto", statistics of the image's own
  ... x8        the same for eight images in one call, seconds for each
  captum-*      Captum's IntegratedGradients (50 steps), NoiseTunnel of Saliency (50), Occlusion 14x14, LayerGradCam
The floor of a map is what its passes behind the layer cost alone, forward and backward for those that fit it and forward for its
evidence, as many rows at once as it has them. Weights are random: time does not depend on them. Seconds are those of the clock,
or with `--clock processor` of all threads together, which other work on the machine changes less.
"""

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ranges
import torch
import torchvision
from official import official_procedure
from torch import Tensor

from bitlens import IBA
from bitlens.core.passes import in_precision, memory_format, suffix_dtype
from bitlens.errors import BitlensWarning
from bitlens.system.memory import keep_freed_memory

LAYERS = {"resnet50": "layer2", "vgg16": "features.17"}
MANY, ROWS = 8, 16
TARGET = 7
LONG = ("official", "float32 x8")  # what needs no run to warm up
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


@dataclass(frozen=True)
class Job:
    """Something that is timed, and for how many images it works; the floor of it is timed as well, if it has one."""

    run: Callable[[], object]
    images: int = 1
    floor: Callable[[], object] | None = None


def jobs_for(name: str, wanted: set[str], *, floors: bool) -> dict[str, Job]:
    """What is timed on one network."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    layer = LAYERS[name]
    images = torch.randn(MANY, 3, 224, 224)
    learnt = IBA(model, layer).fit_statistics([torch.randn(8, 3, 224, 224)], granularity="channel").statistics
    made = {
        "float32": IBA(model, layer, statistics=learnt, precision="float32"),
        "auto": IBA(model, layer, statistics=learnt),
        "fast": IBA(model, layer, statistics=learnt, quality="fast"),
        "fast-float32": IBA(model, layer, statistics=learnt, quality="fast", precision="float32"),
        "keep": IBA(model, layer, quality="fast", keep=0.9),
    }
    noise, module = learnt.noise(made["float32"].noise), model.get_submodule(layer)
    jobs: dict[str, Job] = {
        "official": Job(lambda: official_procedure(model, module, images[:1], TARGET, noise.mean, noise.std)),
        **{name: Job(run) for name, run in captum_jobs(model, images[:1], TARGET).items()},
    }
    for called, iba in made.items():
        for count, mark in ((1, ""), (MANY, f" x{MANY}")):
            few = images[:count]
            floor = floor_of(iba, few, proof=iba.proof) if floors and iba.keep is None else None
            jobs[called + mark] = Job(lambda iba=iba, few=few: iba.explain(few, TARGET), count, floor)
    return {job: run for job, run in jobs.items() if not wanted or job in wanted}


def floor_of(iba: IBA, images: Tensor, *, proof: int) -> Callable[[], None]:
    """Return the passes behind the layer that fit the maps of these images, and forward ones for a proof of so many noises."""
    recording = iba.probe.record(images, check=False)
    layout = iba.geometry(iba.read(images, None).inputs).layout
    dtype = suffix_dtype(iba.precision, recording.features, iba.model)
    features = recording.features.contiguous(memory_format=memory_format(recording.features, dtype, layout))
    at_once = max(1, ROWS // len(images))

    def batches(copies: int) -> list[Tensor]:
        return [features.repeat(min(at_once, copies - i), 1, 1, 1) for i in range(0, copies, at_once)]

    def passes() -> None:
        with recording.suffix(dtype, packed=True) as suffix:
            run = in_precision(suffix, dtype, recording.features, layout)
            for step in range(iba.fit.updates):
                for z in batches(iba.fit.copies_at(step)):
                    torch.autograd.grad(run(z.requires_grad_())[:, TARGET].float().sum(), z)
            with torch.no_grad():
                for z in batches(proof):
                    run(z)

    return passes


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


def alternate(jobs: dict[str, Job], repeats: int, clock: Callable[[], float]) -> dict[str, dict[str, float]]:
    """Median seconds for one image of every job and of its floor, in turn: what slows the machine slows all of them."""
    each = [(name, "seconds", job.run, job.images) for name, job in jobs.items()]
    each += [(name, "floor", job.floor, job.images) for name, job in jobs.items() if job.floor is not None]
    taken: dict[tuple[str, str], list[float]] = {}
    for turn in range(repeats + 1):
        for name, what, run, images in each:
            if turn == 0 and name in LONG:
                continue
            print(f"\rturn {turn}/{repeats}: {name:24s}", end="", flush=True)
            begun = clock()
            run()
            if turn:
                taken.setdefault((name, what), []).append((clock() - begun) / images)
    print("\r" + " " * 50 + "\r", end="")
    found: dict[str, dict[str, float]] = {name: {} for name in jobs}
    for (name, what), seconds in taken.items():
        found[name][what] = statistics.median(seconds)
    return found


def ratios_of(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """How many times cheaper than the released procedure each preset is."""
    official = found.get("official", {}).get("seconds")
    ours = {name: times["seconds"] for name, times in found.items() if "captum" not in name and name != "official"}
    return {name: official / seconds for name, seconds in ours.items()} if official else {}


def report(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return everything that was measured as one table, and what follows from it in words."""
    ratios = {network: ratios_of(found) for network, found in results.items()}
    rows: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for found in results.values() for name in found):
        rows[name] = []
        for network, found in results.items():
            seconds, floor = found[name]["seconds"], found[name].get("floor")
            ratio = ratios[network].get(name)
            rows[name] += [
                f"{seconds:.2f} s", f"{ratio:.1f} x" if ratio else "", f"{seconds / floor:.2f}" if floor else "",
            ]  # fmt: skip
    titles = [title for network in results for title in (network, "cheaper", "/ floor")]
    return "\n".join([ranges.table(rows, titles), *(words for n, f in results.items() if (words := in_words(n, f)))])


def in_words(network: str, found: dict[str, dict[str, float]]) -> str:
    """Say what "fast" costs beside the methods of Captum that were timed."""
    fast = found.get(f"fast x{MANY}", {}).get("seconds")
    others = {name: times["seconds"] for name, times in found.items() if "captum" in name}
    if fast is None or not others:
        return ""
    beside = (
        f"{s / fast:.1f} times cheaper than {n}" if s > fast else f"{fast / s:.1f} times as dear as {n}"
        for n, s in others.items()
    )
    return f'{network}: an image of "fast" with {MANY} in a call is {", ".join(beside)}.'


def main() -> None:
    """Read the arguments, measure, print, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(LAYERS), choices=list(LAYERS))
    parser.add_argument("--jobs", nargs="*", default=[])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--no-floors", action="store_true", help="leave the floors out: half the time")
    parser.add_argument("--keep-memory", choices=["yes", "no"], default="yes")
    parser.add_argument("--check", action="store_true", help="fail if a ratio fell by a tenth below those stored")
    parser.add_argument("--store", action="store_true", help="widen the stored ranges by this run")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    if given.keep_memory == "yes":  # as the command line does
        keep_freed_memory()
    warnings.simplefilter("ignore", BitlensWarning)  # statistics from 8 random images: only the time matters
    load = f"{os.getloadavg()[0]:.1f} processes at work"
    results = {}
    for name in given.networks:
        jobs = jobs_for(name, set(given.jobs), floors=not given.no_floors)
        results[name] = alternate(jobs, given.repeats, CLOCKS[given.clock])
    print(f"{ranges.machine()}; {load} when it began")
    print(
        'Seconds for one image (median); "cheaper": times the released procedure takes; "/ floor": of its passes alone'
    )
    print(report(results))
    ratios = {network: ratios_of(found) for network, found in results.items()}
    if given.out:
        given.out.write_text(json.dumps({"machine": ranges.machine(), "load": load, "results": results}, indent=1))
    if given.store:
        ranges.store(ranges.widened(ratios, ranges.load()))
    if given.check and (worse := ranges.fallen(ratios, ranges.load())):
        raise SystemExit("these ratios fell by more than a tenth:\n  " + "\n  ".join(worse))


if __name__ == "__main__":
    main()
