"""What a GPU makes of bitlens: maps per second, memory, and whether its maps are those of a CPU; one command, written as it goes.

    python benchmarks/gpu.py --out gpu.json                 # ResNet-50, VGG-16 and ViT-B/16, at most 8 minutes
    python benchmarks/gpu.py --device cpu --tiny --out tiny.json   # a small network, seconds: to see that the script works

For each network and 1, 16, 64 and 256 images in a call:
  floor       forward and backward of the suffix in bfloat16, channels last, for as many rows as "keep" fits with, and forward
              for those it looks and proves with: the least that its maps can cost
  floor-graph the same with the launches of a pass recorded and replayed as one (CUDA graphs)
  official    the released procedure, restated (benchmarks/official.py), one image at a time
  paper       quality "paper" in float32, with its evidence; paper-auto: precision "auto"
  fast        quality "fast", precision "auto", with its evidence; --compile: also fast-compiled, minutes of compiling
  keep        keep=0.9, statistics of the image's own, with its evidence;  keep-fast: quality "fast"
Then: the map of one image against that of the CPU in float64 under the same noise, the same map twice, degradation per second.
Needs torch, torchvision, numpy and safetensors. Weights are random: the time does not depend on them. Nothing new is begun after
the minutes that were given; what is too large for the memory, or fails, is written down as such, and the rest goes on.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from official import official_procedure
from torch import Tensor, nn

import bitlens
from bitlens.core import family
from bitlens.core.noise import NoisyCopies
from bitlens.errors import BitlensWarning
from bitlens.probe.recording import Recording
from bitlens.system.files import write_text

LAYERS = {"resnet50": "layer2", "vgg16": "features.17", "vit_b_16": "encoder.layers.encoder_layer_5"}
BATCHES = (1, 16, 64, 256)
LOOKED = 18  # rows that a map that holds is looked at and proven with
_LEAST, _MOST = 3, 20  # times that a job is timed
_LONG = 10.0  # seconds after which once is enough


class OnTheCPU(NoisyCopies):
    """Noise of the CPU's stream wherever it is needed, so that two devices can be compared."""

    def __init__(self, shape: torch.Size, seed: int, device: torch.device, **settings: Any) -> None:
        super().__init__(shape, seed, torch.device("cpu"), **settings)
        self.there = device

    def draw(self, count: int) -> Tensor:
        """Return the next noise on the device that asked for it."""
        return super().draw(count).to(self.there)


