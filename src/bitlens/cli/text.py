"""The commands for texts: `bitlens text explain`, and what other files add to the group. Heavy imports wait."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bitlens.cli import early, options
from bitlens.cli.answers import RECALL, Shown, Told, explain_answers, read_file
from bitlens.data.cells import check_text
from bitlens.errors import DataError, SettingError
from bitlens.system.console import answers, messages, note, progress_bar
from bitlens.system.files import write_text

if TYPE_CHECKING:
    from bitlens.data.labels import Labels
    from bitlens.data.texts import TextSample
    from bitlens.explaining.explainer import Explainer
    from bitlens.explaining.explanation import Explanation
    from bitlens.methods.specs import Spec
    from bitlens.models.loaded import Loaded

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
        str,
        typer.Option(
            "--method",
            "--methods",
            help="token-iba, iba, or a baseline such as lime; iba:steps=20 sets more; several side by side: token-iba,lime.",
        ),
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
        unasked = {
            "--file": file, "--pair": pair, "--weights": weights, "--classes": classes, "--layer": layer,
            "--statistics-from": statistics_from, "--target": None if target == "auto" else target,
            "--curve": curve or None, "--spread": spread,
        }  # fmt: skip
        asked = Told(prompt, chat, [*(sources or []), *(texts or [])], continuation, max_new_tokens, each, data, limit)
        chosen = {**price, "seed": seed}
        how = Shown(group, html, as_json, same_scale)
        explain_answers(asked, model or "builtin/recall", method, chosen, device, how, unasked)
        return
    if continuation is not None or sources:
        raise SettingError(
            "--continuation and --sources are for language models: give --prompt FILE or --chat FILE with them"
        )
    from bitlens.models.classes import check_target, read_classes

    model = model or "builtin/reviews"
    specs = chosen_methods(method, {"layer": layer, **price})
    given_names = read_classes(classes) if classes is not None else early.bundled_classes(model)
    check_target(target, given_names)
    refuse_several(texts or [], file, data)
    early.check(model, kind="text", data=[data, statistics_from], files={"--weights": weights}, out_file=html)
    from bitlens.explaining.left_out import by_each, left_out
    from bitlens.explaining.text_page import compared_page
    from bitlens.methods.labels import labels_for, with_classes
    from bitlens.models.listing import short_name
    from bitlens.models.load import load_model

    loaded = load_model(model, weights, options.device_name(device), kind="text")
    loaded = with_classes(loaded, given_names if classes is not None else None)
    samples = chosen_texts(texts or [], file, data, limit, pair, labels_for(loaded) if data is not None else None)
    explainers, refused = by_each(specs, partial(_explainer, specs, loaded, seed, statistics_from, statistics_count))
    wanted = options.besides(
        {label: one.method for label, one in explainers.items()}, {"curve": curve, "spread": spread}
    )
    with progress_bar("explaining", len(samples) * len(explainers)) as advance:
        explain_all = partial(_explained, explainers, columns_of(samples), target, wanted, advance)
        found, failed = by_each(explainers, explain_all)
    for reason in left_out({**refused, **failed}):
        note(reason)
    if html is not None:
        write_text(html, compared_page(found, f"{', '.join(found)} on {short_name(model)}", same_scale=same_scale))
    rows = [(sample, one) for sample, *row in zip(samples, *found.values(), strict=True) for one in row]
    _print_json(rows, loaded.classes) if as_json else _print(rows, html)


def _print(rows: "Sequence[tuple[TextSample, Explanation]]", page: Path | None) -> None:
    """Shade texts for people, one below the other."""
    for number, (_, explanation) in enumerate(rows):
        answers.print(*[""] * (number > 0), explanation, sep="\n")
    if page is not None:
        answers.print(f"\nthe page is {page}", soft_wrap=True)


def _print_json(rows: "Sequence[tuple[TextSample, Explanation]]", classes: Sequence[str] | None) -> None:
    """Print what was found of texts, with what is known of them."""
    from bitlens.models.classes import class_name

    told = []
    for sample, one in rows:
        name = None if sample.label is None else class_name(str(sample.label), classes)
        told.append({"name": sample.name, "label": sample.label, "label_name": name, **one.as_dict()})
    print(json.dumps(told, ensure_ascii=False))


def _explainer(
    specs: "Mapping[str, Spec]", loaded: "Loaded", seed: int, source: str | None, count: int, label: str
) -> "Explainer":
    """Make what explains by one of several methods, and teach it what it must know."""
    from bitlens.explaining.explainer import Explainer

    spec = specs[label]
    explainer = Explainer(loaded, method=spec.name, **{"seed": seed, **spec.settings})
    teach(explainer, source, count)
    return explainer


def _explained(
    explainers: "Mapping[str, Explainer]",
    given: tuple[list[str], list[str] | None],
    target: str,
    wanted: Mapping[str, Any],
    advance: Callable[[int], None],
    label: str,
) -> "list[Explanation]":
    """Explain all texts by one of several methods, with what it can find besides."""
    from bitlens.explaining.besides import able

    explainer, (texts, pairs) = explainers[label], given
    done = len(texts) * list(explainers).index(label)
    more = able(explainer.method, wanted)
    return explainer(texts, pairs, target=target, progress=lambda number: advance(done + number), **more)


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


def chosen_methods(methods: str, chosen: dict[str, Any]) -> "dict[str, Spec]":
    """Return the methods that a person asked for, by label; options that were not given are left to each method.

    Raises:
        SettingError: if there is no such method, or none takes an option.
    """
    from bitlens.methods.naming import read_methods, with_options

    return with_options(read_methods(methods, "text"), chosen, "text")


def teach(explainer: "Explainer", source: str | None, count: int) -> None:
    """Give a bottleneck statistics of texts that a person named; without, the network's own serve, or its own hidden states."""
    from bitlens.methods.teaching import Source

    lesson = explainer.entry.lesson
    if lesson is None or source is None:
        return
    place, *_ = options.teach(explainer.loaded, Source.open(source, "text", count), lesson, explainer.method)
    messages.print(f"{lesson.name} are kept in {place.parent}", style="dim", highlight=False, soft_wrap=True)
