"""The commands that measure methods for texts: `bitlens text evaluate`, `bitlens text metrics`, `bitlens text methods`."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from bitlens.cli.evaluate import list_metrics, print_tables, run_plan
from bitlens.cli.options import (
    AsJson,
    Classes,
    Cluster,
    DeviceOption,
    Out,
    Seed,
    Weights,
    WorkersOption,
    device_name,
    reached_workers,
)
from bitlens.system.console import answers

Asked = Literal["label", "predicted"]


def add_text_commands(app: typer.Typer) -> None:
    """Give the group of commands for texts those that measure."""
    for command in (evaluate, metrics, methods):
        app.command()(command)


def evaluate(
    data: Annotated[str, typer.Option("--data", help="jsonl:FILE, tsv:FILE, csv:FILE or builtin:reviews.")],
    model: Annotated[
        str, typer.Option("--model", help="builtin/reviews, hf/NAME, a folder, or FILE.py:CALLABLE.")
    ] = "builtin/reviews",
    methods: Annotated[
        str, typer.Option("--methods", help="From `bitlens text methods`: iba,iba:beta=0.1,lime:samples=200.")
    ] = "iba,random",
    metrics: Annotated[
        str, typer.Option("--metrics", help="From `bitlens text metrics`; removal stands for all that begin so.")
    ] = "removal",
    out: Out = Path("bitlens-text-evaluation"),
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many texts; more can follow.")] = None,
    part: Annotated[str, typer.Option("--part", metavar="K/N", help="Only the K-th of N parts of the texts.")] = "1/1",
    asked: Annotated[
        Asked, typer.Option("--target", help="Ask about each text's label, or about the class that is predicted.")
    ] = "label",
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Cut texts there (default: what the network reads).")
    ] = None,
    layer: Annotated[str | None, typer.Option("--layer", help="The layer to restrict, by its dotted name.")] = None,
    statistics_from: Annotated[
        str | None,
        typer.Option(
            "--statistics-from", help="What bottlenecks learn from (default: what comes with the network, else --data)."
        ),
    ] = None,
    statistics_count: Annotated[int, typer.Option("--statistics-count", min=1, help="From how many texts.")] = 1000,
    weights: Weights = None,
    classes: Classes = None,
    keep_maps: Annotated[bool, typer.Option("--keep-maps", help="Keep every map, for later metrics.")] = False,
    retry_errors: Annotated[bool, typer.Option("--retry-errors", help="Try texts again that failed.")] = False,
    cluster: Cluster = None,
    workers: WorkersOption = None,
    device: DeviceOption = "auto",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure methods by metrics on texts. A run that was cut short goes on where it was, and can grow."""
    from bitlens.evaluation.measures import read_metrics
    from bitlens.evaluation.plan import Plan
    from bitlens.evaluation.run import read_part
    from bitlens.methods.building import read_methods
    from bitlens.models.load import read_classes

    plan = Plan(
        model,
        data,
        read_methods(methods, "text"),
        read_metrics(metrics, "text"),
        kind="text",
        weights=weights,
        classes=read_classes(classes) if classes is not None else None,
        layer=layer,
        asked=asked,
        max_tokens=max_tokens,
        statistics_from=statistics_from,
        statistics_count=statistics_count,
        seed=seed,
    )
    with reached_workers(cluster, workers, device) as helpers:
        run_plan(
            plan, out, device_name(device) if helpers is None else "cpu", read_part(part), limit,
            keep_maps=keep_maps, retry_errors=retry_errors, workers=helpers,
        )  # fmt: skip
    print_tables(out, None, None, "json" if as_json else "text")


def metrics(as_json: AsJson = False) -> None:
    """List the metrics for texts: what they say, which direction is better, where they come from, what they cost."""
    from bitlens.evaluation.measures import METRICS

    list_metrics(METRICS["text"].values(), as_json=as_json)


def methods(as_json: AsJson = False) -> None:
    """List the methods for texts: where they come from, what they cost, on which networks they work."""
    from bitlens.methods import METHODS

    names = ("name", "summary", "paper", "unit", "passes", "signed", "supports")
    rows = [{name: getattr(entry, name) for name in names} for entry in METHODS["text"].values()]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    for row in rows:
        answers.print(f"[bold]{row['name']}[/bold]  {row['summary']}", highlight=False)
        answers.print(f"  {row['paper']}\n  {row['unit']}; {row['supports']}; passes: {row['passes']}", highlight=False)
