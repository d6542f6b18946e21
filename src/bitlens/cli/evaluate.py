"""The commands that measure: evaluate, table, metrics. Heavy imports wait until a command runs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table as RichTable
from rich.text import Text

from bitlens.cli import early, options
from bitlens.cli.report import write_beside
from bitlens.errors import DataError, SettingError
from bitlens.system.console import answers, messages, note, progress_bar

if TYPE_CHECKING:
    from bitlens.data.kinds import Kind
    from bitlens.evaluation.formats import Grid
    from bitlens.evaluation.papers import Paper
    from bitlens.evaluation.plan import Plan
    from bitlens.evaluation.tables import Selection, Table
    from bitlens.workers import Workers

_MOST_NOTES = 8
Format = Literal["text", "markdown", "csv", "json"]
PaperOption = Annotated[
    str | None, typer.Option("--paper", help="iba-table1, iba-table4, inputiba-table2 or inputiba-table3.")
]


def evaluate(
    data: Annotated[str, typer.Option("--data", help="csv:FILE, imagenet:DIR, folder:DIR or builtin:scenes.")],
    model: Annotated[
        str | None, typer.Option("--model", help="As for explain. With --paper the paper's networks by default.")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods", help="From `bitlens methods`: iba,iba:beta=100,grad-cam:layer=layer4 (default: iba)."
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", help="From `bitlens metrics`: degradation,bbox (default: degradation-14,bbox)."),
    ] = None,
    out: options.Out = Path("bitlens-evaluation"),
    paper: PaperOption = None,
    limit: options.Limit = None,
    part: options.Part = "1/1",
    asked: options.Asked = "label",
    layer: options.Layer = None,
    keep: options.Keep = None,
    bits: options.Bits = None,
    beta: options.Beta = None,
    quality: Annotated[
        options.Quality | None,
        typer.Option("--quality", help="How much work (default: fast; paper for iba with --beta, and with --paper)."),
    ] = None,
    published: options.Published = False,
    statistics_from: Annotated[
        str | None, typer.Option("--statistics-from", help="What methods learn from (default: --data, without labels).")
    ] = None,
    statistics_count: Annotated[
        int | None, typer.Option("--statistics-count", min=1, help="From how many photos (default: 1000).")
    ] = None,
    statistics_per: Annotated[
        options.Per | None,
        typer.Option("--statistics-per", help="element as in the papers, channel for few photos (default)."),
    ] = None,
    weights: options.Weights = None,
    classes: options.Classes = None,
    keep_maps: options.KeepMaps = False,
    retry_errors: options.RetryErrors = False,
    as_report: options.AsReport = False,
    cluster: options.Cluster = None,
    workers: options.WorkerCount = None,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Measure methods by metrics on a data set. A run that was cut short goes on where it was, and can grow."""
    from bitlens.models.classes import read_classes

    printed = _published(paper)
    names = read_classes(classes) if classes is not None else None
    if model is None and printed is None:
        raise SettingError("no network was named: give --model, or --paper for the networks of a paper")
    models = [model] if model is not None else list(printed.networks.values() if printed is not None else ())
    if weights is not None and len(models) > 1:
        raise SettingError("--weights are those of one network: name it with --model")
    folders = [out / _folder_name(name) for name in models] if printed is not None else [out]
    aim = {"keep": keep, "bits": bits, "beta": beta, "quality": quality, "published": published}
    plans = [
        _plan(
            name, data, methods, metrics, printed, aim, weights=weights, layer=layer, statistics_from=statistics_from,
            statistics_count=statistics_count, statistics_per=statistics_per, seed=seed, classes=names, asked=asked,
        )
        for name in models
    ]  # fmt: skip
    options.read_part(part)
    early.check(*models, data=[data, statistics_from], files={"--weights": weights}, out=out)
    with options.reached_workers(cluster, workers, device) as (helpers, place):
        for plan, folder in zip(plans, folders, strict=True):
            run_plan(plan, folder, place, helpers, part, limit, keep_maps=keep_maps, retry_errors=retry_errors)
    if as_report:
        write_beside(out)
    refuse_nothing(print_tables(out, None, printed, "json" if as_json else "text"))


