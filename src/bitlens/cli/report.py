"""`bitlens report`: one page of HTML from what was explained and measured. Heavy imports wait until it runs."""

from pathlib import Path
from typing import Annotated

import typer

from bitlens.cli import options
from bitlens.system.console import answers, note

REPORT = "report.html"
_MOST_NOTES = 8


def report(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR|FILES...",
            help="Folders of explain, demo or evaluate; .safetensors of explain; .json of text explain --json.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("report.html"),
    same_scale: options.SameScale = None,
    as_json: options.AsJson = False,
) -> None:
    """Write one page of HTML that carries everything within itself, from what explain, demo and evaluate wrote."""
    from bitlens.reports import write_report

    written = write_report(places, out, same_scale=same_scale)
    if options.printed_as_json(as_json, {**vars(written), "file": str(written.file)}):
        return
    for problem in written.problems[:_MOST_NOTES]:
        note(f"missing: {problem}")
    if len(written.problems) > _MOST_NOTES:
        note(f"and {len(written.problems) - _MOST_NOTES} more, all named on the page")
    counts = {"photo": written.photos, "text": written.texts, "evaluation": written.evaluations}
    said = ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts.items() if count)
    answers.print(f"{written.file}: {said}", soft_wrap=True, highlight=False, markup=False)


def write_beside(folder: Path, *, same_scale: bool | None = None) -> None:
    """Write the report of a folder into the folder, as --report asks for it."""
    from bitlens.reports import write_report

    written = write_report([folder], folder / REPORT, same_scale=same_scale)
    for problem in written.problems[:_MOST_NOTES]:
        note(f"missing in the report: {problem}")
