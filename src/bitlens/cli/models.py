"""`bitlens models`: the networks that can be named."""

from typing import Annotated

import typer
from rich.table import Table

from bitlens.cli import options
from bitlens.system.console import answers


def models(
    search: Annotated[str, typer.Argument(help="Show the names that contain this.")] = "",
    as_json: options.AsJson = False,
) -> None:
    """List the networks that can be named. Nothing is downloaded."""
    from bitlens.models.listing import FORMS, available_models

    entries = [entry for entry in available_models() if search.lower() in entry.spec.lower()]
    if options.printed_as_json(as_json, [vars(entry) for entry in entries]):
        return
    forms = Table("form", "what it is", box=None, header_style="bold")
    for form, text in FORMS.items():
        forms.add_row(form, text)
    if not search:
        answers.print(forms)
        libraries = {entry.source for entry in entries if entry.source != "bitlens"}
        counts = ", ".join(f"{sum(e.source == name for e in entries)} of {name}" for name in sorted(libraries))
        answers.print(f"\n{counts}: `bitlens models TEXT` shows the names that contain TEXT. Bundled:\n")
        entries = [entry for entry in entries if entry.source == "bitlens"]
    table = Table("model", "parameters", "default layer", box=None, header_style="bold")
    for entry in entries:
        table.add_row(entry.spec, f"{entry.parameters:,}" if entry.parameters else "", entry.default_layer or "")
    answers.print(table)
