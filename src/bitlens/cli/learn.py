"""`bitlens statistics` and `bitlens patterns`: what methods must learn on other inputs before they explain any."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from bitlens.cli.options import (
    AsJson,
    Cluster,
    DeviceOption,
    Layer,
    Model,
    Weights,
    WorkersOption,
    device_name,
    reached_workers,
)
from bitlens.system.console import answers, progress_bar

Per = Literal["channel", "element"]
Data = Annotated[str, typer.Option("--data", help="folder:DIR, csv:FILE, imagenet:DIR or builtin:scenes-train.")]


def statistics(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="The file to write (.safetensors).")],
    layer: Layer = None,
    count: Annotated[int, typer.Option("--count", min=1, help="How many photos at most.")] = 10_000,
    per: Annotated[Per, typer.Option("--per", help="element as in the papers, channel for few photos.")] = "element",
    weights: Weights = None,
    cluster: Cluster = None,
    workers: WorkersOption = None,
    device: DeviceOption = "auto",
    as_json: AsJson = False,
) -> None:
    """Learn what a layer puts out on many photos; every explanation at that layer needs it once."""
    from bitlens.methods.building import build_method
    from bitlens.methods.lessons import STATISTICS, How
    from bitlens.methods.on_workers import summarises_on
    from bitlens.methods.specs import Spec
    from bitlens.methods.teaching import Source, Teacher
    from bitlens.models.load import load_model

    samples = Source.open(data, "image", count)
    with reached_workers(cluster, workers, device) as helpers:
        loaded = load_model(model, weights, device_name(device) if helpers is None else "cpu")
        iba = build_method(Spec("iba", {}), loaded, layer=layer)
        how = How(per, summarises_on(helpers) if helpers is not None else None)
        with progress_bar("statistics", samples.total) as advance:
            Teacher(loaded, samples, how, cached=False, progress=advance).teach(STATISTICS, iba)
    made = iba.statistics
    made.save(out)
    if as_json:
        print(json.dumps({"file": str(out), "layer": iba.probe.name, "samples": made.samples, "per": made.granularity}))
        return
    answers.print(
        f"{out}: layer {iba.probe.name} of {model}, {made.samples} photos, per {made.granularity}", soft_wrap=True
    )


def patterns(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="The file to write (.safetensors).")],
    count: Annotated[int, typer.Option("--count", min=1, help="How many photos at most.")] = 2_000,
    weights: Weights = None,
    device: DeviceOption = "auto",
    as_json: AsJson = False,
) -> None:
    """Learn what each neuron's output tells of its input; the method pattern-attribution needs it once."""
    from bitlens.baselines.pattern_attribution import PatternAttribution
    from bitlens.methods.lessons import PATTERNS
    from bitlens.methods.teaching import Source, Teacher
    from bitlens.models.load import load_model

    samples = Source.open(data, "image", count)
    loaded = load_model(model, weights, device_name(device))
    method = PatternAttribution(loaded.model)
    with progress_bar("patterns", samples.total) as advance:
        Teacher(loaded, samples, cached=False, progress=advance).teach(PATTERNS, method)
    method.patterns.save(out)
    facts = {name: getattr(method.patterns, name) for name in ("samples", "neurons", "replaced")}
    if as_json:
        print(json.dumps({"file": str(out), **facts}))
        return
    answers.print(f"{out}: {facts['neurons']:,} neurons of {model}, {facts['samples']} photos", soft_wrap=True)
