"""`bitlens text layers`: one bottleneck after each layer, two networks side by side, β swept. Heavy imports wait."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitlens.cli import early, options
from bitlens.cli.text import chosen_texts, columns_of, refuse_several
from bitlens.errors import InputError
from bitlens.system.console import answers, progress_bar
from bitlens.system.files import write_text

if TYPE_CHECKING:
    from bitlens.bottlenecks.layer_analysis import LayerAnalysis
    from bitlens.bottlenecks.token_statistics import TokenStatistics
    from bitlens.core.targets import Target
    from bitlens.data.tokenizing import TokenBatch
    from bitlens.models.loaded import Loaded


def layers(
    texts: options.Texts = None,
    file: options.TextFile = None,
    data: options.TextData = None,
    limit: options.TextLimit = 10,
    pair: options.TextPair = None,
    model: options.TextModel = "builtin/reviews",
    weights: options.Weights = None,
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
        str | None,
        typer.Option(
            "--statistics-from",
            help="Texts that statistics are made from, and kept (default: the network's own hidden states over tokens drawn "
            "from its vocabulary).",
        ),
    ] = None,
    statistics_count: options.TextCount = 1000,
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write a page: the words shaded layer by layer, for each price.")
    ] = None,
    out: options.Out = Path("bitlens-layers"),
    device: options.Device = "auto",
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Restrict each layer by itself: which words it uses, how many bits, and what of the prediction they keep."""
    from bitlens.models.classes import check_target

    prices = options.numbers("--betas", betas)
    check_target(target, early.bundled_classes(model))
    refuse_several(texts or [], file, data)
    early.check(
        model, against, kind="text", data=[data, statistics_from], files={"--weights": weights}, out=out, out_file=html
    )
    from bitlens.explaining.layer_page import layers_page
    from bitlens.explaining.wanted import read_target
    from bitlens.models.load import load_model

    samples = chosen_texts(texts or [], file, data, limit, pair)
    given, place = columns_of(samples), options.device_name(device)
    specs = [model] if against is None else [model, against]
    networks = [load_model(spec, weights if n == 0 else None, place, kind="text") for n, spec in enumerate(specs)]
    batch, classes = _batch(networks, given), networks[0].classes or ()
    networks[0], index = read_target(target, networks[0], classes)
    networks = [replace(loaded, output=networks[0].output) for loaded in networks]
    asked = [index] * len(batch) if index is not None else _answers(networks[0], batch)
    statistics = partial(_statistics, at=at, source=statistics_from, count=statistics_count, seed=seed)
    how = {"betas": prices, "mask": mask, "seed": seed}
    analyses = {
        spec: _analysed(one, batch, asked, statistics(one), how) for spec, one in zip(specs, networks, strict=True)
    }
    titled = _titled(analyses)
    written = _write(titled, batch, out, classes)
    if html is not None:
        write_text(html, layers_page(titled, batch, [one.name for one in samples], classes))
    rows = [
        {"model": spec, "name": samples[row["text"]].name, **row} for spec, a in analyses.items() for row in a.rows()
    ]
    (out / "layers.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False), "utf-8")
    if options.printed_as_json(as_json, rows):
        return
    _print(titled)
    answers.print(f"{', '.join(written)} and layers.json are in {out}", soft_wrap=True)
    if html is not None:
        answers.print(f"the page is {html}", soft_wrap=True)


def _analysed(
    loaded: "Loaded",
    batch: "TokenBatch",
    asked: "Sequence[int | Target]",
    statistics: "dict[str, TokenStatistics]",
    how: Mapping[str, Any],
) -> "LayerAnalysis":
    """Restrict each layer of one network, at each price."""
    from bitlens.bottlenecks.layer_analysis import analyse_layers

    with progress_bar(f"layers of {loaded.name}", len(statistics) * len(how["betas"])) as advance:
        return analyse_layers(
            loaded.model, batch, asked, statistics=statistics, output=loaded.output, progress=advance, **how
        )


def _batch(networks: "Sequence[Loaded]", given: "tuple[list[str], list[str] | None]") -> "TokenBatch":
    """Cut texts into tokens, as all networks do alike; InputError where they do not."""
    batch: TokenBatch = networks[0].tokenizer(*given)
    for other in networks[1:]:
        if other.tokenizer(*given).tokens != batch.tokens:
            raise InputError(
                f"{other.name} cuts the texts into other tokens than {networks[0].name}: they cannot stand side by side"
            )
    return batch


def _titled(analyses: "dict[str, LayerAnalysis]") -> "dict[str, LayerAnalysis]":
    """Call networks by their names, without folders, where these tell them apart."""
    from bitlens.models.listing import short_name

    names = {spec: short_name(spec) for spec in analyses}
    apart = len(set(names.values())) == len(names)
    return {names[spec] if apart else spec: one for spec, one in analyses.items()}


def _answers(loaded: "Loaded", batch: "TokenBatch") -> list[int]:
    """Read what the network answers to each text, which all networks are asked about alike; 0 for a regression's value."""
    from bitlens.explaining.explainer import clean_answers

    said = clean_answers(loaded, batch, loaded.output)
    return [0] * len(batch) if said is None else said.argmax(1).tolist()


def _statistics(loaded: "Loaded", at: str, source: str | None, count: int, seed: int) -> "dict[str, TokenStatistics]":
    from bitlens.bottlenecks.layered import LayeredTokenIBA
    from bitlens.bottlenecks.token_statistics import sampled_statistics
    from bitlens.methods.lessons import TOKEN_STATISTICS
    from bitlens.methods.teaching import Source
    from bitlens.models.load_text import text_layers

    names = text_layers(loaded.model) if at == "all" else tuple(at.split(","))
    if source is None:
        return sampled_statistics(loaded.model, names, seed=seed)
    bottlenecks = LayeredTokenIBA(loaded.model, names)
    options.teach(loaded, Source.open(source, "text", count), TOKEN_STATISTICS, bottlenecks)
    return dict(bottlenecks.statistics)


def _write(analyses: "dict[str, LayerAnalysis]", batch: "TokenBatch", out: Path, classes: Sequence[str]) -> list[str]:
    """Write all pictures and numbers; gives the names of the files."""
    from bitlens.explaining.layer_pictures import draw_beta_sweep, draw_information_plane, draw_text_layers
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

    from bitlens.explaining.layer_pictures import short_names

    for spec, analysis in analyses.items():
        title = f"{spec}: {analysis.measure} before {float(analysis.before.mean()):.2f}"
        table = Table(
            title=title, title_justify="left", title_style="bold", box=None, header_style="bold", pad_edge=False
        )
        table.add_column("\nlayer")
        for beta in analysis.betas:
            table.add_column(f"β = {beta:g}\nbits", justify="right")
            table.add_column("\nkept", justify="right")
        for depth, layer in enumerate(short_names(analysis.layers)):
            bits, kept = analysis.total_bits[:, depth].mean(1).tolist(), analysis.kept[:, depth].mean(1).tolist()
            cells = [text for b, k in zip(bits, kept, strict=True) for text in (f"{b:,.0f}", f"{k:.2f}")]
            table.add_row(layer, *cells)
        answers.print(table)
