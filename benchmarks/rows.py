"""Time and memory of results as they grow: synthetic rows through store and tables, each step in a process of its own (Linux).

    python benchmarks/rows.py                      # 1, 3 and 10 million rows; about 3 GB of disk and ten minutes
    python benchmarks/rows.py --millions 0.1 0.3   # a quick look

Ten methods by ten metrics; three of them have curves of 50 points; a hundredth of the rows are failures; of every
fiftieth sample there are two sets of rows, as two runs at once leave them. "write" makes them, "resume" finds out what is
missing, "table" makes the table with its paired tests, "curves" reads the curves of one metric. None of them may grow faster
than the rows: the last column is time for each row, over that of the smallest size. Times are those of the processor, so that
others on the machine do not count.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

METHODS = [f"method-{number}" for number in range(10)]
METRICS = ["degradation-8", "degradation-14", "insertion", "deletion", "sensitivity-n-8", "bbox", "ehr", "rank-auc",
           "pointing-game", "mass-inside"]  # fmt: skip
WITH_CURVES = METRICS[:3]
POINTS = 50
STEPS = ("write", "resume", "table", "curves")


def sample_rows(index: int, rng: np.random.Generator) -> Iterator:
    """All rows of one sample."""
    from bitlens.evaluation.rows import Row

    values = rng.normal(0.5, 0.1, (len(METHODS), len(METRICS)))
    failed = rng.random((len(METHODS), len(METRICS))) < 0.01
    curves = rng.random((len(METHODS), len(METRICS), 2, POINTS), np.float32)
    x = np.linspace(0, 1, POINTS, dtype=np.float32)
    about = {"target": index % 1000, "predicted": index % 1000 if index % 4 else 0, "probability": float(rng.random())}
    for m, method in enumerate(METHODS):
        for k, metric in enumerate(METRICS):
            key = (index, f"ILSVRC2012_val_{index:08d}.JPEG", f"{index:016x}", method, metric)
            if failed[m, k]:
                yield Row(*key, error=f"DataError: cannot read the annotation of sample {index}", **about)
                continue
            lines = {"x": x, "upper": curves[m, k, 0], "lower": curves[m, k, 1]} if metric in WITH_CURVES else {}
            yield Row(*key, value=float(values[m, k]), scale=0.8 if k < 2 else None, seconds=0.1, **lines, **about)


def write(folder: Path, samples: int) -> None:
    """What an evaluation leaves on disk."""
    from bitlens.evaluation.pinned import pin_settings
    from bitlens.evaluation.rows import RowWriter

    named = {"methods": {label: {} for label in METHODS}, "metrics": {label: {} for label in METRICS}}
    pin_settings(folder, {"model": "synthetic", "data": "synthetic", "samples": samples, "seed": 0, **named})
    rng = np.random.default_rng(0)
    with RowWriter(folder / "rows") as writer:
        for index in range(samples):
            writer.add(sample_rows(index, rng))
    with RowWriter(folder / "rows") as second:
        for index in range(0, samples, 50):
            second.add(sample_rows(index, rng))


def resume(folder: Path, samples: int) -> None:
    """Half as many samples again are wanted: those are missing, and nothing else."""
    from bitlens.evaluation.run import missing_tasks
    from bitlens.evaluation.store import RowStore

    done = RowStore(folder / "rows").done(failures=True)
    assert len(missing_tasks(done, range(samples + samples // 2), METHODS, METRICS)) == samples // 2


def table(folder: Path, samples: int) -> None:
    """As `bitlens table DIR` does."""
    from bitlens.evaluation.tables import build_table

    made = build_table(folder)
    assert made.samples == samples
    assert len(made.cells) == len(METHODS) * len(METRICS)
    assert all(cell.mean.count + cell.failures == samples for cell in made.cells.values())


def curves(folder: Path, samples: int) -> None:
    """As a plot of mean curves does."""
    from bitlens.evaluation.store import RowStore

    counted = sum(len(part) for _, part in RowStore(folder / "rows").curves(["insertion"]))
    assert 0.98 * samples * len(METHODS) < counted <= samples * len(METHODS)


def measured(step: str, folder: Path, samples: int) -> tuple[float, float]:
    """Seconds of the processor, and peak MiB of a process above one that has done nothing but import."""
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder), "--samples", str(samples)]
    seconds, memory = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), float(memory)


def run_step(step: str, folder: Path, samples: int) -> None:
    import bitlens.evaluation.run
    import bitlens.evaluation.tables  # noqa: F401  (what is imported is not what is measured)

    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    {"write": write, "resume": resume, "table": table, "curves": curves}[step](folder, samples)
    seconds = time.process_time() - begun
    print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def main() -> None:
    """Measure every step at every size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 3, 10])
    parser.add_argument("--folder", type=Path, help="where the rows go, and stay (default: a temporary folder)")
    parser.add_argument("--step", choices=STEPS, help="used by this program to measure one step")
    parser.add_argument("--samples", type=int, help="likewise")
    arguments = parser.parse_args()
    if arguments.step:
        run_step(arguments.step, arguments.folder, arguments.samples)
        return
    first: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for millions in arguments.millions:
            samples = round(millions * 1e6 / (len(METHODS) * len(METRICS)))
            folder = (arguments.folder or Path(temporary)) / f"{millions:g}"
            for step in STEPS:
                seconds, memory = measured(step, folder, samples)
                each = seconds / millions
                ratio = each / first.setdefault(step, each)
                print(
                    f"{millions:5g} million rows  {step:7s} {seconds:8.1f} s {memory:8.0f} MiB   {ratio:5.2f}",
                    flush=True,
                )
            files = list((folder / "rows").iterdir())
            size = sum(path.stat().st_size for path in files) / 2**30
            print(f"{millions:5g} million rows  {len(files):,} files, {size:.2f} GiB", flush=True)


if __name__ == "__main__":
    main()
