"""`bitlens readout train` and `bitlens readout explain`: train once, explain in one pass."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bitlens.cli import early, options
from bitlens.system.console import answers, progress_bars

if TYPE_CHECKING:
    from bitlens.bottlenecks.readout.readout import ReadoutIBA
    from bitlens.training.loop import Moment, Trained

readout_app = typer.Typer(help="Train the Readout Bottleneck once; it explains in one pass.", no_args_is_help=True)


@readout_app.command()
def train(
    model: options.Model,
    data: options.Learnt,
    out: Annotated[
        Path, typer.Option("--out", help="The file to write (.safetensors); checkpoint and curve lie beside it.")
    ],
    layer: options.Layer = None,
    read_layers: Annotated[
        str | None,
        typer.Option(
            "--read-layers",
            help="Where to look, names separated by commas, `output` for the class scores (default: the layer, the stages "
            "after it, the output).",
        ),
    ] = None,
    beta: Annotated[
        float | None, typer.Option("--beta", help="Price of information (default: 10; 1 for builtin/scenes).")
    ] = None,
    conditional: Annotated[
        bool, typer.Option("--conditional", help="Show it the evidence for the class that is asked for.")
    ] = False,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Each photo beside another: what a conditional readout learns most from.")
    ] = False,
    hidden: Annotated[
        int | None, typer.Option("--hidden", min=1, help="Width of its first layer (default: half of what it reads).")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="At most.")] = 10,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Photos a step, of all processes together.")] = 16,
    accumulation: Annotated[int, typer.Option("--accumulation", min=1, help="Parts of a batch, for less memory.")] = 1,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", help="Of Adam (the paper's for all of ImageNet: 1e-5).")
    ] = 1e-3,
    schedule: Annotated[
        Literal["constant", "cosine"],
        typer.Option("--schedule", help="Of the learning rate; cosine: up at first, to nothing by the last step."),
    ] = "cosine",
    precision: Annotated[Literal["no", "bf16", "fp16"], typer.Option("--precision", help="Mixed precision.")] = "no",
    held_out: Annotated[float, typer.Option("--held-out", help="Share of the photos that is only measured on.")] = 0.1,
    patience: Annotated[
        int, typer.Option("--patience", min=0, help="Epochs without a lower held-out loss that end it; 0: never.")
    ] = 3,
    ramp: Annotated[
        int | None,
        typer.Option(
            "--ramp",
            min=0,
            help="First epochs in which beta grows to its value, from a hundredth (default: half of them).",
        ),
    ] = None,
    teacher_epochs: Annotated[
        int, typer.Option("--teacher-epochs", min=0, help="First epochs that learn masks of method iba instead.")
    ] = 0,
    teacher: Annotated[options.Quality, typer.Option("--teacher", help="Quality of those masks.")] = "fast",
    start: Annotated[
        Path | None, typer.Option("--start", help="A readout to begin at, trained with another --beta, for example.")
    ] = None,
    per: Annotated[
        options.Per, typer.Option("--per", help="Statistics: channel, or element as in the paper.")
    ] = "channel",
    statistics_count: Annotated[
        int, typer.Option("--statistics-count", min=1, help="From how many photos at most.")
    ] = 1000,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Photos at most, spread over the data.")] = None,
    memory: Annotated[float, typer.Option("--memory", help="GiB for what does not change between epochs.")] = 2.0,
    weights: options.Weights = None,
    device: options.Device = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Of weights, order, held-out photos and noise.")] = 0,
    as_json: options.AsJson = False,
) -> None:
    """Train a readout on photos. A training that was cut short goes on where it was.

    On several devices: `accelerate launch --num_processes N -m bitlens readout train …`.
    """
    early.check(model, data=[data], files={"--weights": weights, "--start": start}, out_file=out)
    from bitlens.bottlenecks.readout.readout import ReadoutIBA
    from bitlens.bottlenecks.readout.task import Teaching
    from bitlens.bottlenecks.readout.weights import ReadoutWeights
    from bitlens.data.batches import tensor_batches
    from bitlens.data.datasets import open_dataset
    from bitlens.methods.building import layer_for
    from bitlens.methods.labels import check_reading, labels_for
    from bitlens.models.load import load_model
    from bitlens.training.examples import Examples, Pairs, Photos
    from bitlens.training.settings import TrainingSettings

    settings = TrainingSettings(
        epochs=epochs, batch=batch, accumulation=accumulation, learning_rate=learning_rate,
        schedule=schedule, precision=precision, held_out=held_out, patience=patience, seed=seed, memory=memory,
    )  # fmt: skip
    teaching = Teaching(ramp if ramp is not None else epochs // 2, teacher_epochs, teacher)
    loaded = load_model(model, weights, _own_device(options.device_name(device)))
    check_reading(loaded)
    samples = open_dataset(data, labels_for(loaded))
    readout = ReadoutIBA(
        loaded.model, layer or layer_for(loaded), read_layers.split(",") if read_layers else None,
        beta=beta if beta is not None else loaded.beta, conditional=conditional, hidden=hidden,
    )  # fmt: skip
    number = min(limit or len(samples), len(samples))
    photos = [samples[i * len(samples) // number] for i in range(number)]
    how = {
        "data": f"{data} ({number} photos{', in pairs' if pairs else ''})",
        "preprocessing": loaded.preprocess.description,
    }
    with progress_bars(hidden=os.environ.get("RANK", "0") != "0") as watch:
        batches = (images for images, _ in tensor_batches(photos, loaded.preprocess, settings.batch))
        begin = ReadoutWeights.load(start) if start is not None else None
        if begin is None:
            seen = watch("statistics", min(statistics_count, number))
            readout.fit_statistics(batches, statistics_count, granularity=per, progress=seen, **how)
        examples: Examples = Photos(photos, loaded.preprocess)
        done = readout.fit_weights(
            Pairs(examples, seed) if pairs else examples, settings, teaching=teaching, start=begin,
            checkpoint=_beside(out, "checkpoint.safetensors"), progress=_told(watch), **how,
        )  # fmt: skip
    if done.leads:
        _write(out, model, readout, done, as_json=as_json)


@readout_app.command("explain")
def explain_photos(
    photos: options.Photos,
    model: options.Model,
    readout: Annotated[Path, typer.Option("--readout", help="Made by `bitlens readout train`.")],
    out: options.Out = Path("bitlens-out"),
    target: options.Target = "auto",
    weights: options.Weights = None,
    classes: options.Classes = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Explain photos by a trained readout: the same as `bitlens explain --method readout --readout FILE`."""
    from bitlens.cli.explain import explain

    explain(
        photos, model, out, target=target, method="readout", readout=readout, weights=weights, classes=classes,
        device=device, as_json=as_json,
    )  # fmt: skip


