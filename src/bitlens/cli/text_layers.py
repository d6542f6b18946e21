"""`bitlens text layers`: one bottleneck after each layer, two networks side by side, β swept. Heavy imports wait."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bitlens.cli.options import AsJson, DeviceOption, Out, Seed, Weights, device_name
from bitlens.cli.text import TextModel, chosen_texts
from bitlens.errors import InputError, SettingError
from bitlens.system.console import answers, note, progress_bar

if TYPE_CHECKING:
    from bitlens.bottlenecks.layer_analysis import LayerAnalysis
    from bitlens.bottlenecks.token_statistics import TokenStatistics
    from bitlens.data.tokenizing import TokenBatch
    from bitlens.models.loaded import Loaded

_OWN_TEXTS = "builtin:reviews"


def layers(
    texts: Annotated[list[str] | None, typer.Argument(help="Texts, each in quotes.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="One text from a file; - for standard input.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Texts from jsonl:FILE, tsv:FILE or builtin:reviews.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many texts of --data.")] = 10,
    pair: Annotated[str | None, typer.Option("--pair", help="The second text, for networks that compare two.")] = None,
    model: TextModel = "builtin/reviews",
    weights: Weights = None,
    against: Annotated[
        str | None, typer.Option("--against", help="Another network, drawn below: the same before fine-tuning, say.")
    ] = None,
    at: Annotated[str, typer.Option("--layers", help="all, or dotted names separated by commas.")] = "all",
    betas: Annotated[str, typer.Option("--betas", help="Prices of information, separated by commas.")] = "1,10,100",
    mask: Annotated[
        str, typer.Option("--mask", help="token: one mask for each token; unit: for each hidden unit.")
    ] = "token",
    target: Annotated[
        str, typer.Option("--target", help="auto (the prediction of --model), an index, or a class name.")
    ] = "auto",
    statistics_from: Annotated[
        str, typer.Option("--statistics-from", help="Texts that statistics are made from, and kept.")
    ] = _OWN_TEXTS,
    statistics_count: Annotated[int, typer.Option("--statistics-count", min=1, help="From how many texts.")] = 1000,
    out: Out = Path("bitlens-layers"),
    device: DeviceOption = "auto",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Restrict each layer by itself: which words it uses, how many bits, and what of the prediction they keep."""
    from bitlens.explaining.asked import read_target
    from bitlens.models.load import load_model

    prices = _numbers(betas)
    samples = chosen_texts(texts or [], file, data, limit, pair)
    pairs = [sample.pair or "" for sample in samples] if samples[0].pair is not None else None
    specs = [model] if against is None else [model, against]
    networks = [
        load_model(spec, weights if n == 0 else None, device_name(device), kind="text") for n, spec in enumerate(specs)
    ]
    batch, classes = networks[0].tokenizer([sample.text for sample in samples], pairs), networks[0].classes or ()
    if any(other.tokenizer([s.text for s in samples], pairs).tokens != batch.tokens for other in networks[1:]):
        raise InputError(f"{against} cuts the texts into other tokens than {model}: they cannot stand side by side")
    networks[0], index = read_target(target, networks[0], classes)
    networks = [replace(loaded, output=networks[0].output) for loaded in networks]
    asked = [index] * len(batch) if index is not None else _answers(networks[0], batch)
    analyses = {}
    for spec, loaded in zip(specs, networks, strict=True):
        known = _statistics(loaded, at, statistics_from, statistics_count)
        analyses[spec] = _analysed(loaded, batch, asked, known, prices, mask, seed)
    written = _write(analyses, batch, out, classes)
    rows = [
        {"model": spec, "name": samples[row["text"]].name, **row} for spec, a in analyses.items() for row in a.rows()
    ]
    (out / "layers.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False), "utf-8")
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    _print(analyses)
    answers.print(f"{', '.join(written)} and layers.json are in {out}", soft_wrap=True)


def _numbers(betas: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in betas.split(","))
    except ValueError:
        raise SettingError(f"--betas is {betas!r}: expected numbers separated by commas, as 1,10,100") from None


def _answers(loaded: "Loaded", batch: "TokenBatch") -> list[int]:
    """What the network answers to each text, which all networks are asked about alike; 0 for the value of a regression."""
    import torch

    from bitlens.probe import frozen
    from bitlens.probe.endings import output_form

    found: list[int] = []
    place = next(loaded.model.parameters()).device
    with frozen(loaded.model), torch.no_grad():
        for row in range(len(batch)):
            one = {name: value[row : row + 1].to(place) for name, value in batch.inputs.items()}
            output = loaded.model(**one)
            form = output_form(loaded.model, one, output, loaded.output)
            found.append(0 if form.numbers == "regression" else int(form.scores(output).argmax()))
    return found


def _statistics(loaded: "Loaded", at: str, source: str, count: int) -> "dict[str, TokenStatistics]":
    from bitlens.bottlenecks.layered import LayeredTokenIBA
    from bitlens.methods.lessons import TOKEN_STATISTICS
    from bitlens.methods.teaching import Source, Teacher
    from bitlens.models.load_text import text_layers

    names = text_layers(loaded.model) if at == "all" else tuple(at.split(","))
    samples = Source.open(source, "text", count)
    if source == _OWN_TEXTS:
        note(f"statistics come from the short reviews of {_OWN_TEXTS}; better from texts like yours: --statistics-from")
    bottlenecks = LayeredTokenIBA(loaded.model, names)
    with progress_bar("statistics", samples.total) as advance:
        Teacher(loaded, samples, progress=advance).teach(TOKEN_STATISTICS, bottlenecks)
    return dict(bottlenecks.statistics)


def _analysed(
    loaded: "Loaded",
    batch: "TokenBatch",
    asked: Sequence[int],
    known: "dict[str, TokenStatistics]",
    prices: tuple[float, ...],
    mask: str,
    seed: int,
) -> "LayerAnalysis":
    from bitlens.bottlenecks.layer_analysis import analyse_layers

    with progress_bar(f"layers of {loaded.name}", len(known) * len(prices)) as advance:
        return analyse_layers(
            loaded.model,
            batch,
            asked,
            statistics=known,
            betas=prices,
            mask=mask,
            seed=seed,
            output=loaded.output,
            progress=advance,
        )


def _write(analyses: "dict[str, LayerAnalysis]", batch: "TokenBatch", out: Path, classes: Sequence[str]) -> list[str]:
    """All pictures and numbers; gives the names of the files."""
    from bitlens.explaining.layer_pages import draw_beta_sweep, draw_information_plane, draw_text_layers
    from bitlens.view.canvas import save_figure

    out.mkdir(parents=True, exist_ok=True)
    names = []
    first = next(iter(analyses.values()))
    middle = len(first.betas) // 2
    for number, analysis in enumerate(analyses.values()):
        analysis.save(out / f"layers-{number}.safetensors")
        names.append(f"layers-{number}.safetensors")
    for text in range(len(batch)):
        pages = {f"text-{text}.png": draw_text_layers(analyses, batch, text, beta=middle, classes=classes)}
        if len(first.betas) > 1:
            pages[f"text-{text}-betas.png"] = draw_beta_sweep(first, batch, text, classes=classes)
        for name, page in pages.items():
            save_figure(page, out / name)
        names.extend(pages)
    if len(first.betas) > 1:
        save_figure(draw_information_plane(analyses), out / "plane.png")
        names.append("plane.png")
    return names


def _print(analyses: "dict[str, LayerAnalysis]") -> None:
    from rich.table import Table

    from bitlens.explaining.layer_pages import short_names

    for spec, analysis in analyses.items():
        table = Table(
            title=f"{spec}: {analysis.measure} before {float(analysis.before.mean()):.2f}", title_justify="left"
        )
        table.add_column("layer")
        for beta in analysis.betas:
            table.add_column(f"bits at β = {beta:g}", justify="right")
            table.add_column("kept", justify="right")
        for depth, layer in enumerate(short_names(analysis.layers)):
            cells = [
                text
                for number in range(len(analysis.betas))
                for text in (
                    f"{float(analysis.total_bits[number, depth].mean()):,.0f}",
                    f"{float(analysis.kept[number, depth].mean()):.2f}",
                )
            ]
            table.add_row(layer, *cells)
        answers.print(table)
