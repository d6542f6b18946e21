"""`bitlens compare`: total bits at an equal share of the decision. Heavy imports wait until it runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from bitlens.cli import options
from bitlens.errors import SettingError
from bitlens.system.console import answers, note

if TYPE_CHECKING:
    from bitlens.reports.compared import Needed


def compare(
    places: Annotated[
        list[Path], typer.Argument(metavar="DIR|FILES...", help="What explain --curve wrote: one for each network.")
    ],
    kept: Annotated[float, typer.Option("--kept", help="The share of the decision that all are to hold.")] = 0.9,
    as_json: options.AsJson = False,
) -> None:
    """Compare networks, layers or inputs by the bits that hold the same share of the decision."""
    from bitlens.reports.compared import compare as compared

    if not 0 < kept < 1:
        raise SettingError(f"--kept is {kept:g}: expected a share above 0 and below 1")
    found = compared(places, kept)
    for problem in found.problems:
        note(f"missing: {problem}")
    if options.printed_as_json(as_json, found.plain()):
        return
    table = Table(
        title=f"bits that hold {kept:g} of the decision", title_justify="left", title_style="bold", box=None,
        header_style="bold", pad_edge=False,
    )  # fmt: skip
    table.add_column("photo", overflow="fold")
    table.add_column("target", overflow="fold")
    for name in found.columns:
        table.add_column(Text(name), justify="right", overflow="fold")
    for sample, row in found.rows.items():
        targets = dict.fromkeys(one.target.partition(",")[0] for one in row if one is not None)
        table.add_row(Text(sample), Text(" / ".join(targets)), *map(_cell, row))
    count = len(found.shared[0])
    if len(found.rows) > 1 and count:
        means = [f"{sum(column) / count:,.0f}" for column in found.shared]
        table.add_row("mean", f"of {count}", *means, style="dim")
    ratios = found.ratios()
    if len(found.columns) > 1 and ratios:
        table.add_row("ratio", "to the first", *(f"{ratio:.2f}" for ratio in ratios), style="dim")
    answers.print(table)


def _cell(one: "Needed | None") -> Text:
    if one is None:
        return Text("", "dim")
    return (
        Text(one.reason, "dim")
        if one.bits is None
        else Text(f"{one.bits:,.0f}" if one.bits >= 10 else f"{one.bits:.2g}")
    )
