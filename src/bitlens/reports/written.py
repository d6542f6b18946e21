"""The report of several folders and files, written as one page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitlens.errors import BitlensError, DataError
from bitlens.evaluation.pinned import result_folders
from bitlens.reports.evaluated import evaluation_section
from bitlens.reports.explained import cards_of, ends_of
from bitlens.reports.found import Results, read_results
from bitlens.reports.passages import passages_of, scale_of
from bitlens.reports.recipe import evaluation_recipe, explained_recipe
from bitlens.system.files import write_text
from bitlens.system.reading import whole
from bitlens.view.report_html import Report, render


@dataclass(frozen=True)
class Written:
    """Outcome of a report.

    Attributes:
        file: the page.
        photos: how many are on it.
        texts: how many are on it.
        evaluations: how many are on it.
        problems: what is missing, and why; also on the page.
    """

    file: Path
    photos: int
    texts: int
    evaluations: int
    problems: tuple[str, ...]


def write_report(places: Sequence[str | Path], out: str | Path, *, same_scale: bool | None = None) -> Written:
    """Write one page of HTML from what explain and evaluate wrote. It needs no network, no model and no photo.

    Parts that are missing or damaged are named on the page.

    Args:
        places: folders of explain, demo or evaluate, files NAME.safetensors of explain, or FILE.json with what
            `bitlens text explain --json` printed.
        out: the file to write.
        same_scale: whether the same colour means the same value on all photos, for maps in bits and for each method of scores;
            None for maps in bits only.

    Raises:
        DataError: if none of the places holds anything to report, or `out` cannot be written.
    """
    report = Report("")
    found: list[tuple[Path, Results]] = []
    for place in map(Path, places):
        evaluated = [folder for folder in result_folders(place) if (folder / "settings.json").is_file()]
        for folder in evaluated:
            _add_evaluation(report, folder)
        if not evaluated or (place / "summary.json").is_file():
            try:
                found.append((place, read_results(place)))
            except DataError as error:
                report.problems.append(str(error))
    report.what = _what([results.settings for _, results in found if results.groups])
    groups = [group for _, results in found for group in results.groups]
    ends = ends_of(groups, same_scale)
    shaded = scale_of([row for _, results in found for row in results.texts], same_scale)
    for _, results in found:
        report.cards += cards_of(results.groups, ends, len(report.cards) + 1)
        report.passages += passages_of(results.texts, report.problems, shaded, len(report.passages) + 1)
        report.problems += results.problems
    recipes = [explained_recipe(f"Explanations in {place.name or place}", results.settings) for place, results in found]
    report.recipes = [*(recipe for recipe in recipes if recipe.command or recipe.settings), *report.recipes]
    if not report.cards and not report.sections and not report.passages:
        raise DataError("there is nothing to report: " + "; ".join(report.problems))
    report.title = _title(report)
    report.facts += _facts([results.settings for _, results in found])
    write_text(out, render(report))
    problems = [*report.problems, *(f"{card.name}: {text}" for card in report.cards for text in card.problems)]
    return Written(Path(out), len(report.cards), len(report.passages), len(report.sections), tuple(problems))


def _add_evaluation(report: Report, folder: Path) -> None:
    try:
        section, table = evaluation_section(folder, report.problems)
    except BitlensError as error:
        report.problems.append(str(error))
        return
    report.sections.append(section)
    try:
        with whole(folder / "settings.json", "all settings of its results", "they are not told"):
            report.recipes.append(evaluation_recipe(section.title, table.settings, table.samples))
    except DataError as error:
        report.problems.append(str(error))


def _what(settings: Sequence[Mapping[str, Any]]) -> str:
    """Name what was explained, photos above all: "photo", "signal", "volume", "row", or "input" of several kinds."""
    forms = {str(one.get("form", "photo")) for one in settings}
    (form,) = forms if len(forms) == 1 else ("photo" if not forms else "file",)
    return {"table": "row", "file": "input"}.get(form, form)


def _title(report: Report) -> str:
    targets = [answer.asked for answer in report.answers]
    if len(targets) == 1 and not report.sections:
        return f"What the network uses for “{targets[0]}”"
    if targets:
        counts = {report.what: len(report.cards), "text": len(report.passages)}
        said = (f"{count} {what}{'s' if count > 1 else ''}" for what, count in counts.items() if count)
        return f"What the network uses in {' and '.join(said)}"
    return "How well the methods explain"


def _facts(settings: Sequence[Any]) -> list[tuple[str, str]]:
    """List what all explanations have in common."""
    models = dict.fromkeys(str(one["model"]) for one in settings if "model" in one)
    methods = dict.fromkeys(label for one in settings for label in one.get("methods") or ())
    facts = [("network", ", ".join(models))] if models else []
    return [*facts, ("methods" if len(methods) > 1 else "method", ", ".join(methods))] if methods else facts
