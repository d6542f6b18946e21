"""`bitlens recommend`: which method to take for a network of one's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from bitlens.cli import early, options
from bitlens.system.console import answers, note

if TYPE_CHECKING:
    from bitlens.evaluation.recommending import Recommendation


def recommend(
    model: options.Model,
    data: Annotated[str, typer.Option("--data", help="csv:FILE, imagenet:DIR, folder:DIR or builtin:scenes.")],
    methods: Annotated[
        str | None, typer.Option("--methods", help="From `bitlens methods` (default: those that take no minutes).")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option("--metrics", help="From `bitlens metrics` (default: degradation-8:points=34,road).")
    ] = None,
    out: options.Out = Path("bitlens-recommendation"),
    limit: Annotated[int, typer.Option("--limit", min=2, help="How many samples.")] = 24,
    layer: options.Layer = None,
    weights: options.Weights = None,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Try methods on a few samples, and say which to take: the first, what is level with it, what each costs. Resumes."""
    from bitlens.evaluation.measures import read_metrics
    from bitlens.evaluation.plan import Plan
    from bitlens.evaluation.recommending import CHANCE, METHODS, METRICS, recommend
    from bitlens.methods.naming import read_methods, with_options

    asked = read_methods(f"{methods or METHODS},{','.join(CHANCE)}")
    aim = {"keep": None, "bits": None, "beta": None, "quality": None}
    plan = Plan(
        model, data, with_options(asked, aim, holds=True), read_metrics(metrics or METRICS),
        weights=weights, layer=layer, seed=seed,
    )  # fmt: skip
    early.check(model, data=[data], files={"--weights": weights}, out=out)
    from bitlens.cli.evaluate import run_plan

    run_plan(plan, out, options.device_name(device), None, "1/1", limit, keep_maps=False, retry_errors=False)
    found = recommend(out)
    if not options.printed_as_json(as_json, found.plain()):
        _print(found)


def _print(found: "Recommendation") -> None:
    heads = ("method", "beats of the others", "less than the first", "p", "seconds a map")
    table = Table(*heads, box=None, header_style="bold", pad_edge=False)
    table.columns[0].no_wrap = True  # where room is wanting the heads are broken, not the names
    for row in found.rows:
        behind = row.behind
        cells = (
            ["", ""]
            if behind is None
            else [f"{behind.difference:+.3f} ± {behind.standard_error:.3f}", f"{behind.p:.3f}"]
        )
        beaten = f"{row.beaten.mean:.3f} ± {row.beaten.standard_error:.3f}"
        style = "bold green" if row.level else ""
        table.add_row(*(Text(cell, style=style) for cell in (row.method, beaten, *cells, f"{row.seconds:.2g}")))
    answers.print(table)
    answers.print()
    answers.print(Text(found.sentence), soft_wrap=True)
    told = f"{found.samples} samples, {', '.join(found.metrics)}; green: not told from the first (paired, p of 0.05 or more)"
    answers.print(Text(told, style="dim"), soft_wrap=True)
    for method, reason in found.failed.items():
        note(f"{method} is not ranked: {reason}")
