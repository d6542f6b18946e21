"""The command that lists the methods of attribution, and shows one with its settings."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from bitlens.cli import options
from bitlens.system.console import answers

if TYPE_CHECKING:
    from bitlens.methods import MethodEntry

_NEEDS = {
    "layer": "a layer (one is chosen unless it is named)",
    "statistics": "statistics of the layer, its own unless photos give them (--statistics-from, or `bitlens statistics`)",
    "patterns": "patterns of the network, from photos (--statistics-from, or `bitlens patterns`)",
    "weights": "a trained readout (--readout, made by `bitlens readout train`; or --statistics-from trains one)",
}


def methods(
    name: Annotated[str, typer.Argument(help="Show this method alone, with its settings.")] = "",
    as_json: options.AsJson = False,
) -> None:
    """List the methods of attribution, or show one with its settings."""
    from bitlens.methods import METHODS

    known = METHODS["image"]
    chosen = list(known)
    if name:
        from bitlens.methods.naming import read_methods

        chosen = [spec.name for spec in read_methods(name).values()]
    rows = [_row(known[one], whole=bool(name)) for one in chosen]
    if options.printed_as_json(as_json, rows):
        return
    for row in rows:
        _print(row)
    if not name:
        answers.print("`bitlens methods NAME` shows the settings of one.", highlight=False)


def _row(entry: "MethodEntry", *, whole: bool) -> dict[str, Any]:
    """Tell what is known of a method, as plain values; its settings and description only if it is to be whole."""
    needs = (["layer"] if entry.needs_layer else []) + ([entry.learns] if entry.learns else [])
    names = ("name", "summary", "paper", "unit", "signed", "passes", "supports")
    row = {name: getattr(entry, name) for name in names} | {"needs": needs}
    if whole:
        row["description"] = entry.listed.description
        row["settings"] = [
            {"name": name, "default": one.default, "takes": one.takes, "summary": one.summary}
            for name, one in entry.listed.settings.items()
            if one.takes
        ]
    return row


def _print(row: dict[str, Any]) -> None:
    answers.print(Text.assemble((row["name"], "bold"), f"  {row['unit']}{', signed' if row['signed'] else ''}"))
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for title in ("summary", "paper", "passes", "needs", "supports"):
        text = "; ".join(_NEEDS[need] for need in row["needs"]) if title == "needs" else row[title]
        if text:
            facts.add_row(f"  {title}", Text(text))
    answers.print(facts)
    answers.print()
    if "settings" in row:
        answers.print(Text(f"{row['description']}\n"))
        _print_settings(row["name"], row["settings"])


def _print_settings(name: str, settings: list[dict[str, Any]]) -> None:
    table = Table("setting", "default", "takes", "", box=None, header_style="bold")
    for setting in settings:
        default = setting["default"]
        shown = str(default).lower() if default is None or isinstance(default, bool) else str(default)
        table.add_row(setting["name"], shown, Text(setting["takes"]), Text(setting["summary"]))
    answers.print(table)
    answers.print(Text(f"\nset with {name}:SETTING=VALUE, several separated by colons\n", style="dim"))
