"""The command that explains photos: by one method, or by several side by side. Heavy imports wait until it runs."""

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bitlens.cli.options import (
    AsJson,
    Cluster,
    DeviceOption,
    Layer,
    Model,
    Out,
    Seed,
    TargetOption,
    Weights,
    WorkersOption,
    device_name,
    reached_workers,
)
from bitlens.cli.report import AsReport, write_beside
from bitlens.errors import LayerError, SettingError
from bitlens.system.console import answers, messages, note, progress_bar, results_table, warn_of_collapse

if TYPE_CHECKING:
    from bitlens.explaining.photos import Ready
    from bitlens.methods.lessons import Lesson
    from bitlens.methods.specs import Spec
    from bitlens.models.loaded import Loaded
    from bitlens.workers import Workers

Quality = Literal["fast", "paper", "best"]
PictureFormat = Literal["png", "svg", "pdf"]


def explain(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders, or patterns such as 'photos/**/*.jpg'.")],
    model: Model,
    out: Out = Path("bitlens-out"),
    layer: Layer = None,
    target: TargetOption = "auto",
    method: Annotated[
        str,
        typer.Option(
            "--method", "--methods", help="From `bitlens methods`; several side by side: iba,iba:beta=100,grad-cam."
        ),
    ] = "iba",
    beta: Annotated[
        float | None,
        typer.Option("--beta", help="Price of information: larger keeps less (default: 10; 1 for builtin/scenes)."),
    ] = None,
    quality: Annotated[
        Quality | None, typer.Option("--quality", help="How much work (default: paper for iba, fast for input-iba).")
    ] = None,
    statistics: Annotated[
        Path | None, typer.Option("--statistics", help="For iba, made by `bitlens statistics`.")
    ] = None,
    patterns: Annotated[
        Path | None, typer.Option("--patterns", help="For pattern-attribution, made by `bitlens patterns`.")
    ] = None,
    readout: Annotated[
        Path | None, typer.Option("--readout", help="For readout, made by `bitlens readout train`.")
    ] = None,
    statistics_from: Annotated[
        str | None,
        typer.Option(
            "--statistics-from",
            help="Make statistics (per channel) or patterns from these photos, or train a readout on them, and keep them.",
        ),
    ] = None,
    statistics_count: Annotated[int, typer.Option("--statistics-count", min=1, help="From how many photos.")] = 200,
    weights: Weights = None,
    classes: Annotated[Path | None, typer.Option("--classes", help="Class names, one a line, or a csv table.")] = None,
    picture_format: Annotated[PictureFormat, typer.Option("--format", help="Of the pictures.")] = "png",
    same_scale: Annotated[
        bool, typer.Option("--same-scale", help="For each method one colour scale for all pictures.")
    ] = False,
    as_report: AsReport = False,
    cluster: Cluster = None,
    workers: WorkersOption = None,
    device: DeviceOption = "auto",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Explain photos by one method, or by several side by side. A run that was cut short goes on where it was."""
    from bitlens.data.images import find_images
    from bitlens.explaining.asked import read_target, with_output
    from bitlens.explaining.on_workers import explain_on
    from bitlens.explaining.pictures import explain_into, write_summary
    from bitlens.models.load import load_model, read_classes

    made = {"statistics": statistics, "patterns": patterns, "weights": readout}
    options = {"layer": layer, "beta": beta, "quality": quality, **made}
    specs = _specs(method, options)
    found = find_images(photos)
    with reached_workers(cluster, workers, device) as helpers:
        loaded = load_model(model, weights, device_name(device) if helpers is None else "cpu")
        names = read_classes(classes) if classes else loaded.classes
        loaded, wanted = read_target(target, with_output(loaded, [spec.settings for spec in specs.values()]), names)
        ready, refused = _ready(specs, loaded, statistics_from, statistics_count, seed, helpers)
        work = explain_into if helpers is None else partial(explain_on, helpers)
        with progress_bar("explaining", len(found) * len(ready)) as advance:
            done = work(
                out, found, loaded, ready, wanted, names, suffix=picture_format, same_scale=same_scale, advance=advance
            )
    for reason in done.skipped.values():
        note(f"left out: {reason}")
    _tell_refused(done.refused)
    settings = {"model": loaded.name, "seed": seed, "methods": {one.label: one.settings() for one in ready}}
    write_summary(
        done.rows,
        {"command": sys.argv[1:], **settings},
        out / "summary.json",
        skipped=done.skipped,
        refused={**refused, **done.refused},
    )
    if as_report:
        write_beside(out, same_scale=same_scale)
    if as_json:
        print(json.dumps(done.rows, ensure_ascii=False))
        return
    warn_of_collapse(done.rows)
    answers.print(results_table(_measured(done.rows)))
    known = f" ({done.repeated} of {len(done.rows)} were there already)" if done.repeated else ""
    answers.print(f"pictures, maps and summary.json are in {out}/{known}", soft_wrap=True)


def _measured(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that hold numbers of a method's own; where no method gives any, one of each photo."""
    first = {row["photo"]: row for row in reversed(rows)}
    return [row for row in rows if "total_bits" in row] or [row for row in rows if first[row["photo"]] is row]


def _specs(text: str, options: Mapping[str, Any]) -> "dict[str, Spec]":
    """The methods by label. Options are for the methods that take them and name no setting of their own."""
    from bitlens.core.statistics import FeatureStatistics
    from bitlens.methods import entry_of
    from bitlens.methods.building import read_methods
    from bitlens.methods.specs import Spec, settings_of_callable

    given = {name: value for name, value in options.items() if value is not None}
    if "statistics" in given:
        given["statistics"] = FeatureStatistics.load(given["statistics"])
    given |= {name: str(given[name]) for name in ("patterns", "weights") if name in given}
    specs = read_methods(text)
    useless = set(given)
    for label, spec in specs.items():
        entry = entry_of(spec.name)
        taken = set(settings_of_callable(entry.build)) - (set() if entry.needs_layer else {"layer"})
        chosen = {name: value for name, value in given.items() if name in taken}
        specs[label] = Spec(spec.name, {**chosen, **spec.settings})
        useless -= chosen.keys()
    if useless:
        raise SettingError(
            f"--{min(useless)} is not for {' or '.join(specs)}: leave it out; `bitlens methods NAME` shows how a method is set"
        )
    return specs


def _ready(
    specs: "Mapping[str, Spec]",
    loaded: "Loaded",
    source: str | None,
    count: int,
    seed: int,
    workers: "Workers | None",
) -> "tuple[list[Ready], dict[str, str]]":
    """The methods that the network supports, and by label why it does not support the others; a single one raises."""
    from bitlens.explaining.photos import Ready
    from bitlens.methods.building import build_method

    source = source or loaded.learns_from
    for spec in specs.values():
        _check_source(spec, source)
    alone = len(specs) == 1
    ready: list[Ready] = []
    refused: dict[str, str] = {}
    told: set[str] = set()
    for label, spec in specs.items():
        method: Any = None
        try:
            method = build_method(spec, loaded, seed=seed)
            _learn(method, spec, loaded, source, count, told, workers)
        except (LayerError, SettingError) as error:
            mistyped = method is None and (isinstance(error, SettingError) or "layer" in spec.settings)
            if alone or mistyped:
                raise
            refused[label] = str(error)
        else:
            ready.append(Ready(label, spec, method, alone))
    _tell_refused(refused)
    if not ready:
        raise SettingError(f"none of the {len(specs)} methods can be used on {loaded.name}: choose others")
    return ready, refused


def _tell_refused(refused: Mapping[str, str]) -> None:
    for label, reason in refused.items():
        note(f"left out: {reason if reason.startswith(label) else f'{label}: {reason}'}")


def _missing(spec: "Spec") -> "Lesson | None":
    """What a method must learn and was not given."""
    from bitlens.methods import entry_of

    lesson = entry_of(spec.name).lesson
    return lesson if lesson is not None and not spec.settings.get(lesson.setting) else None


def _check_source(spec: "Spec", source: str | None) -> None:
    lesson = _missing(spec)
    if lesson is not None and source is None:
        raise SettingError(
            f"{spec.name} needs {lesson.name}. Any photos of the kind the network was trained on will do: --statistics-from "
            f"DIR makes them from a folder now and keeps them; `bitlens {lesson.command}` writes them to a file for "
            f"--{lesson.option} FILE"
        )


def _learn(
    method: Any,
    spec: "Spec",
    loaded: "Loaded",
    source: str | None,
    count: int,
    told: set[str],
    workers: "Workers | None",
) -> None:
    """Let a method learn what it must and was not given; what a person was told already is not said again."""
    from bitlens.methods import entry_of
    from bitlens.methods.lessons import How
    from bitlens.methods.on_workers import summarises_on
    from bitlens.methods.teaching import Source, Teacher

    if entry_of(spec.name).needs_layer and "layer" not in spec.settings and loaded.layer is None:
        _tell(f"layer {method.probe.name} (--layer chooses another)", told)
    lesson = _missing(spec)
    if lesson is None or source is None or lesson.knows(method):
        return
    samples = Source.open(source, loaded.kind, count)
    how = How(collect=summarises_on(workers) if workers is not None else None)
    with progress_bar(lesson.name, samples.total) as advance:
        (place,) = Teacher(loaded, samples, how, progress=advance).teach(lesson, method)
    _tell(f"{lesson.name} are kept in {place}", told)


def _tell(text: str, told: set[str]) -> None:
    if text not in told:
        messages.print(text, style="dim", highlight=False, soft_wrap=True)
        told.add(text)
