"""The command line: parse, call, print. Heavy imports wait until a command runs."""

import json
import sys
import warnings
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from bitlens.allocator import keep_freed_memory
from bitlens.cli_evaluate import add_commands
from bitlens.cli_explain import explain
from bitlens.cli_methods import methods
from bitlens.cli_options import AsJson, DeviceOption, Layer, Model, Out, Seed, Weights, device_name
from bitlens.console import answers, messages, progress_bar, results_table, show_warning
from bitlens.errors import BitlensError
from bitlens.version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    help="Show, in bits, which parts of an input a trained PyTorch network uses for its decision.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


Per = Literal["channel", "element"]


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
    from bitlens.pictures import write_summary

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


app.command()(explain)


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
    from bitlens.evaluation.learning import build_method
    from bitlens.evaluation.specs import Spec
    from bitlens.models.load import load_model

    samples = open_dataset(data)
    loaded = load_model(model, weights, device_name(device))
    iba = build_method(Spec("iba", {}), loaded, layer=layer)
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


app.command()(methods)
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
