"""`bitlens statistics` and `bitlens patterns`: what methods must learn on other inputs before they explain any."""

from typing import Annotated

import typer

from bitlens.cli import early, options
from bitlens.system.console import answers


def statistics(
    model: options.Model,
    data: options.Learnt,
    out: options.OutFile,
    layer: options.Layer = None,
    count: options.Count = 10_000,
    per: Annotated[
        options.Per, typer.Option("--per", help="element as in the papers, channel for few photos.")
    ] = "element",
    weights: options.Weights = None,
    cluster: options.Cluster = None,
    workers: options.WorkerCount = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Learn what a layer puts out on many photos; every explanation at that layer needs it once."""
    early.check(model, data=[data], files={"--weights": weights}, out_file=out)
    from bitlens.methods.building import build_method
    from bitlens.methods.labels import check_reading
    from bitlens.methods.lessons import STATISTICS, How
    from bitlens.methods.on_workers import summarises_on
    from bitlens.methods.specs import Spec
    from bitlens.methods.teaching import Source
    from bitlens.models.load import load_model

    samples = Source.open(data, "image", count)
    with options.reached_workers(cluster, workers, device) as (helpers, place):
        loaded = load_model(model, weights, place)
        check_reading(loaded)
        iba = build_method(Spec("iba", {}), loaded, layer=layer)
        how = How(per, summarises_on(helpers) if helpers is not None else None)
        options.teach(loaded, samples, STATISTICS, iba, how=how, cached=False)
    made = iba.statistics
    made.save(out)
    if options.printed_as_json(
        as_json, {"file": str(out), "layer": iba.probe.name, "samples": made.samples, "per": made.granularity}
    ):
        return
    answers.print(
        f"{out}: layer {iba.probe.name} of {model}, {made.samples} photos, per {made.granularity}", soft_wrap=True
    )


def patterns(
    model: options.Model,
    data: options.Learnt,
    out: options.OutFile,
    count: options.Count = 2_000,
    weights: options.Weights = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Learn what each neuron's output tells of its input; the method pattern-attribution needs it once."""
    early.check(model, data=[data], files={"--weights": weights}, out_file=out)
    from bitlens.baselines.pattern_attribution import PatternAttribution
    from bitlens.methods.labels import check_reading
    from bitlens.methods.lessons import PATTERNS
    from bitlens.methods.teaching import Source
    from bitlens.models.load import load_model

    samples = Source.open(data, "image", count)
    loaded = load_model(model, weights, options.device_name(device))
    check_reading(loaded)
    method = PatternAttribution(loaded.model)
    options.teach(loaded, samples, PATTERNS, method, cached=False)
    method.patterns.save(out)
    facts = {name: getattr(method.patterns, name) for name in ("samples", "neurons", "replaced")}
    if options.printed_as_json(as_json, {"file": str(out), **facts}):
        return
    answers.print(f"{out}: {facts['neurons']:,} neurons of {model}, {facts['samples']} photos", soft_wrap=True)
