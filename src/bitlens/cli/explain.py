"""The command that explains photos: by one method, or by several side by side. Heavy imports wait until it runs."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitlens.cli import early, options
from bitlens.cli.report import REPORT, write_beside
from bitlens.errors import LayerError, SettingError
from bitlens.system.console import answers, messages, note, progress_bar, results_table, warn_of_limits

if TYPE_CHECKING:
    from bitlens.explaining.photos import Ready, Request
    from bitlens.explaining.pictures import Outcome
    from bitlens.methods.lessons import Lesson
    from bitlens.methods.specs import Spec
    from bitlens.models.loaded import Loaded
    from bitlens.workers import Workers


def explain(
    photos: options.Photos,
    model: options.Model,
    out: options.Out = Path("bitlens-out"),
    layer: options.Layer = None,
    target: options.Target = "auto",
    method: Annotated[
        str,
        typer.Option(
            "--method", "--methods", help="From `bitlens methods`; several side by side: iba,iba:beta=100,grad-cam."
        ),
    ] = "iba",
    keep: options.Keep = None,
    bits: options.Bits = None,
    beta: options.Beta = None,
    guarantee: Annotated[
        Path | None,
        typer.Option(
            "--guarantee", help="As many bits as a share of photos like these need, from `bitlens calibrate`."
        ),
    ] = None,
    level: Annotated[
        float | None,
        typer.Option("--level", help="Which share, with --guarantee (default: the first of the file, 0.9)."),
    ] = None,
    quality: Annotated[
        options.Quality | None,
        typer.Option("--quality", help="How much work (default: fast; paper for iba with --beta)."),
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
    statistics_count: options.PhotoCount = None,
    signed: options.Signed = False,
    curve: options.Curve = False,
    spread: options.Spread = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=1e-9, help="Samples per second, of signals whose files do not say it (.npy, .csv)."),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(
            "--axes",
            help="What the axes of one input mean, where the network does not tell: TC, CT, D, T, … (C channels, T times, D "
            "features, or D, H and W in space).",
        ),
    ] = None,
    weights: options.Weights = None,
    classes: options.Classes = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", help="What the photos are, to tell right from wrong: csv:FILE, or folder:DIR of classes."
        ),
    ] = None,
    picture_format: options.Pictures = "png",
    same_scale: options.SameScale = None,
    as_report: options.AsReport = False,
    cluster: options.Cluster = None,
    workers: options.WorkerCount = None,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Explain photos, signals, volumes or rows of tables, by one method or by several side by side.

    A run that was cut short goes on where it was.
    """
    from bitlens.models.classes import check_target, read_classes

    made = {"statistics": statistics, "patterns": patterns, "weights": readout}
    price = {"keep": keep, "bits": bits, "beta": beta}
    options.check_guarantee(guarantee, level, price)
    specs = read_specs(
        method, {"layer": layer, **price, "signed": signed or None, "guarantee": guarantee, "quality": quality, **made}
    )
    found, photographs = early.find(photos, model)
    given_names = read_classes(classes) if classes else early.bundled_classes(model)
    check_target(target, given_names)
    files = {"--weights": weights, "--statistics": statistics, "--patterns": patterns, "--readout": readout}
    files["--guarantee"] = guarantee
    early.check(model, photos=photographs, data=[statistics_from, labels], files=files, out=out)
    from bitlens.explaining.on_workers import explain_on
    from bitlens.explaining.photos import Request
    from bitlens.explaining.pictures import explain_into, write_merged
    from bitlens.explaining.wanted import read_target, with_output
    from bitlens.methods.labels import check_reading, labels_in, with_classes
    from bitlens.models.load import load_model

    specs = with_files(specs, level)
    with options.reached_workers(cluster, workers, device) as (helpers, place):
        loaded = say_axes(load_model(model, weights, place), axes, helpers)
        check_reading(loaded)
        loaded, found = reading_of(loaded, found, rate)
        names = with_classes(loaded, given_names if classes else None).classes
        right = labels_in(labels, replace(loaded, classes=names), found) if labels else {}
        loaded, wanted = read_target(target, with_output(loaded, [spec.settings for spec in specs.values()]), names)
        ready, refused = ready_methods(specs, loaded, statistics_from, statistics_count, seed, helpers)
        more = options.besides({one.label: one.method for one in ready}, {"curve": curve, "spread": spread})
        request = Request(loaded, ready, wanted, names, out, picture_format, same_scale, more, labels=right)
        work = explain_into if helpers is None else partial(explain_on, helpers)
        with progress_bar("explaining", len(found) * len(ready)) as advance:
            done = work(request, found, advance=advance)
    for reason in done.skipped.values():
        note(f"left out: {reason}")
    _tell_refused(done.refused)
    others = write_merged(done, _settings(request, seed), refused, out)
    if as_report or (out / REPORT).is_file():  # a page of before must not tell of fewer photos than there are
        write_beside(out, same_scale=same_scale)
    if as_json:
        print(json.dumps(done.rows, ensure_ascii=False))
        return
    _tell(done, others, out, photos=loaded.form in ("photo", "file"))


