"""The papers' tables: how to make them, and their numbers beside ours, each with its network and its data."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from bitlens.errors import SettingError
from bitlens.evaluation.measures import read_metrics
from bitlens.evaluation.paired import Mean
from bitlens.evaluation.tables import Table
from bitlens.methods import METHODS
from bitlens.methods.naming import read_methods
from bitlens.methods.specs import Spec


@dataclass(frozen=True)
class Published:
    """One row of a published table.

    Attributes:
        name: as the paper calls the method.
        spec: the same method here, as typed for `--methods`.
        values: one for each column, None where the paper has none.
        standard_errors: of the values; empty where the paper gives none.
    """

    name: str
    spec: str
    values: tuple[float | None, ...]
    standard_errors: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Paper:
    """A published table.

    Attributes:
        name: what it is asked for by.
        title: what it shows.
        source: the paper and the table.
        data: what it was measured on.
        networks: their names in the paper → what `--model` calls them.
        columns: (network, metric) of each.
        rows: in the paper's order.
        notes: what must be known to compare.
        statistics_count: from how many photos the paper's methods learnt.
        statistics_per: and how.
        measured: the paper's metrics with their settings, as typed for `--metrics`.
    """

    name: str
    title: str
    source: str
    data: str
    networks: Mapping[str, str]
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Published, ...]
    notes: Sequence[str]
    statistics_count: int
    statistics_per: Literal["channel", "element"]
    measured: str

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, each once."""
        return list(dict.fromkeys(metric for _, metric in self.columns))

    def specs(self) -> dict[str, Spec]:
        """Return the methods of the table that exist here, by label."""
        existing = [row.spec for row in self.rows if row.spec.partition(":")[0] in METHODS["image"]]
        return read_methods(",".join(existing))

    def metric_specs(self) -> dict[str, Spec]:
        """Return the metrics of the table, by label."""
        return read_metrics(self.measured)

    def missing(self) -> list[str]:
        """Return the paper's names of the methods that do not exist here."""
        return [row.name for row in self.rows if row.spec.partition(":")[0] not in METHODS["image"]]


@dataclass(frozen=True)
class PaperLine:
    """One method, published and measured.

    Attributes:
        name: as the paper calls it; our label where the paper does not have it.
        published: (value, standard error) for each column of the paper, None where it has none.
        ours: for each of our tables, by metric.
    """

    name: str
    published: tuple[tuple[float, float] | None, ...]
    ours: tuple[Mapping[str, Mean], ...]


def paper_names() -> list[str]:
    """Return what `load_paper` knows."""
    return list(_content())


def load_paper(name: str) -> Paper:
    """Return a published table by name.

    Raises:
        SettingError: if there is no such table.
    """
    if name not in _content():
        raise SettingError(f"there is no paper's table {name!r}: choose one of {', '.join(_content())}")
    entry = dict(_content()[name])
    columns = tuple((column["network"], column["metric"]) for column in entry.pop("columns"))
    rows = tuple(
        Published(row["name"], row["method"], tuple(row["values"]), tuple(row.get("standard_errors", ())))
        for row in entry.pop("rows")
    )
    return Paper(name, columns=columns, rows=rows, **entry)


def side_by_side(paper: Paper, tables: Sequence[Table]) -> list[PaperLine]:
    """Return the paper's rows with ours beside them, and our other methods below.

    A method of ours belongs to a row if it has that name and every setting that the row names, chosen or by default.
    """
    lines, used = [], [set[str]() for _ in tables]
    for row in paper.rows:
        errors = row.standard_errors or (math.nan,) * len(row.values)
        published = tuple(
            (v, math.nan if e is None else e) if v is not None else None
            for v, e in zip(row.values, errors, strict=True)
        )
        ours = []
        for table, taken in zip(tables, used, strict=True):
            label = _fitting(row, table)
            taken.update([label] if label else [])
            ours.append(_means(table, label, paper) if label else {})
        lines.append(PaperLine(row.name, published, tuple(ours)))
    others = [label for table, taken in zip(tables, used, strict=True) for label in table.methods if label not in taken]
    for label in dict.fromkeys(others):
        ours = [_means(table, label, paper) for table in tables]
        if any(ours):
            lines.append(PaperLine(label, (None,) * len(paper.columns), tuple(ours)))
    return lines


def _fitting(row: Published, table: Table) -> str | None:
    name = row.spec.partition(":")[0]
    if name not in METHODS["image"]:
        return None
    (wanted,) = read_methods(row.spec).values()
    fitting = [
        label
        for label in table.methods
        if (made := table.settings["methods"][label])["name"] == name
        and all(made.get(key) == value for key, value in wanted.settings.items())
    ]
    return min(fitting, key=len, default=None)  # the one with the fewest other settings


def _means(table: Table, label: str, paper: Paper) -> dict[str, Mean]:
    """Choose one label of each metric, by its name: the one with the fewest settings."""
    found: dict[str, Mean] = {}
    for metric in sorted(table.metrics, key=len):
        name, cell = metric.partition("[")[0], table.cells.get((label, metric))
        if name in paper.metrics and name not in found and cell is not None and cell.mean.count:
            found[name] = cell.mean
    return found


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(files("bitlens.evaluation").joinpath("published.json").read_text("utf-8"))
    return content
