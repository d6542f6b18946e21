"""A table as text: lines of cells for the terminal and Markdown, one row per number for csv."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len

from bitlens.evaluation.paired import Mean
from bitlens.evaluation.papers import Paper, PaperLine, side_by_side
from bitlens.evaluation.tables import Cell, Table, metric_of


@dataclass(frozen=True)
class Grid:
    """Cells of text under heads; the first column holds names.

    Attributes:
        title: what it shows.
        heads: one for each column, in one line or several.
        rows: of as many cells.
        emphasised: (row, column) of the best cells.
        notes: what must be known to read it.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    emphasised: frozenset[tuple[int, int]] = frozenset()
    notes: Sequence[str] = ()


def about(table: Table) -> str:
    """Return one line: network, data, how many samples, how often the network is right."""
    settings = table.settings
    right = "" if math.isnan(table.accuracy) else f", {table.accuracy:.1%} of their targets predicted"
    photos = f"{table.samples:,} sample{'s' if table.samples != 1 else ''}"
    return f"{settings['model']} on {settings['data']}: {photos}{right}, seed {settings['seed']}"


def grids_of(table: Table) -> list[Grid]:
    """Return the means and, where two methods have scores on common samples, the differences from the reference."""
    compared = comparison_grid(table)
    return [means_grid(table), *([compared] if compared.rows else [])]


def means_grid(table: Table) -> Grid:
    """Return mean ± standard error of each method (a row) in each metric (a column); the best of each column emphasised."""
    counts = {metric: _common_count(table, metric) for metric in table.metrics}
    rows, best = [], set()
    for r, method in enumerate(table.methods):
        cells = [method]
        for c, metric in enumerate(table.metrics, 1):
            cell = table.cells.get((method, metric))
            cells.append(_cell(cell, counts[metric]))
            if cell is not None and cell.best and len(table.methods) > 1:
                best.add((r, c))
        rows.append(cells)
    rows.append(["number of samples", *(f"{counts[metric]:,}" for metric in table.metrics)])
    heads = ["method", *(f"{metric} {_ARROWS[metric_of(metric).better]}" for metric in table.metrics)]
    return Grid("mean ± standard error", heads, rows, frozenset(best), [about(table)])


def comparison_grid(table: Table) -> Grid:
    """Return each method minus the reference on common samples."""
    compared = {pair for pair, cell in table.cells.items() if cell.versus is not None}
    metrics = [metric for metric in table.metrics if any(metric == other for _, other in compared)]
    methods = [method for method in table.methods if any(method == other for other, _ in compared)]
    rows = [
        [method, *(_versus(table.cells[method, m]) if (method, m) in compared else "" for m in metrics)]
        for method in methods
    ]
    return Grid(f"difference from {table.reference}", ["method", *metrics], rows, notes=[_STARS])


def paper_grid(paper: Paper, tables: Sequence[Table]) -> Grid:
    """Return the published numbers, and beside them ours: a column for each metric of each of our networks."""
    heads = ["method"]
    columns: list[tuple[int | None, int | str]] = []
    for wanted in paper.metrics:
        theirs = [(None, c) for c, (_, metric) in enumerate(paper.columns) if metric == wanted]
        ours = [(t, wanted) for t, table in enumerate(tables) if _has(table, wanted)]
        columns += theirs
        columns += ours
        heads += [f"{wanted}\n{paper.columns[c][0]}\npublished" for _, c in theirs]
        heads += [f"{wanted}\n{_short(tables[t])}\nhere" for t, _ in ours]
    rows = [[line.name, *(_entry(line, *column) for column in columns)] for line in side_by_side(paper, tables)]
    notes = [
        f"published: {paper.source}; {' and '.join(paper.networks)}; {paper.data}",
        *(f"here: {about(table)}{_unmeasured(paper, table)}" for table in tables),
        *paper.notes,
        *([f"not available here: {', '.join(paper.missing())}"] if paper.missing() else []),
    ]
    return Grid(paper.title, heads, rows, notes=notes)


def paper_plain(paper: Paper, tables: Sequence[Table]) -> dict[str, Any]:
    """Return plain values of the same."""
    rows = []
    for line in side_by_side(paper, tables):
        published = [
            {"network": network, "metric": metric, "mean": value[0], "standard_error": _finite(value[1])}
            for (network, metric), value in zip(paper.columns, line.published, strict=True)
            if value is not None
        ]
        ours = [
            {"network": table.settings["model"], "data": table.settings["data"], "metric": metric, "mean": mean.mean,
             "standard_error": _finite(mean.standard_error), "count": mean.count}
            for table, means in zip(tables, line.ours, strict=True)
            for metric, mean in means.items()
        ]  # fmt: skip
        rows.append({"method": line.name, "published": published, "here": ours})
    return {"paper": paper.name, "source": paper.source, "data": paper.data, "notes": list(paper.notes), "rows": rows}