def _settings(request: "Request", seed: int) -> dict[str, Any]:
    """Return what the summary says of how a run was made."""
    from bitlens.explaining.earlier import asked_of

    loaded = request.loaded
    return {
        "command": sys.argv[1:],
        "model": loaded.name,
        "target": asked_of(request),
        "seed": seed,
        "methods": {one.label: one.settings() for one in request.methods},
        **({"form": loaded.form} if loaded.form != "photo" else {}),
    }


def _tell(done: "Outcome", others: int, out: Path, *, photos: bool) -> None:
    """Print what was measured of each input, and where the pictures are."""
    warn_of_limits(done.rows)
    answers.print(results_table(_measured(done.rows), photos=photos))
    known = f" ({done.repeated} of {len(done.rows)} were there already)" if done.repeated else ""
    beside = (
        f", with {others} {'photo' if photos else 'input'}{'s' if others > 1 else ''} of earlier runs" if others else ""
    )
    answers.print(f"pictures, maps and summary.json are in {out}/{known}{beside}", soft_wrap=True)


def say_axes(loaded: "Loaded", axes: str | None, workers: "Workers | None") -> "Loaded":
    """Return the network, which from now on says what the axes of its inputs mean if a person says it."""
    if axes is None:
        return loaded
    from bitlens.core.places import AXES
    from bitlens.errors import one_of
    from bitlens.probe.axes import OWN_WORD

    if workers is not None:
        raise SettingError(
            f"--axes does not reach the workers of a cluster: let the network say it, {OWN_WORD} = {axes!r}"
        )
    setattr(loaded.model, OWN_WORD, one_of("axes", axes, {name: name for name in AXES}))
    return loaded


def reading_of(loaded: "Loaded", found: list[Path], rate: float | None) -> "tuple[Loaded, list[Path]]":
    """Return the network with the rate of its signals, and its inputs: of a table, each row; refuses those of another form."""
    from bitlens.data.foreign import advice_on
    from bitlens.data.number_files import is_numbers, rows_of
    from bitlens.errors import DataError

    form = loaded.form
    if rate is not None and form not in ("signal", "file"):
        raise SettingError(f"--rate is of signals, and {loaded.name} reads a {form}: leave it out")
    strange = next((path for path in found if form != "file" and is_numbers(path) != (form != "photo")), None)
    if strange is not None and form == "photo":
        said = "a network for such files says so with bitlens_input"
        raise DataError(f"{strange.name} is no photo, and {loaded.name} reads photos ({said}): {advice_on(strange)}")
    if strange is not None:
        raise DataError(
            f"{loaded.name} reads a {form} at a time, and {strange.name} is none: name another file or network"
        )
    reader = replace(loaded.preprocess, rate=rate or loaded.preprocess.rate)
    rows = [row for path in found for row in rows_of(path, reader.names)] if form == "table" else found
    return replace(loaded, reader=reader), rows