def table(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What evaluate wrote.")],
    methods: Annotated[
        str | None, typer.Option("--methods", "--method", help="Only these, separated by commas.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option("--metrics", "--metric", help="Only these, separated by commas.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option("--reference", help="The method that the others are compared with (default: iba).")
    ] = None,
    paper: PaperOption = None,
    part: options.Part = "1/1",
    min_probability: Annotated[
        float, typer.Option("--min-probability", min=0, max=1, help="Only samples whose target has at least this.")
    ] = 0.0,
    format_: Annotated[Format, typer.Option("--format", help="How to print it.")] = "text",
    plots: Annotated[Path | None, typer.Option("--plots", help="Draw curves and comparisons into this folder.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Print what evaluate measured: means, standard errors, paired tests, and the papers' numbers beside them."""
    from bitlens.evaluation.tables import Selection

    published = _published(paper)
    selection = Selection(
        methods.split(",") if methods else None,
        metrics.split(",") if metrics else None,
        options.read_part(part),
        min_probability,
        reference,
    )
    print_tables(folder, selection, published, "json" if as_json else format_)
    if plots is not None:
        from bitlens.evaluation.pinned import result_folders
        from bitlens.evaluation.plots import draw_plots

        for place in result_folders(folder):
            into = plots if place == folder else plots / place.name
            for path in draw_plots(place, into, selection):
                messages.print(str(path), style="dim", highlight=False, markup=False, soft_wrap=True)


def metrics(as_json: options.AsJson = False) -> None:
    """List the metrics: what they say, which direction is better, where they come from, what they cost."""
    list_metrics("image", as_json=as_json)


def list_metrics(kind: "Kind", *, as_json: bool) -> None:
    """Show the metrics of photos or texts, one after the other."""
    from bitlens.evaluation.measures import METRICS

    names = ("name", "summary", "better", "range", "source", "passes", "needs")
    rows = [{name: getattr(metric, name) for name in names} for metric in METRICS[kind].values()]
    if options.printed_as_json(as_json, rows):
        return
    for row in rows:
        answers.print(f"[bold]{row['name']}[/bold]  {row['better']} is better; {row['range']}", highlight=False)
        needs = f"\n  needs: {row['needs']}" if row["needs"] else ""
        answers.print(f"  {row['summary']}\n  {row['source']}\n  passes: {row['passes']}{needs}", highlight=False)


def _published(name: str | None) -> "Paper | None":
    if name is None:
        return None
    from bitlens.evaluation.papers import load_paper

    return load_paper(name)


def _plan(
    model: str,
    data: str,
    methods: str | None,
    metrics: str | None,
    paper: "Paper | None",
    aim: Mapping[str, Any],
    *,
    statistics_count: int | None,
    statistics_per: options.Per | None,
    **others: Any,
) -> "Plan":
    """Take the paper's settings where a paper is asked for, changed by what was named; else maps hold, see `holding`."""
    from bitlens.evaluation.measures import read_metrics
    from bitlens.evaluation.plan import Plan
    from bitlens.methods.naming import read_methods, with_options

    specs = paper.specs() if paper and methods is None else read_methods(methods or "iba")
    if paper and paper.missing() and methods is None:
        note(f"not available here: {', '.join(paper.missing())}")
    return Plan(
        model,
        data,
        with_options(
            specs,
            {name: value for name, value in aim.items() if name != "published"},
            holds=paper is None and not aim["published"],
        ),
        paper.metric_specs() if paper and metrics is None else read_metrics(metrics or "degradation-14,bbox"),
        statistics_count=statistics_count or (paper.statistics_count if paper else 1000),
        statistics_per=statistics_per or (paper.statistics_per if paper else "channel"),
        **others,
    )


def run_plan(
    plan: "Plan",
    folder: Path,
    device: str,
    workers: "Workers | None",
    part: str,
    limit: int | None,
    *,
    keep_maps: bool,
    retry_errors: bool,
) -> None:
    """Evaluate what is missing of a plan in a folder, with progress shown, and draw the maps that are kept."""
    from bitlens.evaluation.context import open_context
    from bitlens.evaluation.grids import draw_kept_maps
    from bitlens.evaluation.on_workers import evaluates_on
    from bitlens.evaluation.run import carry_out, find_tasks, select_samples
    from bitlens.methods.on_workers import summarises_on
    from bitlens.view.canvas import save_figure

    share = options.read_part(part)
    with messages.status("starting") as status:
        context = open_context(
            plan, folder, device, lambda what, seen, total: status.update(f"{what}: {seen} of {total}"),
            keep_maps=keep_maps, collect=summarises_on(workers) if workers is not None else None,
        )  # fmt: skip
        indices = select_samples(len(context.samples), share, limit)
        tasks = find_tasks(context, folder, indices, retry_errors=retry_errors)
    if known := len(indices) - len(tasks):
        messages.print(f"{known} of {len(indices)} samples were there already", style="dim", highlight=False)
    with progress_bar(plan.model, len(tasks), unit=context.noun) as advance:
        engine = evaluates_on(workers) if workers is not None else None
        carry_out(context, folder, tasks, engine=engine, advance=advance)
    sheets = draw_kept_maps(context, context.maps, indices) if context.maps is not None and plan.kind == "image" else []
    for number, sheet in enumerate(sheets, 1):
        place = folder / f"maps-{number}.png"
        save_figure(sheet, place)
        messages.print(str(place), style="dim", highlight=False, markup=False, soft_wrap=True)


def print_tables(folder: Path, selection: "Selection | None", paper: "Paper | None", how: Format) -> "Sequence[Table]":
    """Print what a folder of results says, and which samples failed; gives the tables."""
    from bitlens.evaluation import formats
    from bitlens.evaluation.pinned import result_folders
    from bitlens.evaluation.tables import build_table

    tables = [build_table(place, selection) for place in result_folders(folder)]
    if how == "json":
        plain = [table.plain() for table in tables]
        content: Any = plain[0] if len(plain) == 1 else plain
        print(json.dumps(formats.paper_plain(paper, tables) if paper is not None else content, ensure_ascii=False))
    elif how == "csv":
        print(formats.as_csv(tables), end="")
    elif how == "markdown":
        print("\n".join(formats.as_markdown(grid) for grid in _grids(tables, paper)), end="")
    else:
        for grid in _grids(tables, paper):
            _print_grid(grid)
    _tell_failures(tables)
    return tables


def refuse_nothing(tables: "Sequence[Table]") -> None:
    """Refuse tables in which every sample failed in everything: nobody should take that for a result.

    Raises:
        DataError: tells the first reason.
    """
    if any(cell.failures < table.samples for table in tables for cell in table.cells.values()):
        return
    reasons = [reason for table in tables for _, _, reason in table.reasons]
    if reasons:
        raise DataError(f"nothing could be measured, every sample failed: {reasons[0]}")


def _grids(tables: "Sequence[Table]", paper: "Paper | None") -> "Iterator[Grid]":
    from bitlens.evaluation import formats

    if paper is not None:
        yield formats.paper_grid(paper, tables)
        return
    for table in tables:
        yield from formats.grids_of(table)


def _print_grid(grid: "Grid") -> None:
    from bitlens.evaluation.formats import fitting_columns

    for number, columns in enumerate(fitting_columns(grid, answers.width)):
        title = grid.title if number == 0 else None
        shown = RichTable(
            title=title, title_justify="left", title_style="bold", box=None, header_style="bold", pad_edge=False
        )
        for c in columns:
            shown.add_column(Text(grid.heads[c]), justify="left" if c == 0 else "right", overflow="fold")
        for r, row in enumerate(grid.rows):
            shown.add_row(*(Text(row[c], style="bold green" if (r, c) in grid.emphasised else "") for c in columns))
        answers.print(shown)
        answers.print()
    for text in grid.notes:
        answers.print(text, style="dim", highlight=False, markup=False)
    answers.print()


def _tell_failures(tables: "Sequence[Table]") -> None:
    for table in tables:
        alike: dict[tuple[str, str, int], list[str]] = {}
        for (method, metric, reason), count in table.reasons.items():
            alike.setdefault((method, reason, count), []).append(metric)
        for (method, reason, count), metrics in list(alike.items())[:_MOST_NOTES]:
            note(f"{method}: {count} of {table.samples} samples failed in {', '.join(metrics)}: {reason}")
        if len(alike) > _MOST_NOTES:
            note(f"and {len(alike) - _MOST_NOTES} more reasons of failures; --json has them all")


def _folder_name(model: str) -> str:
    """Shorten a model: `resnet50` of `torchvision/resnet50@IMAGENET1K_V1`, `build` of `net.py:build`."""
    return model.rpartition("/")[2].partition("@")[0].rpartition(":")[2]
