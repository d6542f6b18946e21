"""`bitlens calibrate`: with how many bits a share of all photos keep their class. Heavy imports wait until it runs."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from bitlens.cli import early, options
from bitlens.cli.explain import read_specs, ready_methods, with_files
from bitlens.errors import SettingError
from bitlens.system.console import answers, note, progress_bar


def calibrate(
    model: options.Model,
    data: Annotated[
        str,
        typer.Option(
            "--data", help="Photos like those to be explained: folder:DIR, csv:FILE, imagenet:DIR or builtin:scenes."
        ),
    ],
    out: options.OutFile,
    levels: Annotated[str, typer.Option("--levels", help="Shares of photos; maps carry the first.")] = "0.9,0.95,0.99",
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="From so many photos, drawn by chance; more can follow.")
    ] = None,
    layer: options.Layer = None,
    method: Annotated[str, typer.Option("--method", help="A bottleneck from `bitlens methods`.")] = "iba",
    noises: Annotated[
        int, typer.Option("--noises", min=1, help="A class is kept if the mean answer under so many noises names it.")
    ] = 4,
    quality: Annotated[
        options.Quality | None, typer.Option("--quality", help="How much work for each map (default: fast).")
    ] = None,
    statistics: Annotated[
        Path | None, typer.Option("--statistics", help="For iba, made by `bitlens statistics`.")
    ] = None,
    statistics_from: Annotated[
        str | None, typer.Option("--statistics-from", help="Make statistics from these (other) photos, and keep them.")
    ] = None,
    statistics_count: options.PhotoCount = None,
    weights: options.Weights = None,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Find out with how many bits 90 % of photos keep their class, whatever the next one is; `explain --guarantee` takes it.

    A run that was cut short goes on where it was.
    """
    shares = options.numbers("--levels", levels, above=0)
    specs = read_specs(method, {"layer": layer, "quality": quality, "statistics": statistics}, calibrating=True)
    if len(specs) > 1:
        raise SettingError(f"--method names {len(specs)} methods: calibrate one at a time, each into a file of its own")
    files = {"--weights": weights, "--statistics": statistics}
    early.check(model, data=[data, statistics_from], files=files, out_file=out)
    from bitlens.data.datasets import open_dataset
    from bitlens.data.labels import Labels
    from bitlens.explaining.calibrating import begun, calibrate_into
    from bitlens.models.load import load_model

    photos = open_dataset(data, Labels(needed=False))
    specs = with_files(specs)
    loaded = load_model(model, weights, options.device_name(device))
    (ready,), _ = ready_methods(specs, loaded, statistics_from, statistics_count, seed, None)
    start = begun(ready.method, shares, noises)
    about = replace(start.provenance, model=loaded.name, data=data, preprocessing=loaded.preprocess.description)
    with progress_bar("calibrating", min(len(photos), limit or len(photos))) as advance:
        made = calibrate_into(
            out, ready.method, loaded, photos, replace(start, provenance=about), limit, advance=advance
        )
    made.save(out)
    rows = made.rows()
    lost = int((made.needed == len(made.budgets)).sum())
    facts: dict[str, Any] = {"file": str(out), "layer": about.layer, "inputs": len(made), "lost": lost, "levels": rows}
    if options.printed_as_json(as_json, facts):
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("share of photos that keep their class", "bits"):
        table.add_column(title, justify="right")
    for row in rows:
        few = row["least_inputs"] > len(made)
        told = f"{row['bits']:,.0f}" if row["bits"] is not None else "too few photos" if few else "no budget"
        table.add_row(f"at least {100 * row['level']:.4g} %", told)
        if few:
            note(f"{100 * row['level']:.4g} % needs {row['least_inputs']} photos, there are {len(made)}")
    answers.print(table)
    if lost:
        note(
            f"{lost} of {len(made)} photos do not keep their class with any budget up to {float(made.budgets[-1]):,.0f} bits"
        )
    answers.print(f"{out}: layer {about.layer} of {model}, {len(made)} photos of {data}", soft_wrap=True)