def _measured(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Choose the rows that hold numbers of a method's own; where no method gives any, one of each photo."""
    first = {row["photo"]: row for row in reversed(rows)}
    return [row for row in rows if "total_bits" in row] or [row for row in rows if first[row["photo"]] is row]


def read_specs(text: str, chosen: Mapping[str, Any], *, calibrating: bool = False) -> "dict[str, Spec]":
    """Read the methods by label. Options are for the methods that take them and name no setting of their own.

    Args:
        text: as it was typed.
        chosen: options by name, None where they were not given.
        calibrating: whether a guarantee is to be made with them.
    """
    from bitlens.methods.naming import guaranteed, read_methods, with_options
    from bitlens.methods.specs import Spec

    given = {name: value for name, value in chosen.items() if value is not None}
    given |= {name: str(given[name]) for name in ("patterns", "weights") if name in given}
    specs = with_options(read_methods(text), given, holds=not calibrating)
    if not calibrating:
        return specs
    return {
        label: Spec(spec.name, {**guaranteed(spec.name, spec.settings), **spec.settings})
        for label, spec in specs.items()
    }


def with_files(specs: "Mapping[str, Spec]", level: float | None = None) -> "dict[str, Spec]":
    """Read the files of statistics and of a guarantee, for a level, that methods were given by their names."""
    from bitlens.core.guarantee import Guarantee
    from bitlens.core.statistics import FeatureStatistics
    from bitlens.methods.specs import Spec

    def read(name: str, value: Any) -> Any:
        if not isinstance(value, Path):
            return value
        if name != "guarantee":
            return FeatureStatistics.load(value)
        found = Guarantee.load(value)
        return found if level is None else found.at(level)

    return {
        label: Spec(spec.name, {name: read(name, value) for name, value in spec.settings.items()})
        for label, spec in specs.items()
    }


def ready_methods(
    specs: "Mapping[str, Spec]",
    loaded: "Loaded",
    source: str | None,
    count: int | None,
    seed: int,
    workers: "Workers | None",
) -> "tuple[list[Ready], dict[str, str]]":
    """Build the methods that the network supports, and say by label why it does not support the others; a single one raises."""
    from bitlens.explaining.photos import Ready
    from bitlens.methods.building import build_method

    source = source or loaded.learns_from
    for spec in specs.values():
        lesson = _missing(spec)
        if source is None and lesson is not None and lesson.name != "statistics":  # its own places serve
            raise SettingError(
                f"{spec.name} needs {lesson.name}. Any photos of the kind the network was trained on will do: "
                f"--statistics-from DIR makes them from a folder now and keeps them; `bitlens {lesson.command}` writes them to a "
                f"file for --{lesson.option} FILE"
            )
    alone = len(specs) == 1
    ready: list[Ready] = []
    refused: dict[str, str] = {}
    told: set[str] = set()
    for label, spec in specs.items():
        method: Any = None
        try:
            method = build_method(spec, loaded, seed=seed)
            for text in _learn(method, spec, loaded, source, count, workers):
                if text not in told:  # what a person was told already is not said again
                    messages.print(text, style="dim", highlight=False, soft_wrap=True)
                    told.add(text)
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
    from bitlens.explaining.left_out import left_out

    for reason in left_out(refused):
        note(reason)


def _missing(spec: "Spec") -> "Lesson | None":
    """Tell what a method must learn and was not given."""
    from bitlens.methods import entry_of

    lesson = entry_of(spec.name).lesson
    return lesson if lesson is not None and not spec.settings.get(lesson.setting) else None


def _learn(
    method: Any, spec: "Spec", loaded: "Loaded", source: str | None, count: int | None, workers: "Workers | None"
) -> Iterator[str]:
    """Let a method learn what it must and was not given; yields what a person should be told."""
    from bitlens.methods import entry_of
    from bitlens.methods.lessons import How
    from bitlens.methods.on_workers import summarises_on
    from bitlens.methods.teaching import Source, enough

    if entry_of(spec.name).needs_layer and "layer" not in spec.settings and loaded.layer is None:
        yield f"layer {method.probe.name} (--layer chooses another)"
    lesson = _missing(spec)
    if lesson is None or source is None or lesson.knows(method):
        return
    how = How(collect=summarises_on(workers) if workers is not None else None)
    (place,) = options.teach(
        loaded, Source.open(source, loaded.kind, count or enough(loaded.form)), lesson, method, how=how
    )
    yield f"{lesson.name} are kept in {place}"
