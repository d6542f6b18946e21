"""Tables of stored rows: a line for each method with the mean of each metric, and how much above it another method is.

    python tools/paired.py benchmarks/results/regions half=odd "order=best" "reference=iba[layer=layer4,smoothing=0]"

Rows are those of `bitlens evaluate` or of a benchmark (`benchmarks/stored.py`). Differences are paired by sample; on all samples
or on every other one, so that what is chosen on one half is reported on the other. A second seed of a method is no line of its
own but in its errors (`tools/seeded.py`).
"""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from bitlens.evaluation.paired import Mean, compare, mean_of
from bitlens.evaluation.store import RowStore, Series
from seeded import seed_variances, without_seed

HALVES = {"all": (0, 1), "even": (0,), "odd": (1,)}


def paired_table(folder: Path, half: str = "all", reference: str = "", order: str = "", metrics: str = "") -> str:
    """Return a line for each method.

    Args:
        folder: of the rows.
        half: all samples, or those at even or odd positions.
        reference: the method that others are compared with; none without.
        order: "best": the highest in the first metric first; else as they were measured.
        metrics: labels, separated by comma and space; all that were measured without.
    """
    found = {pair: _half_of(series, half) for pair, series in RowStore(folder / "rows").series().items()}
    apart = seed_variances(found)
    methods, known = _in_order(folder)
    methods = [name for name in methods if without_seed(name) not in {*methods} - {name}]
    shown = metrics.split(", ") if metrics else known
    if order == "best":
        methods.sort(key=lambda name: -mean_of(found[name, shown[0]]).mean)
    heads = [f"{metric.partition('[')[0]}{' | difference' * bool(reference)}" for metric in shown]
    lines = [f"| method | samples | {' | '.join(heads)} |", "|---" * (2 + len(shown) * (1 + bool(reference))) + "|"]
    for method in methods:
        own = [found.get((method, metric)) for metric in shown]
        cells: list[str] = []
        for metric, one in zip(shown, own, strict=True):
            other = found.get((reference, metric)) if method != reference else None
            widened = [apart.get((name, metric), 0.0) for name in (method, reference)]
            cells += _cells(one, other, *widened)[: 1 + bool(reference)]
        samples = max(len(one.index) for one in own if one is not None)
        lines.append(f"| `{method}` | {samples} | {' | '.join(cells)} |")
    return "\n".join(lines)


def number(mean: Mean, sign: str = "") -> str:
    """Return mean ± standard error with three decimals, of what is large with fewer, of what is next to nothing with more."""
    size = max(abs(mean.mean), 0.0 if math.isnan(mean.standard_error) else mean.standard_error)
    decimals = 0 if size >= 1000 else 1 if size >= 10 else 3 if size >= 0.001 or size == 0 else 5
    error = "" if math.isnan(mean.standard_error) else f" ± {mean.standard_error:,.{decimals}f}"
    return f"{mean.mean:{sign},.{decimals}f}{error}".replace("-", "−")


def _half_of(series: Series, half: str) -> Series:
    chosen = [place for place, index in enumerate(series.index) if index % 2 in HALVES[half]]
    parts = {name: getattr(series, name)[chosen] for name in ("index", "value", "scale", "probability", "correct")}
    return replace(series, **parts)


def _in_order(folder: Path) -> tuple[list[str], list[str]]:
    """Return methods and metrics in the order in which they were measured."""
    tables = [pq.read_table(path, columns=["method", "metric"]) for path in sorted((folder / "rows").glob("*.parquet"))]
    methods, metrics = (
        dict.fromkeys(n for table in tables for n in table[c].to_pylist()) for c in ("method", "metric")
    )
    return list(methods), list(metrics)


def _cells(one: Series | None, reference: Series | None, own: float, other: float) -> tuple[str, str]:
    """Return the mean of a method, and how much above it the reference is; `own` and `other` are what seeds add to variances."""
    if one is None:
        return "", ""
    mean = mean_of(one)
    told = number(replace(mean, standard_error=math.sqrt(mean.standard_error**2 + own)))
    if reference is None:
        return told, ""
    apart = compare(reference, one)
    error = math.sqrt(apart.standard_error**2 + own + other)
    return told, number(Mean(apart.difference, error, apart.count), "+")


if __name__ == "__main__":
    print(paired_table(Path(sys.argv[1]), **dict(one.split("=", 1) for one in sys.argv[2:])))
