"""`bitlens roar`: remove and retrain."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from bitlens.cli import early, options
from bitlens.system.console import answers, messages


def roar(
    data: Annotated[str, typer.Option("--data", help="npz:FILE (images, labels) or a data set with labels.")],
    methods: Annotated[str, typer.Option("--methods", help="From `bitlens methods`.")] = "random,iba,grad-cam",
    out: options.Out = Path("bitlens-roar"),
    size: Annotated[int, typer.Option("--size", min=8, help="Images are resized to so many pixels a side.")] = 32,
    limit: Annotated[int | None, typer.Option("--limit", min=20, help="At most so many images.")] = None,
    rates: Annotated[
        str, typer.Option("--rates", help="Shares of pixels to remove.")
    ] = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Networks for each method and rate.")] = 3,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Of every training.")] = 30,
    width: Annotated[int, typer.Option("--width", min=4, help="Channels of the network's first stage.")] = 64,
    batch_size: Annotated[int, typer.Option("--batch-size", min=2, help="Of every training.")] = 128,
    learning_rate: Annotated[float, typer.Option("--learning-rate", help="Of every training.")] = 1e-3,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Remove the pixels that methods call important, train again, and see what is still learnt. Resumes."""
    from bitlens.methods.naming import read_methods

    specs, shares = read_methods(methods), options.numbers("--rates", rates)
    named = data.removeprefix("npz:")
    early.check(data=[data] if named == data else [], files={} if named == data else {"--data": Path(named)}, out=out)
    from bitlens.data.small import read_small_images
    from bitlens.evaluation.roar import RoarPlan, run_roar
    from bitlens.metrics.retraining import RetrainingSettings

    plan = RoarPlan(data, size, limit, width, RetrainingSettings(epochs, batch_size, learning_rate), seed)
    with messages.status("reading images") as status:
        images = read_small_images(data, size, limit)
        place = options.device_name(device)
        rows = run_roar(plan, images, specs, shares, seeds, out, place, lambda text: status.update(f"{text} …"))
    if options.printed_as_json(as_json, [asdict(row) for row in rows]):
        return
    rated = list(dict.fromkeys(row.rate for row in rows))
    table = Table("test accuracy", *[f"{share:.0%} removed" for share in rated], box=None, header_style="bold")
    for label in specs:
        own = {row.rate: row for row in rows if row.method == label}
        table.add_row(label, *[own[share].told for share in rated])
    answers.print(table)
    answers.print(f"lower is better; rows.json and roar.png are in {out}/", soft_wrap=True)
