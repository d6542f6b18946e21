"""Tables of what `bitlens evaluate` measured whose errors include the seed, and where iba stands in them.

A label with `seed=1` is the method without it under other noise. Photos share that noise, so the spread over photos does not hold
all that another seed would change: half the squared difference of the two seeds' means, on the photos that both have, is added to
the square of the error. That counts what the seed does to single photos twice, and errs on the side of caution.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from bitlens.evaluation.paired import Comparison, compare, t_test_p
from bitlens.evaluation.store import RowStore, Series
from bitlens.evaluation.tables import Cell, Selection, Table, build_table, metric_of, with_best

JUDGES = ("degradation-14", "bbox", "sds", "f-fidelity", "aim", "degradation-8", "road", "kept-per-bit")
"""Metrics by which iba is asked to come first."""

OWN = ("iba", "iba[quality=best]")
"""Maps that hold 0.9 of the decision: those that are made quickly, which is the default, and those of the most work."""

Variances = Mapping[tuple[str, str], float]


def seeded(folder: Path, selection: Selection | None = None) -> Table:
    """Read the rows of a folder into a table without second seeds, which are in the errors instead."""
    table, found = build_table(folder, selection), seed_variances(RowStore(folder / "rows").series())
    first = set(table.methods)
    cells = {pair: cell for pair, cell in table.cells.items() if without_seed(pair[0]) not in first - {pair[0]}}
    cells = with_best(cells)
    return replace(table, cells={pair: _widened(cell, table.reference, found) for pair, cell in cells.items()})


def without_seed(label: str) -> str:
    """Return the label of a method without its seed, be it written in brackets or as a person types it."""
    bare = re.sub(r"[,:]seed=\d+(?=[,:\]]|$)", "", label)
    return re.sub(r"\[seed=\d+,", "[", re.sub(r"\[seed=\d+\]", "", bare))


def seed_variances(found: Mapping[tuple[str, str], Series]) -> Variances:
    """Return by (method, metric) the variance of the mean under another seed, where a second one was measured."""
    twice = {
        (without_seed(method), metric): (method, metric) for method, metric in found if without_seed(method) != method
    }
    apart = {pair: compare(found[other], found[pair]) for pair, other in twice.items() if pair in found}
    return {pair: one.difference**2 / 2 for pair, one in apart.items() if one.count}


def standing_table(folders: Sequence[Path]) -> str:
    """Return where iba stands by each of the judges on each network: first of all methods, or who is furthest ahead, and how far.

    Rivals are methods that were measured on all photos that iba was; maps of iba at other settings are none. One that is ahead by
    its standard error or less is level.
    """
    heads = " | ".join(folder.name for folder in folders)
    lines = [f"| metric | method | {heads} |", "| --- " * (2 + len(folders)) + "|"]
    for metric, own in product(JUDGES, OWN):
        tables = [seeded(folder, Selection(metrics=[metric], reference=own)) for folder in folders]
        lines.append(f"| {metric} | {own} | {' | '.join(_standing(table) for table in tables)} |")
    return "\n".join(lines)


def _standing(table: Table) -> str:
    (metric,) = table.metrics
    own = table.cells[table.reference, metric].mean.count
    rivals = {
        cell.method: cell.versus
        for cell in table.cells.values()
        if cell.metric == metric and cell.versus is not None and cell.method.partition("[")[0] != "iba"
        if cell.versus.count == own
    }
    rival, found = max(rivals.items(), key=lambda one: _sign(metric) * one[1].difference)
    ahead = _sign(metric) * found.difference
    if ahead <= 0:
        return "**first**"
    apart = f"{found.difference:+.3f} ± {found.standard_error:.3f}".replace("-", "−")
    return f"{'**level**' if ahead <= found.standard_error else 'behind'}: {rival} {apart}"


def _sign(metric: str) -> int:
    return 1 if metric_of(metric).better == "higher" else -1


def _widened(cell: Cell, reference: str, found: Variances) -> Cell:
    own = found.get((cell.method, cell.metric), 0.0)
    mean = replace(cell.mean, standard_error=math.sqrt(cell.mean.standard_error**2 + own))
    if cell.versus is None:
        return replace(cell, mean=mean)
    return replace(cell, mean=mean, versus=_wider(cell.versus, own + found.get((reference, cell.metric), 0.0)))


def _wider(found: Comparison, variance: float) -> Comparison:
    error = math.sqrt(found.standard_error**2 + variance)
    return replace(found, standard_error=error, p=t_test_p(found.difference, error, found.count - 1))