def _own_device(name: str) -> str:
    """Give each of several processes on one machine a GPU of its own."""
    rank = os.environ.get("LOCAL_RANK")
    return f"{name}:{rank}" if name == "cuda" and rank is not None else name


def _beside(out: Path, ending: str) -> Path:
    return out.with_name(f"{out.stem}.{ending}")


def _told(watch: Callable[[str, int], Callable[..., None]]) -> "Callable[[Moment], None]":
    """Show each epoch as a bar, with the losses on what is trained on and on what is held out."""
    bars: dict[int, Callable[..., None]] = {}

    def told(moment: "Moment") -> None:
        if moment.epoch not in bars:
            bars[moment.epoch] = watch(f"epoch {moment.epoch}", moment.steps)
        held_out = f" · held-out {moment.held_out:.3f}" if moment.held_out is not None else ""
        bars[moment.epoch](moment.step, f"epoch {moment.epoch} · loss {moment.loss:.3f}{held_out}")

    return told


def _write(out: Path, model: str, readout: "ReadoutIBA", done: "Trained", *, as_json: bool) -> None:
    from bitlens.training.curve import draw_curve, write_curve

    readout.save(out)
    about = {"model": model, "layer": readout.probe.name, **readout.settings()}
    write_curve(done.rows, _beside(out, "curve.json"), about)
    draw_curve(done.rows, _beside(out, "curve.png"), f"readout of {readout.probe.name}, β = {readout.fit.beta:g}")
    best = done.rows[done.best_epoch - 1]
    losses = dict(best.held_out or best.train)
    if as_json:
        facts = {"layer": readout.probe.name, "read_layers": readout.read_layers, "epochs": len(done.rows)}
        print(json.dumps({"file": str(out), **facts, "best_epoch": done.best_epoch, "losses": losses}))
        return
    shown = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in losses.items())
    answers.print(
        f"{out}: readout of {readout.probe.name} from {', '.join(readout.read_layers)}; epoch {done.best_epoch} of "
        f"{len(done.rows)}: {shown}",
        soft_wrap=True,
        highlight=False,
    )
