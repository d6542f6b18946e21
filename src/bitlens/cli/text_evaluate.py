"""The commands that measure methods for texts: `bitlens text evaluate`, `bitlens text metrics`, `bitlens text methods`."""

from pathlib import Path
from typing import Annotated

import typer

from bitlens.cli import early, options
from bitlens.cli.evaluate import list_metrics, print_tables, refuse_nothing, run_plan
from bitlens.system.console import answers


def evaluate(
    data: Annotated[str, typer.Option("--data", help="jsonl:FILE, tsv:FILE, csv:FILE or builtin:reviews.")],
    model: options.TextModel = "builtin/reviews",
    methods: Annotated[
        str, typer.Option("--methods", help="From `bitlens text methods`: iba,iba:beta=0.1,lime:samples=200.")
    ] = "iba,random",
    metrics: Annotated[
        str, typer.Option("--metrics", help="From `bitlens text metrics`; removal stands for all that begin so.")
    ] = "removal",
    out: options.Out = Path("bitlens-text-evaluation"),
    limit: options.Limit = None,
    part: options.Part = "1/1",
    asked: options.Asked = "label",
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Cut texts there (default: what the network reads).")
    ] = None,
    layer: options.TextLayer = None,
    keep: options.Keep = None,
    bits: options.Bits = None,
    beta: options.Beta = None,
    published: options.Published = False,
    statistics_from: Annotated[
        str | None,
        typer.Option(
            "--statistics-from", help="What bottlenecks learn from (default: what comes with the network, else --data)."
        ),
    ] = None,
    statistics_count: options.TextCount = 1000,
    weights: options.Weights = None,
    classes: options.Classes = None,
    keep_maps: options.KeepMaps = False,
    retry_errors: options.RetryErrors = False,
    cluster: options.Cluster = None,
    workers: options.WorkerCount = None,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Measure methods by metrics on texts. A run that was cut short goes on where it was, and can grow."""
    from bitlens.evaluation.measures import read_metrics
    from bitlens.evaluation.plan import Plan
    from bitlens.methods.naming import read_methods, with_options
    from bitlens.models.classes import read_classes

    chosen = with_options(
        read_methods(methods, "text"), {"keep": keep, "bits": bits, "beta": beta}, "text", holds=not published
    )
    plan = Plan(
        model, data, chosen, read_metrics(metrics, "text"), kind="text", weights=weights, layer=layer,
        asked=asked, max_tokens=max_tokens, statistics_from=statistics_from, statistics_count=statistics_count, seed=seed,
        classes=read_classes(classes) if classes is not None else None,
    )  # fmt: skip
    options.read_part(part)
    early.check(model, kind="text", data=[data, statistics_from], files={"--weights": weights}, out=out)
    with options.reached_workers(cluster, workers, device) as (helpers, place):
        run_plan(plan, out, place, helpers, part, limit, keep_maps=keep_maps, retry_errors=retry_errors)
    refuse_nothing(print_tables(out, None, None, "json" if as_json else "text"))


def metrics(as_json: options.AsJson = False) -> None:
    """List the metrics for texts: what they say, which direction is better, where they come from, what they cost."""
    list_metrics("text", as_json=as_json)


def methods(as_json: options.AsJson = False) -> None:
    """List the methods for texts: where they come from, what they cost, on which networks they work."""
    from bitlens.methods import METHODS

    names = ("name", "summary", "paper", "unit", "passes", "signed", "supports")
    rows = [{name: getattr(entry, name) for name in names} for entry in METHODS["text"].values()]
    if options.printed_as_json(as_json, rows):
        return
    for row in rows:
        answers.print(f"[bold]{row['name']}[/bold]  {row['summary']}", highlight=False)
        answers.print(f"  {row['paper']}\n  {row['unit']}; {row['supports']}; passes: {row['passes']}", highlight=False)
