"""What an evaluation on a Ray cluster costs and gains on this machine, and what a large table is made of.

    python benchmarks/cluster.py scaling             # the same evaluation by one process, one worker and two (some minutes)
    python benchmarks/cluster.py overhead            # what an item costs on its way when there is nothing to do
    python benchmarks/cluster.py parts --device cuda # decoding, passes, rows: what the arithmetic of docs/scale.md stands on

Workers have one core each, and so has the single process. Starting is told apart: it is paid once, whatever the number of
samples. Only ratios of one run mean something, and only on a machine that does nothing else.
"""

import argparse
import io
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from bitlens.system.memory import keep_freed_memory

METHODS = "iba,gradient,grad-cam"
METRICS = "degradation-8,insertion,mass-inside"


def scaling(samples: int, counts: Sequence[int]) -> None:
    """Photos of the bundled scenes a second, after the first of each worker."""
    keep_freed_memory()  # as the command line and the workers do
    first = 0.0
    for count in (0, *counts):
        seconds, starting = evaluated(samples, count)
        first = first or seconds
        name = "one process" if count == 0 else f"{count} worker{'s' if count > 1 else ''}"
        rate = f"{samples / seconds:6.2f} photos/s   {first / seconds:5.2f} of one process"
        print(f"{name:12s} {rate}   ({starting:.1f} s to start)", flush=True)


def evaluated(samples: int, count: int) -> tuple[float, float]:
    """Seconds of the evaluation, and seconds before its first sample."""
    from contextlib import nullcontext

    from bitlens.evaluation.context import open_context
    from bitlens.evaluation.measures import read_metrics
    from bitlens.evaluation.on_workers import evaluates_on
    from bitlens.evaluation.plan import Plan
    from bitlens.evaluation.run import carry_out, find_tasks, select_samples
    from bitlens.methods.naming import read_methods
    from bitlens.workers import open_workers

    plan = Plan("builtin/scenes", "builtin:scenes", read_methods(METHODS), read_metrics(METRICS), statistics_count=64)
    times = []
    with tempfile.TemporaryDirectory() as folder, open_workers("ray", count) if count else nullcontext() as workers:
        out = Path(folder)
        context = open_context(plan, out, "cpu", lambda *_: None)
        warm = max(1, 2 * count)  # the first of each worker loads and compiles
        tasks = find_tasks(context, out, select_samples(1000, limit=samples + warm))
        engine = evaluates_on(workers) if workers is not None else None
        begun = time.perf_counter()
        carry_out(context, out, tasks, engine=engine, advance=lambda: times.append(time.perf_counter()))
    return times[-1] - times[warm - 1], times[0] - begun


def overhead(items: int, counts: Sequence[int]) -> None:
    """What this process's processor spends on an item that nothing is done with: it bounds how many workers it can keep busy."""
    from bitlens.workers import open_workers

    for count in counts:
        with open_workers("ray", count) as workers:
            times = [time.process_time() for _ in workers.carry_out(nothing, range(items))]
        each = (times[-1] - times[items // 10]) / (len(times) - items // 10)
        print(f"{count} workers: {each * 1e3:.2f} ms for an item, so at most {1 / each:,.0f} items/s", flush=True)


def nothing(_device: str) -> Callable[[int], int]:
    return abs


def parts(network: str, device: str) -> None:
    """Decoding a photo, a forward pass, writing a row."""
    import torch
    import torchvision
    from PIL import Image

    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (94, 125, 3), dtype=np.uint8)).resize(
        (500, 375), Image.Resampling.BICUBIC
    )
    coarse.save(photo := io.BytesIO(), "jpeg", quality=95)
    prepare = torchvision.models.ResNet50_Weights.DEFAULT.transforms()
    seconds = per_call(lambda: prepare(Image.open(photo).convert("RGB")), time.process_time)
    print(
        f"decode and prepare a photo of 500x375 ({len(photo.getvalue()) / 1e3:.0f} kB): {seconds * 1e3:.1f} ms of a core"
    )
    model = torchvision.models.get_model(network, weights=None).eval().to(device)
    rows = 256 if device == "cuda" else 8
    images = torch.randn(rows, 3, 224, 224, device=device)

    def forward() -> None:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            model(images).sum().item()

    rate = rows / per_call(forward, time.perf_counter if device == "cuda" else time.process_time)
    print(f"{network}: {rate:,.1f} forward passes/s of a {'GPU' if device == 'cuda' else 'core'}")
    with tempfile.TemporaryDirectory() as folder:
        written = list(row_costs(Path(folder), rng))
    print(f"a row with a curve of 99 points: {written[0]}; without: {written[1]}")


def row_costs(folder: Path, rng: np.random.Generator) -> Iterator[str]:
    """Bytes on disk and processor time of rows as degradation and the box ratio leave them."""
    from bitlens.evaluation.rows import Row, RowWriter

    with RowWriter(folder / "first") as writer:
        writer.add([Row(0, "", "", "iba", "m")])
    for points in (99, 0):
        place, count = folder / str(points), 10_000
        curves = np.cumsum(rng.random((count, 2, points), np.float32), -1)
        x = np.linspace(0, 1, points, dtype=np.float32)
        begun = time.process_time()
        with RowWriter(place) as writer:
            for i, (upper, lower) in enumerate(curves):
                about = {
                    "target": i % 1000,
                    "predicted": i % 7,
                    "probability": i / count,
                    "value": float(np.sin(i)),
                    "scale": i / 3,
                }
                writer.add(
                    [Row(i, f"{i:08d}.JPEG", f"{i * 7919:016x}", "iba", "m", **about, x=x, upper=upper, lower=lower)]
                )
        each = (time.process_time() - begun) / count
        size = sum(path.stat().st_size for path in place.iterdir()) / count
        yield f"{size:,.0f} bytes, {each * 1e6:.0f} µs"


def per_call(call: Callable[[], object], clock: Callable[[], float], least: float = 1.0) -> float:
    """Seconds of a call, the shortest of some: others on the machine only add."""
    call()
    times: list[float] = []
    while sum(times) < least or len(times) < 3:
        begun = clock()
        call()
        times.append(clock() - begun)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("scaling", "overhead", "parts"))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--samples", type=int, default=40, help="of scaling")
    parser.add_argument("--items", type=int, default=2000, help="of overhead")
    parser.add_argument("--network", default="resnet50", help="of parts")
    parser.add_argument("--device", default="cpu", help="of parts")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by PyTorch, which is imported later
    warnings.simplefilter("ignore")
    if arguments.what == "scaling":
        scaling(arguments.samples, arguments.workers)
    elif arguments.what == "overhead":
        overhead(arguments.items, arguments.workers)
    else:
        parts(arguments.network, arguments.device)


if __name__ == "__main__":
    main()