def as_markdown(grid: Grid) -> str:
    """Return a Markdown table with its notes below."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rows = [
        line([f"**{text}**" if (r, c) in grid.emphasised else text for c, text in enumerate(row)])
        for r, row in enumerate(grid.rows)
    ]
    heads = [head.replace("\n", " ") for head in grid.heads]
    parts = [f"{grid.title}:\n", line(heads), line(["---"] * len(grid.heads)), *rows]
    return "\n".join([*parts, *(f"\n{note}" for note in grid.notes)]) + "\n"


def as_csv(tables: Sequence[Table]) -> str:
    """Return one line for each network, method and metric, numbers in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    own = ["method", "metric", "mean", "standard_error", "count", "failures"]
    compared = ["difference", "difference_standard_error", "difference_count", "difference_p"]
    writer.writerow(["model", "data", *own, "reference", *compared])
    for table in tables:
        for row in table.plain()["rows"]:
            versus = row["versus"].values() if "versus" in row else [""] * 5
            writer.writerow([table.settings["model"], table.settings["data"], *(row[name] for name in own), *versus])
    return text.getvalue()


def fitting_columns(grid: Grid, width: int) -> list[list[int]]:
    """Return the columns in groups that fit side by side; the names come first in each."""
    lines = [(c, line) for row in (grid.heads, *grid.rows) for c, text in enumerate(row) for line in text.split("\n")]
    widths = [max(cell_len(line) for other, line in lines if other == c) + 2 for c in range(len(grid.heads))]
    groups: list[list[int]] = [[0]]
    for column in range(1, len(widths)):
        if len(groups[-1]) > 1 and sum(widths[c] for c in [*groups[-1], column]) > width + 2:
            groups.append([0])
        groups[-1].append(column)
    return groups


_ARROWS = {"higher": "↑", "lower": "↓"}
_LEVELS = (0.05, 0.01, 0.001)
_STARS = "* p < 0.05, ** p < 0.01, *** p < 0.001: two-sided paired t-test over samples, not corrected for their number"


def _entry(line: PaperLine, table: int | None, column: int | str) -> str:
    """Return a published number (table None, the number of a column), or ours (the number of a table, a metric)."""
    if table is None:
        published = line.published[int(column)]
        return "" if published is None else _number(*published)
    mean = line.ours[table].get(str(column))
    return "" if mean is None else _mean(mean)


def _has(table: Table, metric: str) -> bool:
    return any(label.partition("[")[0] == metric for label in table.metrics)


def _unmeasured(paper: Paper, table: Table) -> str:
    missing = [metric for metric in paper.metrics if not _has(table, metric)]
    return f"; not measured: {', '.join(missing)}" if missing else ""


def _short(table: Table) -> str:
    return str(table.settings["model"]).rpartition("/")[2].partition("@")[0].rpartition(":")[2]


def _common_count(table: Table, metric: str) -> int:
    return max((cell.mean.count for cell in table.cells.values() if cell.metric == metric), default=0)


def _cell(cell: Cell | None, common: int) -> str:
    if cell is None:
        return ""
    parts = [f"n {cell.mean.count}"] if 0 < cell.mean.count < common else []
    parts += [f"{cell.failures} failed"] if cell.failures else []
    text = _mean(cell.mean)
    return f"{text} ({', '.join(parts)})" if parts and text else text or ", ".join(parts)


def _versus(cell: Cell) -> str:
    versus = cell.versus
    if versus is None:
        return ""
    sign = "+" if versus.difference > 0 else ""
    stars = "*" * sum(versus.p < level for level in _LEVELS)
    return f"{sign}{_number(versus.difference, versus.standard_error)} {stars}".rstrip()


def _mean(mean: Mean) -> str:
    return _number(mean.mean, mean.standard_error) if mean.count else ""


def _number(value: float, error: float) -> str:
    """Return three decimals, as the papers have them; more where those would be next to nothing."""
    if not math.isfinite(value):
        return "undefined"
    size = max(abs(value), 0.0 if math.isnan(error) else error)
    decimals = 3 if size == 0 or size >= 0.001 else min(1 - math.floor(math.log10(size)), 9)
    text = f"{value:.{decimals}f}".replace("-", "−")
    return text if math.isnan(error) else f"{text} ± {error:.{decimals}f}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
