"""How often methods find what is planted, from what `bitlens evaluate` wrote with the metrics rank-auc and pointing-game.

    python tools/planted_found.py FOLDER

Each method gets the mean of its rank AUC ± its standard error, the lowest, how often the highest place is planted, and how often
it is and the AUC is 0.98 or more as well.
"""

import sys
from pathlib import Path

from bitlens.evaluation.paired import mean_of
from bitlens.evaluation.store import RowStore

LEAST = 0.98
_HEADS = ("method", "inputs", "rank AUC", "lowest", "highest place planted", f"that, and AUC ≥ {LEAST}")


def planted_table(folder: Path) -> str:
    """Return a line for each method, the best first."""
    found = RowStore(folder / "rows").series()
    rows = []
    for method in {name for name, _ in found}:
        auc, top = found[method, "rank-auc"], found[method, "pointing-game"].value > 0.5
        mean, both = mean_of(auc), (top & (auc.value >= LEAST)).mean()
        cells = (
            f"`{method}`",
            str(mean.count),
            f"{mean.mean:.4f} ± {mean.standard_error:.4f}",
            f"{auc.value.min():.3f}",
        )
        rows.append((-mean.mean, f"| {' | '.join(cells)} | {top.mean():.1%} | {both:.1%} |"))
    return "\n".join([f"| {' | '.join(_HEADS)} |", "|---" * len(_HEADS) + "|", *(told for _, told in sorted(rows))])


if __name__ == "__main__":
    print(planted_table(Path(sys.argv[1])))