def small() -> nn.Module:
    """A network that takes no time."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 10),
    )  # fmt: skip


def wait(device: torch.device) -> None:
    """Let the device finish."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Bench:
    """Jobs on one device within a number of minutes, and what they gave.

    Args:
        device: where they run.
        seconds: that all of them may take.
        out: the file that is written after each.
    """

    def __init__(self, device: torch.device, seconds: float, out: Path | None) -> None:
        self.device, self.end, self.out = device, time.monotonic() + seconds, out
        self.failed = False
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        self.found: dict[str, Any] = {"device": name, "torch": torch.__version__, "bitlens": bitlens.__version__}

    def time(self, network: str, name: str, images: int, job: Callable[[], object]) -> None:
        """Time a job, after one run that is not counted: images per second, and the most memory it took."""
        place = self.found.setdefault(network, {}).setdefault(name, {})
        if time.monotonic() > self.end:
            place[str(images)] = "not begun: the minutes were over"
            return
        try:
            job()
            wait(self.device)
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.device)
            seconds = list[float]()
            while sum(seconds) < _LONG and (len(seconds) < _LEAST or (sum(seconds) < 1 and len(seconds) < _MOST)):
                begun = time.perf_counter()
                job()
                wait(self.device)
                seconds.append(time.perf_counter() - begun)
                if time.monotonic() > self.end:
                    break
            place[str(images)] = {
                "images_per_second": images / sorted(seconds)[len(seconds) // 2],
                "runs": len(seconds),
            }
            if self.device.type == "cuda":
                place[str(images)]["peak_gib"] = torch.cuda.max_memory_allocated(self.device) / 2**30
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            place[str(images)] = "more than the memory holds"
        except RuntimeError as error:
            place[str(images)] = f"failed: {error}"
            self.failed = True
        self.write()
        print(f"{network:10s} {name:14s} {images:4d} images: {place[str(images)]}", flush=True)

    def write(self) -> None:
        """Write what is known."""
        if self.out is not None:
            write_text(self.out, json.dumps(self.found, indent=1))


def floors(recording: Recording, rows: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """What the passes of a map cost alone: one after the other, and on a GPU as graphs, too.

    Args:
        recording: of the images.
        rows: of each that go forward and backward.
    """
    features, dtype = recording.features.contiguous(memory_format=channels_last(recording.features)), torch.bfloat16

    def there_and_back(run: Callable[..., Any], z: Tensor) -> None:
        torch.autograd.grad(run(z)[:, 0].float().sum(), z)

    def plain() -> None:
        with recording.suffix(dtype) as run, torch.autocast(features.device.type, dtype):
            for _ in range(rows):
                there_and_back(run, features.detach().requires_grad_())
            with torch.no_grad():
                for _ in range(LOOKED):
                    run(features)

    yield "floor", plain
    if features.is_cuda:
        with recording.suffix(dtype) as run, torch.autocast("cuda", dtype, cache_enabled=False):
            yield (
                "floor-graph",
                graphs_of(run, there_and_back, features, rows),
            )  # graphs read weights where they lie now


def graphs_of(
    run: Callable[..., Any], there_and_back: Callable[..., None], features: Tensor, rows: int
) -> Callable[[], None]:
    """Return the passes of a floor as two graphs, which the first call captures."""
    z = features.detach().clone().requires_grad_()
    graphs: list[torch.cuda.CUDAGraph] = []

    def capture() -> None:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # graphs are captured of what has run before
            for _ in range(3):
                there_and_back(run, z)
        torch.cuda.current_stream().wait_stream(aside)
        fitting, looking = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(fitting):
            there_and_back(run, z)
        with torch.cuda.graph(looking), torch.no_grad():
            run(z)
        graphs.extend((fitting, looking))

    def replayed() -> None:
        if not graphs:
            capture()
        for graph, times in zip(graphs, (rows, LOOKED), strict=True):
            for _ in range(times):
                graph.replay()

    return replayed


def channels_last(features: Tensor) -> torch.memory_format:
    """The order in memory that convolutions want in bfloat16."""
    return torch.channels_last if features.dim() == 4 else torch.contiguous_format


def jobs(model: nn.Module, layer: str, images: Tensor, *, compiled: bool) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is timed for so many images."""
    target = torch.zeros(len(images), dtype=torch.long)

    def method(**settings: Any) -> bitlens.IBA:
        return bitlens.IBA(model, layer, **settings)

    learnt = method().fit_statistics([images[:8]], granularity="channel").statistics
    holding = method(keep=0.9)
    recording = holding.probe.record(images)
    yield from floors(recording, holding.fit.passes)
    if len(images) == 1:
        noise = learnt.noise(method().noise).to(images.device)
        if recording.features.dim() == 4:
            module = model.get_submodule(layer)
            yield "official", lambda: official_procedure(model, module, images, 0, noise.mean, noise.std)
    presets: dict[str, dict[str, Any]] = {
        "keep": {"keep": 0.9},
        "keep-fast": {"keep": 0.9, "quality": "fast"},
        "fast": {"statistics": learnt, "quality": "fast"},
        "paper-auto": {"statistics": learnt},
        "paper": {"statistics": learnt, "precision": "float32"},
    }
    if compiled:
        presets["fast-compiled"] = presets["fast"] | {"compile": True}
    for name, settings in presets.items():
        made = method(**settings)
        yield name, lambda made=made: made.explain(images, target)


def compare(model: nn.Module, layer: str, image: Tensor) -> dict[str, float]:
    """The device's maps against that of the CPU in float64 under the same noise, and against themselves.

    In float32 with convolutions rounded to 10 bits, as GPUs do unless they are told not to, and without; and in bfloat16.
    """
    drawn, rounded = family.NoisyCopies, torch.backends.cudnn.allow_tf32
    family.NoisyCopies = OnTheCPU  # type: ignore[misc]

    def map_of(precision: str, tf32: bool, given: Tensor) -> Tensor:
        torch.backends.cudnn.allow_tf32 = tf32
        return bitlens.IBA(model, layer, precision=precision).explain(given, 0, evidence_samples=0).map

    found: dict[str, float] = {}
    try:
        kinds = {"float32": ("float32", False), "tf32": ("float32", True), "bfloat16": ("bfloat16", True)}
        there = {name: map_of(*how, image) for name, how in kinds.items()}
        again = {name: map_of(*how, image) for name, how in kinds.items()}
        model.cpu().double()
        exact = map_of("float32", False, image.cpu().double())
    finally:
        family.NoisyCopies, torch.backends.cudnn.allow_tf32 = drawn, rounded  # type: ignore[misc]
        model.float().to(image.device)
    for name, one in there.items():
        pair = torch.stack([one.flatten(), exact.flatten()])
        found[f"{name}: correlation with the CPU's map"] = float(torch.corrcoef(pair)[0, 1])
        found[f"{name}: bits over the CPU's"] = float(one.sum() / exact.sum())
        found[f"{name}: largest difference of two runs"] = float((one - again[name]).abs().max())
    return found


def judge(bench: Bench, name: str, model: nn.Module, layer: str, images: Tensor) -> None:
    """Compare maps with the CPU's, and time degradation."""
    bench.found[name]["compared"] = compare(model, layer, images[:1])
    print(name, bench.found[name]["compared"])
    maps, target = torch.rand(len(images), *images.shape[2:]), torch.zeros(len(images), dtype=torch.long)
    bench.time(
        name, "degradation", len(images), lambda: bitlens.metrics.degradation(model, images, target, maps, 8, points=16)
    )


def main() -> None:
    """Measure, print and write; see the top of this file."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    asked.add_argument("--minutes", type=float, default=8.0)
    asked.add_argument("--networks", nargs="+", default=list(LAYERS), choices=list(LAYERS))
    asked.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    asked.add_argument(
        "--tiny", action="store_true", help="a small network and few images, to see that the script works"
    )
    asked.add_argument("--compile", action="store_true", help="time a compiled suffix as well")
    asked.add_argument("--out", type=Path)
    given = asked.parse_args()
    warnings.simplefilter("ignore", BitlensWarning)
    device = torch.device(given.device)
    bench = Bench(device, 60 * given.minutes, given.out)
    for name in ["tiny"] if given.tiny else given.networks:
        torch.manual_seed(0)
        model, layer, size = (small(), "1", 32) if given.tiny else (_network(name), LAYERS[name], 224)
        model = model.eval().to(device)
        for count in (1, 2) if given.tiny else given.batches:
            images = torch.randn(count, 3, size, size, device=device)
            for job, run in jobs(model, layer, images, compiled=given.compile):
                bench.time(name, job, count, run)
        if time.monotonic() < bench.end:
            judge(bench, name, model, layer, torch.randn(2 if given.tiny else 16, 3, size, size, device=device))
        bench.write()
    if bench.failed:
        raise SystemExit("a job failed: see what is written of it")


def _network(name: str) -> nn.Module:
    import torchvision

    model: nn.Module = torchvision.models.get_model(name, weights=None)
    return model


if __name__ == "__main__":
    main()
