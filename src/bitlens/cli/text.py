"""The commands for texts: `bitlens text explain`, and what other files add to the group. Heavy imports wait."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bitlens.cli import early, options
from bitlens.cli.answers import RECALL, Shown, Told, explain_answers, read_file
from bitlens.data.cells import check_text
from bitlens.errors import DataError, SettingError
from bitlens.system.console import answers, messages, progress_bar
from bitlens.system.files import write_text

if TYPE_CHECKING:
    from bitlens.data.labels import Labels
    from bitlens.data.texts import TextSample
    from bitlens.explaining.explainer import Explainer

text_app = typer.Typer(help="Explain what networks for texts use, word by word.", no_args_is_help=True)


@text_app.callback()
def _group() -> None:
    """Explain what networks for texts use, word by word."""


@text_app.command()
def explain(
    texts: options.Texts = None,
    file: options.TextFile = None,
    data: options.TextData = None,
    limit: options.TextLimit = 10,
    pair: options.TextPair = None,
    prompt: Annotated[
        Path | None,
        typer.Option(
            "--prompt", help="What a language model reads, from a file; - for standard input. Its answer is explained."
        ),
    ] = None,
    chat: Annotated[
        Path | None,
        typer.Option(
            "--chat",
            help='A conversation in place of a prompt, as the model\'s chat template writes it: JSON, a list of {"role": ..., '
            '"content": ...}.',
        ),
    ] = None,
    continuation: Annotated[
        str | None, typer.Option("--continuation", help="The answer to ask about (default: the model's own).")
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="How long the model's own answer may be.")
    ] = 64,
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--sources", help="Files that stand before the prompt; further ones may follow: --sources a.txt b.txt."
        ),
    ] = None,
    each: Annotated[
        Literal["answer", "sentence", "word"],
        typer.Option("--each", help="What of the answer is asked about by itself."),
    ] = "answer",
    group: Annotated[
        Literal["word", "sentence", "paragraph", "source"],
        typer.Option("--group", help="What of the prompt bits add up to."),
    ] = "word",
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="builtin/NAME, hf/NAME, a folder, or FILE.py:CALLABLE -> (module, tokenizer) (default: builtin/reviews, with "
            "--prompt builtin/recall).",
        ),
    ] = None,
    weights: options.Weights = None,
    classes: options.Classes = None,
    layer: options.TextLayer = None,
    method: Annotated[
        str, typer.Option("--method", help="token-iba, iba, or a baseline such as lime; iba:steps=20 sets more.")
    ] = "token-iba",
    keep: options.Keep = None,
    bits: options.Bits = None,
    beta: options.Beta = None,
    target: options.Target = "auto",
    statistics_from: Annotated[
        str | None,
        typer.Option(
            "--statistics-from",
            help="Texts that a bottleneck's statistics are made from, and kept (default: what comes with the network, or else "
            "its own hidden states over tokens drawn from its vocabulary).",
        ),
    ] = None,
    statistics_count: options.TextCount = 1000,
    signed: options.Signed = False,
    curve: options.Curve = False,
    spread: options.Spread = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with the shaded texts.")] = None,
    same_scale: options.SameScale = None,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Shade the words of texts by the bits (or scores) that a network uses for its answer."""
    price = {"keep": keep, "bits": bits, "beta": beta, "signed": signed or None}
    if prompt is not None or chat is not None or data == RECALL:
        unasked: dict[str, Any] = {
            "--file": file,
            "--pair": pair,
            "--weights": weights,
            "--classes": classes,
            "--layer": layer,
        }
        unasked |= {"--statistics-from": statistics_from, "--target": target if target != "auto" else None}
        unasked |= {"--curve": curve or None, "--spread": spread}
        asked = Told(prompt, chat, [*(sources or []), *(texts or [])], continuation, max_new_tokens, each, data, limit)
        chosen = {**price, "seed": seed}
        how = Shown(group, html, as_json, same_scale)
        explain_answers(asked, model or "builtin/recall", method, chosen, device, how, unasked)
        return
    if continuation is not None or sources:
        raise SettingError(
            "--continuation and --sources are for language models: give --prompt FILE or --chat FILE with them"
        )
    from bitlens.models.classes import check_target, class_name, read_classes

    model = model or "builtin/reviews"
    name, settings = chosen_method(method, {"layer": layer, **price})
    given_names = read_classes(classes) if classes is not None else early.bundled_classes(model)
    check_target(target, given_names)
    refuse_several(texts or [], file, data)
    early.check(model, kind="text", data=[data, statistics_from], files={"--weights": weights}, out_file=html)
    from bitlens.explaining.explainer import Explainer, page
    from bitlens.methods.labels import labels_for, with_classes
    from bitlens.models.listing import short_name
    from bitlens.models.load import load_model

    loaded = load_model(model, weights, options.device_name(device), kind="text")
    loaded = with_classes(loaded, given_names if classes is not None else None)
    samples = chosen_texts(texts or [], file, data, limit, pair, labels_for(loaded) if data is not None else None)
    explainer = Explainer(loaded, method=name, **{"seed": seed, **settings})
    more = options.besides({method: explainer.method}, {"curve": curve, "spread": spread})
    teach(explainer, statistics_from, statistics_count)
    with progress_bar("explaining", len(samples)) as advance:
        found = explainer(*columns_of(samples), target=target, progress=advance, **more)
    if html is not None:
        write_text(html, page(found, f"{method} on {short_name(model)}", same_scale=same_scale))
    if as_json:
        named = (None if s.label is None else class_name(str(s.label), explainer.classes) for s in samples)
        told = zip(samples, named, found, strict=True)
        known = [{"name": s.name, "label": s.label, "label_name": name, **e.as_dict()} for s, name, e in told]
        print(json.dumps(known, ensure_ascii=False))
        return
    for number, explanation in enumerate(found):
        answers.print(*[""] * (number > 0), explanation, sep="\n")
    if html is not None:
        answers.print(f"\nthe page is {html}", soft_wrap=True)


