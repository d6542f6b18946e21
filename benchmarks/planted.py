"""How often methods find what is planted, from what `bitlens evaluate` wrote with the metrics rank-auc and pointing-game.

    python benchmarks/planted.py FOLDER...

Each method gets the mean of its rank AUC ± its standard error, the lowest, how often the highest place is planted, and how often
it is and the AUC is 0.98 or more as well.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bitlens.evaluation.row_files import read_rows

LEAST = 0.98


def found(folders: Sequence[Path]) -> dict[str, dict[str, dict[int, float]]]:
    """Read the values of each metric for each sample, by method."""
    values: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for folder in folders:
        for file in sorted((folder / "rows").glob("*.parquet")):
            for piece in read_rows(file, ("index", "method", "metric", "value")):
                for row in piece.to_pylist():
                    if row["value"] is not None:
                        values[row["method"]][row["metric"]][row["index"]] = row["value"]
    return values


def lines(values: dict[str, dict[str, dict[int, float]]]) -> Iterator[str]:
    """Write a row of a table for each method, the best first."""
    yield "| method | inputs | rank AUC | lowest | highest place planted | that, and AUC ≥ 0.98 |"
    yield "|---|---|---|---|---|---|"
    rows = []
    for method, metrics in values.items():
        shared = sorted(metrics["rank-auc"].keys() & metrics["pointing-game"].keys())
        auc = np.array([metrics["rank-auc"][index] for index in shared])
        top = np.array([metrics["pointing-game"][index] for index in shared]) > 0.5
        error = auc.std(ddof=1) / np.sqrt(len(auc))
        both = (top & (auc >= LEAST)).mean()
        shares = f"{auc.mean():.4f} ± {error:.4f} | {auc.min():.3f} | {top.mean():.1%} | {both:.1%}"
        rows.append((-auc.mean(), f"| `{method}` | {len(auc)} | {shares} |"))
    yield from (told for _, told in sorted(rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Tell how often methods find what is planted.")
    parser.add_argument("folders", nargs="+", type=Path)
    print("\n".join(lines(found(parser.parse_args().folders))))
