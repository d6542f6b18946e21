"""The commands for texts: `bitlens text explain`, and what other files add to the group. Heavy imports wait."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitlens.cli.options import AsJson, DeviceOption, Seed, TargetOption, Weights, device_name
from bitlens.errors import DataError, SettingError
from bitlens.system.console import answers, messages, note, progress_bar
from bitlens.system.files import write_text

if TYPE_CHECKING:
    from bitlens.data.texts import TextSample
    from bitlens.explaining.explainer import Explainer

text_app = typer.Typer(help="Explain what networks for texts use, word by word.", no_args_is_help=True)

TextModel = Annotated[
    str, typer.Option("--model", help="builtin/reviews, hf/NAME, a folder, or FILE.py:CALLABLE -> (module, tokenizer).")
]
TextLayer = Annotated[str | None, typer.Option("--layer", help="The layer to restrict, by its dotted name.")]
_OWN_TEXTS = "builtin:reviews"


@text_app.callback()
def _group() -> None:
    """Explain what networks for texts use, word by word."""


@text_app.command()
def explain(
    texts: Annotated[list[str] | None, typer.Argument(help="Texts, each in quotes.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="One text from a file; - for standard input.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Texts from jsonl:FILE, tsv:FILE or builtin:reviews.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many texts of --data.")] = 10,
    pair: Annotated[str | None, typer.Option("--pair", help="The second text, for networks that compare two.")] = None,
    model: TextModel = "builtin/reviews",
    weights: Weights = None,
    layer: TextLayer = None,
    method: Annotated[
        str, typer.Option("--method", help="token-iba, iba, or a baseline such as lime; iba:steps=20 sets more.")
    ] = "token-iba",
    beta: Annotated[float | None, typer.Option("--beta", help="Price of information: larger keeps less.")] = None,
    target: TargetOption = "auto",
    statistics_from: Annotated[
        str | None,
        typer.Option("--statistics-from", help="Texts that a bottleneck's statistics are made from, and kept."),
    ] = None,
    statistics_count: Annotated[int, typer.Option("--statistics-count", min=1, help="From how many texts.")] = 1000,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with the shaded texts.")] = None,
    same_scale: Annotated[bool, typer.Option("--same-scale", help="One scale for all texts of the page.")] = False,
    device: DeviceOption = "auto",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Shade the words of texts by the bits (or scores) that a network uses for its answer."""
    from bitlens.explaining.explainer import page
    from bitlens.models.load import load_model

    samples = chosen_texts(texts or [], file, data, limit, pair)
    loaded = load_model(model, weights, device_name(device), kind="text")
    explainer = build_explainer(loaded, method, {"layer": layer, "beta": beta}, seed)
    teach(explainer, statistics_from, statistics_count)
    pairs = [sample.pair or "" for sample in samples] if samples[0].pair is not None else None
    with progress_bar("explaining", len(samples)) as advance:
        found = explainer([sample.text for sample in samples], pairs, target=target, progress=advance)
    if html is not None:
        write_text(html, page(found, f"{method} on {model}", same_scale=same_scale))
    if as_json:
        known = [{"name": s.name, "label": s.label, **e.as_dict()} for s, e in zip(samples, found, strict=True)]
        print(json.dumps(known, ensure_ascii=False))
        return
    for number, explanation in enumerate(found):
        answers.print(*[""] * (number > 0), explanation, sep="\n")
    if html is not None:
        answers.print(f"\nthe page is {html}", soft_wrap=True)


def chosen_texts(
    texts: Sequence[str], file: Path | None, data: str | None, limit: int, pair: str | None = None
) -> "Sequence[TextSample]":
    """The texts that a person named in one of three ways.

    Raises:
        SettingError: if it was none of them, or several.
        DataError: if a file cannot be read.
    """
    from bitlens.data.texts import TextSample, open_texts

    if sum((bool(texts), file is not None, data is not None)) != 1:
        raise SettingError("give texts in quotes, or --file FILE, or --data SPEC: exactly one of the three")
    if data is not None:
        if pair is not None:
            raise SettingError("--pair is for a text on the command line; the pairs of --data stand in the file")
        return open_texts(data)[:limit]
    listed = [_read(file)] if file is not None else texts
    return [TextSample(f"text {number}", text, pair=pair) for number, text in enumerate(listed)]


def build_explainer(loaded: Any, method: str, options: dict[str, Any], seed: int) -> "Explainer":
    """The explainer that a person asked for; options that were not given are left to the method.

    Raises:
        SettingError: if there is no such method, several were named, or it does not take an option.
    """
    from bitlens.explaining.explainer import Explainer
    from bitlens.methods import entry_of
    from bitlens.methods.building import read_methods
    from bitlens.methods.specs import settings_of_callable

    specs = list(read_methods(method, "text").values())
    if len(specs) != 1:
        raise SettingError(f"--method {method} names {len(specs)} methods: give one")
    given = {name: value for name, value in options.items() if value is not None}
    useless = given.keys() - set(settings_of_callable(entry_of(specs[0].name, "text").build))
    if useless:
        raise SettingError(f"--{min(useless)} is not for {specs[0].name}: leave it out")
    return Explainer(loaded, method=specs[0].name, **{"seed": seed, **given, **specs[0].settings})


def teach(explainer: "Explainer", source: str | None, count: int) -> None:
    """Give a bottleneck the statistics it lacks, from texts that a person named or from the bundled reviews."""
    from bitlens.methods.teaching import Source, Teacher

    lesson = explainer.entry.lesson
    if lesson is None or (explainer.ready and source is None):
        return
    if source is None:
        note(
            f"statistics come from the short reviews of {_OWN_TEXTS}; some hundred texts like those to explain are better: "
            "--statistics-from jsonl:FILE"
        )
    samples = Source.open(source or _OWN_TEXTS, "text", count)
    with progress_bar(lesson.name, samples.total) as advance:
        place, *_ = Teacher(explainer.loaded, samples, progress=advance).teach(lesson, explainer.method)
    messages.print(f"{lesson.name} are kept in {place.parent}", style="dim", highlight=False, soft_wrap=True)


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the text {file}: {error}") from error