def refuse_several(texts: Sequence[str], file: Path | None, data: str | None) -> None:
    """Refuse texts that were named in none, or in several, of the three ways.

    Raises:
        SettingError: if they were; DataError if the file is not there.
    """
    if sum((bool(texts), file is not None, data is not None)) != 1:
        raise SettingError("give texts in quotes, or --file FILE, or --data SPEC: exactly one of the three")
    if file is not None and str(file) != "-" and not file.is_file():
        raise DataError(f"cannot read the text {file}: there is no such file")


def chosen_texts(
    texts: Sequence[str],
    file: Path | None,
    data: str | None,
    limit: int,
    pair: str | None = None,
    labels: "Labels | None" = None,
) -> "Sequence[TextSample]":
    """Read the texts that a person named in one of three ways; without `labels` those of a file are not looked at.

    Raises:
        SettingError: if it was none of them, or several.
        DataError: if a file cannot be read.
    """
    from bitlens.data.labels import Labels
    from bitlens.data.texts import TextSample, open_texts

    refuse_several(texts, file, data)
    if data is not None:
        if pair is not None:
            raise SettingError("--pair is for a text on the command line; the pairs of --data stand in the file")
        return open_texts(data, labels or Labels(needed=False))[:limit]
    listed = [read_file(file)] if file is not None else [check_text(text) for text in texts]
    return [TextSample(f"text {number}", text, pair=pair) for number, text in enumerate(listed)]


def columns_of(samples: "Sequence[TextSample]") -> tuple[list[str], list[str] | None]:
    """Split samples into their texts and their second texts, None where there are no pairs."""
    pairs = [sample.pair or "" for sample in samples] if samples[0].pair is not None else None
    return [sample.text for sample in samples], pairs


def chosen_method(method: str, chosen: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the method that a person asked for, with its settings; options that were not given are left to the method.

    Raises:
        SettingError: if there is no such method, several were named, or it does not take an option.
    """
    from bitlens.methods.naming import read_methods, with_options

    specs = with_options(read_methods(method, "text"), chosen, "text")
    if len(specs) != 1:
        raise SettingError(f"--method {method} names {len(specs)} methods: give one")
    (spec,) = specs.values()
    return spec.name, dict(spec.settings)


def teach(explainer: "Explainer", source: str | None, count: int) -> None:
    """Give a bottleneck statistics of texts that a person named; without, the network's own serve, or its own hidden states."""
    from bitlens.methods.teaching import Source

    lesson = explainer.entry.lesson
    if lesson is None or source is None:
        return
    place, *_ = options.teach(explainer.loaded, Source.open(source, "text", count), lesson, explainer.method)
    messages.print(f"{lesson.name} are kept in {place.parent}", style="dim", highlight=False, soft_wrap=True)
