"""The command line: parse, call, print. Heavy imports wait until a command runs."""

import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from bitlens.cli_evaluate import add_commands
from bitlens.cli_options import AsJson, DeviceOption, Layer, Model, Out, Seed, Weights, device_name
from bitlens.allocator import keep_freed_memory
from bitlens.console import answers, messages, note, progress_bar, results_table, show_warning, warn_of_collapse
from bitlens.errors import BitlensError, SettingError
from bitlens.version import __version__

if TYPE_CHECKING:
    from bitlens.bottlenecks.per_sample import IBA
    from bitlens.models.load import LoadedModel

__all__ = ["app", "main"]

app = typer.Typer(
    help="Show, in bits, which parts of an input a trained PyTorch network uses for its decision.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


Per = Literal["channel", "element"]
Quality = Literal["fast", "paper", "best"]
PictureFormat = Literal["png", "svg", "pdf"]


@app.callback()
def _options() -> None:
    """Every command answers --help."""


@app.command()
def version() -> None:
    """Print the version."""
    answers.print(__version__, highlight=False)


@app.command()
def demo(
    out: Out = Path("bitlens-demo"),
    scenes: Annotated[int, typer.Option("--scenes", min=1, max=64, help="How many scenes.")] = 8,
    device: DeviceOption = "auto",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Explain generated scenes with the bundled network: nothing to download."""
    from bitlens.demo import run_demo
    from bitlens.photos import write_summary

    with messages.status("starting") as status:
        done = run_demo(
            out, scenes, device=device_name(device), seed=seed, progress=lambda step: status.update(f"{step} …")
        )
    rows = [scene.row() for scene in done]
    write_summary(rows, dict(done[0].attribution.settings), out / "summary.json")
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    answers.print(results_table(rows))
    answers.print(f"pictures, maps and summary.json are in {out}/ (begin with {out}/sheet.png)", soft_wrap=True)


@app.command()
def explain(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders, or patterns such as 'photos/**/*.jpg'.")],
    model: Model,
    out: Out = Path("bitlens-out"),
    layer: Layer = None,
    target: Annotated[str, typer.Option("--target", help="auto (the prediction), an index, or a class name.")] = "auto",
    method: Annotated[str, typer.Option("--method", help="See `bitlens methods`.")] = "iba",
    beta: Annotated[
        float | None,
        typer.Option("--beta", help="Price of information: larger keeps less (default: 10; 1 for builtin/scenes)."),
    ] = None,
    quality: Annotated[Quality, typer.Option("--quality", help="How much work.")] = "paper",
    statistics: Annotated[Path | None, typer.Option("--statistics", help="Made by `bitlens statistics`.")] = None,
    statistics_from: Annotated[
        str | None,
        typer.Option("--statistics-from", help="Make them now (per channel) from these photos, and keep them."),
    ] = None,
    statistics_count: Annotated[int, typer.Option("--statistics-count", min=1, help="From how many photos.")] = 200,
    weights: Weights = None,
    classes: Annotated[Path | None, typer.Option("--classes", help="Class names, one a line, or a csv table.")] = None,
    picture_format: Annotated[PictureFormat, typer.Option("--format", help="Of the pictures.")] = "png",
    same_scale: Annotated[bool, typer.Option("--same-scale", help="One colour scale for all pictures.")] = False,
    device: DeviceOption = "auto",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Explain photos: a heat map in bits per pixel for each. A run that was cut short goes on where it was."""
    from bitlens.data.images import find_images
    from bitlens.models.load import load_model, read_classes
    from bitlens.photos import class_index, explain_into, write_summary

    _check_method(method)
    found = find_images(photos)
    loaded = load_model(model, weights, device_name(device))
    names = read_classes(classes) if classes else loaded.classes
    wanted = class_index(target, names)
    iba = _bottleneck(loaded, layer, beta=_beta(loaded) if beta is None else beta, quality=quality, seed=seed)
    _give_statistics(iba, loaded, statistics, statistics_from, statistics_count)
    with progress_bar("explaining", len(found)) as advance:
        done = explain_into(
            out, found, loaded, iba, wanted, names, suffix=picture_format, same_scale=same_scale, advance=advance
        )
    for reason in done.skipped.values():
        note(f"left out: {reason}")
    write_summary(done.rows, {"command": sys.argv[1:], **iba.all_settings()}, out / "summary.json", done.skipped)
    if as_json:
        print(json.dumps(done.rows, ensure_ascii=False))
        return
    warn_of_collapse(done.rows)
    answers.print(results_table(done.rows))
    known = f" ({done.repeated} of {len(done.rows)} were there already)" if done.repeated else ""
    answers.print(f"pictures, maps and summary.json are in {out}/{known}", soft_wrap=True)


@app.command()
def statistics(
    model: Model,
    data: Annotated[str, typer.Option("--data", help="folder:DIR, csv:FILE, imagenet:DIR or builtin:scenes-train.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write (.safetensors).")],
    layer: Layer = None,
    count: Annotated[int, typer.Option("--count", min=1, help="How many photos at most.")] = 10_000,
    per: Annotated[Per, typer.Option("--per", help="element as in the papers, channel for few photos.")] = "element",
    weights: Weights = None,
    device: DeviceOption = "auto",
    as_json: AsJson = False,
) -> None:
    """Learn what a layer puts out on many photos; every explanation at that layer needs it once."""
    from bitlens.cache import statistics_from
    from bitlens.data.datasets import open_dataset
    from bitlens.models.load import load_model

    samples = open_dataset(data)
    loaded = load_model(model, weights, device_name(device))
    iba = _bottleneck(loaded, layer)
    with progress_bar("statistics", min(count, len(samples))) as advance:
        made, _ = statistics_from(samples, data, loaded, iba, count, per, keep=False, progress=advance)
    made.save(out)
    if as_json:
        print(json.dumps({"file": str(out), "layer": iba.probe.name, "samples": made.samples, "per": made.granularity}))
        return
    answers.print(
        f"{out}: layer {iba.probe.name} of {model}, {made.samples} photos, per {made.granularity}", soft_wrap=True
    )


@app.command()
def patterns(
    model: Model,
    data: Annotated[str, typer.Option("--data", help="folder:DIR, csv:FILE, imagenet:DIR or builtin:scenes-train.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write (.safetensors).")],
    count: Annotated[int, typer.Option("--count", min=1, help="How many photos at most.")] = 2_000,
    weights: Weights = None,
    device: DeviceOption = "auto",
    as_json: AsJson = False,
) -> None:
    """Learn what each neuron's output tells of its input; the method pattern-attribution needs it once."""
    from bitlens.baselines.pattern_attribution import PatternAttribution
    from bitlens.data.datasets import open_dataset, tensor_batches
    from bitlens.models.load import load_model

    samples = open_dataset(data)
    loaded = load_model(model, weights, device_name(device))
    number = min(count, len(samples))
    chosen = [samples[i * len(samples) // number] for i in range(number)]
    source, method = f"{data} ({number} photos)", PatternAttribution(loaded.model)
    batches = tensor_batches(chosen, loaded.preprocess, 16, on_error="skip")
    with progress_bar("patterns", number) as advance:
        how = loaded.preprocess.description
        method.fit_patterns(batches, number, data=source, preprocessing=how, progress=advance)
    method.patterns.save(out)
    facts = {name: getattr(method.patterns, name) for name in ("samples", "neurons", "replaced")}
    if as_json:
        print(json.dumps({"file": str(out), **facts}))
        return
    answers.print(f"{out}: {facts['neurons']:,} neurons of {model}, {facts['samples']} photos", soft_wrap=True)


@app.command()
def models(
    search: Annotated[str, typer.Argument(help="Show the names that contain this.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the networks that can be named. Nothing is downloaded."""
    from bitlens.models.load import FORMS, available_models

    entries = [entry for entry in available_models() if search.lower() in entry.spec.lower()]
    if as_json:
        print(json.dumps([vars(entry) for entry in entries]))
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


@app.command()
def methods(as_json: AsJson = False) -> None:
    """List the methods of attribution."""
    from bitlens.methods import METHODS

    rows = [
        {"name": m.name, "unit": m.unit, "summary": m.summary, "paper": m.paper, "passes": m.passes}
        for m in METHODS.values()
    ]
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        answers.print(f"[bold]{row['name']}[/bold]  {row['unit']}")
        answers.print(f"  {row['summary']}\n  {row['paper']}\n  passes: {row['passes']}", highlight=False)


def _check_method(name: str) -> None:
    from bitlens.methods import METHODS

    if name not in METHODS:
        raise SettingError(f"there is no method {name!r}: choose one of {', '.join(METHODS)}")


def _bottleneck(loaded: "LoadedModel", layer: str | None, **settings: Any) -> "IBA":
    """The bottleneck at the given layer, or at the one that the network's architecture suggests."""
    from PIL import Image

    from bitlens.bottlenecks.per_sample import IBA
    from bitlens.models.layers import KNOWN_LAYERS, default_layer

    chosen = layer or loaded.default_layer or KNOWN_LAYERS.get(loaded.name)
    if chosen is None:
        grey = loaded.preprocess(Image.new("RGB", (512, 512), (128, 128, 128)))[None]
        device = next((p.device for p in loaded.model.parameters()), None)
        chosen = default_layer(loaded.model, grey.to(device))
        messages.print(f"layer {chosen} (1/8 of the resolution; --layer chooses another)", style="dim", highlight=False)
    return IBA(loaded.model, chosen, **settings)


def _beta(loaded: "LoadedModel") -> float:
    """The price of information that suits a network unless the user names one."""
    from bitlens.models.builtin import BUILTIN

    known = BUILTIN.get(loaded.name.removeprefix("builtin/")) if loaded.name.startswith("builtin/") else None
    return known.beta if known is not None else 10.0


def _give_statistics(iba: "IBA", loaded: "LoadedModel", file: Path | None, source: str | None, count: int) -> None:
    from bitlens.cache import statistics_from
    from bitlens.data.datasets import open_dataset
    from bitlens.statistics import FeatureStatistics

    if file is not None:
        iba.statistics = FeatureStatistics.load(file)
        return
    if source is None and loaded.name.startswith("builtin/"):
        source = "builtin:scenes-train"
    if source is None:
        raise SettingError(
            f"statistics of layer {iba.probe.name!r} are missing. Any photos of the kind the network was trained on will do: "
            "--statistics-from DIR makes them from a folder now and keeps them; `bitlens statistics` writes them to a file "
            "for --statistics FILE"
        )
    samples = open_dataset(source)
    with progress_bar("statistics", min(count, len(samples))) as advance:
        _, place = statistics_from(samples, source, loaded, iba, count, "channel", progress=advance)
    messages.print(f"statistics are kept in {place}", style="dim", highlight=False, soft_wrap=True)


add_commands(app)


def main() -> None:
    """Run the command line. Exit codes: 0, 1 (it failed: one line says why), 2 (wrong use), 130 (interrupted)."""
    warnings.showwarning = show_warning
    keep_freed_memory()
    try:
        app()
    except BitlensError as error:
        messages.print(f"bitlens: {error}", style="red", highlight=False, soft_wrap=True, markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        messages.print("interrupted; the same command goes on where it was", soft_wrap=True)
        sys.exit(130)
