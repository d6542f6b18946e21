"""`bitlens grid`: photos by layers and β, or by widths of the mask's blur. Heavy imports wait until it runs."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bitlens.cli.options import AsJson, DeviceOption, Model, Out, Seed, TargetOption, Weights, device_name
from bitlens.errors import DataError, SettingError
from bitlens.system.console import answers, messages, note, progress_bar

if TYPE_CHECKING:
    from bitlens.bottlenecks.per_sample import IBA
    from bitlens.core.attribution import Attribution
    from bitlens.explaining.photo import Photo
    from bitlens.models.loaded import Loaded

_ON_A_PAGE, _LAYERS = 6, 4
Quality = Literal["fast", "paper", "best"]
PictureFormat = Literal["png", "svg", "pdf"]


def grid(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders, or patterns such as 'photos/**/*.jpg'.")],
    model: Model,
    layers: Annotated[
        str | None, typer.Option("--layers", help="Dotted names separated by commas (default: four, shallow to deep).")
    ] = None,
    betas: Annotated[
        str | None,
        typer.Option(
            "--betas",
            help="Prices of information, separated by commas (default: 1,10,100; 0.1,1,10 of builtin/scenes).",
        ),
    ] = None,
    smoothings: Annotated[
        str | None,
        typer.Option(
            "--smoothings", help="Instead of layers and β: σ of the mask's blur in cells of the layer, as 0,0.5,1,2."
        ),
    ] = None,
    target: TargetOption = "auto",
    quality: Annotated[Quality, typer.Option("--quality", help="How much work.")] = "paper",
    statistics_from: Annotated[
        str | None,
        typer.Option("--statistics-from", help="Photos that statistics (per channel) are made from, and kept."),
    ] = None,
    statistics_count: Annotated[int, typer.Option("--statistics-count", min=1, help="From how many photos.")] = 200,
    weights: Weights = None,
    classes: Annotated[Path | None, typer.Option("--classes", help="Class names, one a line, or a csv table.")] = None,
    out: Out = Path("bitlens-grid"),
    picture_format: Annotated[PictureFormat, typer.Option("--format", help="Of the pictures.")] = "png",
    device: DeviceOption = "auto",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Photos by layers and prices β, or by smoothings of the mask, on one colour scale (Schulz et al., figures 4, 9, 10)."""
    from bitlens.data.images import find_images
    from bitlens.explaining.asked import read_target
    from bitlens.explaining.photos import class_name
    from bitlens.models.load import load_model, read_classes
    from bitlens.system.files import write_text

    sigmas = _numbers("--smoothings", smoothings, least=0.0) if smoothings is not None else ()
    loaded = load_model(model, weights, device_name(device))
    usual = loaded.beta
    prices = _numbers("--betas", betas, above=0.0) if betas else _usual_betas(usual, bool(sigmas))
    names = read_classes(classes) if classes else loaded.classes
    paths = find_images(photos)
    loaded, wanted = read_target(target, loaded, names)
    settings: dict[str, Any] = {"quality": quality, "seed": seed}
    if loaded.output is not None:
        settings["output"] = loaded.output
    bottlenecks = _bottlenecks(loaded, layers, single=bool(sigmas))
    if sigmas and (len(bottlenecks) > 1 or len(prices) > 1):
        raise SettingError("--smoothings compares widths of the blur at one layer and one β: give one of each")
    _learn(loaded, bottlenecks, statistics_from, statistics_count)
    seen = _read(paths, loaded, wanted)
    titles = [class_name(one.asked, names) for one in seen]
    rows, written = (
        _smoothings(loaded, seen, titles, bottlenecks[0], sigmas, prices[0], settings, out, picture_format)
        if sigmas
        else _betas(loaded, seen, titles, bottlenecks, prices, settings, out, picture_format)
    )
    content = {"settings": {"command": sys.argv[1:], "model": loaded.name, **settings}, "maps": rows}
    write_text(out / "grid.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    _print(rows)
    answers.print(f"{', '.join(path.name for path in written)} and grid.json are in {out}/", soft_wrap=True)


def _numbers(option: str, text: str, *, above: float | None = None, least: float | None = None) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    fits = [(above is None or number > above) and (least is None or number >= least) for number in found]
    if not found or not all(fits) or max(found) == float("inf"):
        kind = f"above {above:g}" if above is not None else f"of {least:g} or more"
        raise SettingError(f"{option} is {text!r}: expected numbers {kind}, separated by commas")
    return found


def _usual_betas(usual: float | None, single: bool) -> tuple[float, ...]:
    middle = 10.0 if usual is None else usual
    return (middle,) if single else (middle / 10, middle, middle * 10)


def _bottlenecks(loaded: "Loaded", layers: str | None, *, single: bool) -> "list[IBA]":
    """One for each layer; those by default where none is named."""
    from bitlens.bottlenecks.per_sample import IBA
    from bitlens.methods.building import grey_photo, layer_for
    from bitlens.models.default_layer import grid_layers

    if layers is not None:
        names = [name.strip() for name in layers.split(",")]
    elif single:
        names = [layer_for(loaded)]
    else:
        found = grid_layers(loaded.model, grey_photo(loaded), fewest=_LAYERS)
        stages = [name for name in found if any(True for _ in loaded.model.get_submodule(name).children())]
        known = stages if len(stages) > 1 else found
        count = min(_LAYERS, len(known))
        names = [known[len(known) * (i + 1) // count - 1] for i in range(count)]
        messages.print(f"layers {', '.join(names)} (--layers chooses others)", style="dim", highlight=False)
    if not all(names):
        raise SettingError(f"--layers is {layers!r}: expected dotted names separated by commas, as layer1,layer2")
    return [IBA(loaded.model, name) for name in dict.fromkeys(names)]


def _learn(loaded: "Loaded", bottlenecks: "Sequence[IBA]", source: str | None, count: int) -> None:
    from bitlens.methods.lessons import STATISTICS
    from bitlens.methods.teaching import Source, Teacher

    source = source or loaded.learns_from
    if source is None:
        raise SettingError(
            "the bottleneck needs statistics: any photos of the kind the network was trained on will do; "
            "--statistics-from DIR makes them from a folder now and keeps them"
        )
    samples = Source.open(source, "image", count)
    with progress_bar("statistics of all layers", samples.total) as advance:
        Teacher(loaded, samples, progress=advance).teach(STATISTICS, *bottlenecks)


def _read(paths: "Sequence[Path]", loaded: "Loaded", target: int | None) -> "list[Photo]":
    """The photos that can be read; a single one raises."""
    from functools import partial

    from bitlens.data.datasets import Sample
    from bitlens.data.images import read_image
    from bitlens.errors import InputError
    from bitlens.explaining.photo import read_photo
    from bitlens.probe import Network

    network, found = Network(loaded.model, output=loaded.output), []
    for path in paths:
        try:
            sample = Sample(str(path), partial(read_image, path), target, path=path)
            found.append(read_photo(sample, network, loaded.preprocess))
        except (DataError, InputError) as error:
            if len(paths) == 1:
                raise
            note(f"left out: {error}")
    if not found:
        raise DataError(f"none of the {len(paths)} photos could be read")
    return found


def _betas(
    loaded: "Loaded",
    seen: "Sequence[Photo]",
    titles: Sequence[str],
    bottlenecks: "Sequence[IBA]",
    prices: Sequence[float],
    settings: dict[str, Any],
    out: Path,
    suffix: str,
) -> tuple[list[dict[str, Any]], list[Path]]:
    """A page for each photo."""
    from bitlens.evaluation.grids import draw_layers_and_betas
    from bitlens.explaining.photos import file_stems
    from bitlens.explaining.sweeps import sweep_betas
    from bitlens.view.canvas import save_figure

    known = {iba.probe.name: iba.statistics for iba in bottlenecks}
    with progress_bar("maps", len(known) * len(prices) * len(seen), unit="maps") as advance:
        found = sweep_betas(
            loaded.model, [one.image for one in seen], [one.target for one in seen], known, prices, progress=advance,
            **settings,
        )  # fmt: skip
    rows, written = [], []
    stems = file_stems([Path(one.sample.name) for one in seen])
    for number, (one, stem, title) in enumerate(zip(seen, stems, titles, strict=True)):
        mine = {layer: [column[number] for column in row] for layer, row in zip(known, found, strict=True)}
        figure = draw_layers_and_betas(
            loaded.preprocess.display(one.image[0].cpu()), mine, prices, title=title,
            caption=_caption(one),
        )  # fmt: skip
        written.append(out / f"{stem}.{suffix}")
        save_figure(figure, written[-1])
        for row in mine.values():
            rows += [_row(made, one, title, beta=beta) for beta, made in zip(prices, row, strict=True)]
    return rows, written


def _smoothings(
    loaded: "Loaded",
    seen: "Sequence[Photo]",
    titles: Sequence[str],
    iba: "IBA",
    sigmas: Sequence[float],
    beta: float,
    settings: dict[str, Any],
    out: Path,
    suffix: str,
) -> tuple[list[dict[str, Any]], list[Path]]:
    """Pages of several photos each."""
    from bitlens.evaluation.grids import draw_smoothings
    from bitlens.explaining.sweeps import roughness_of, sweep_smoothings
    from bitlens.view.canvas import save_figure

    with progress_bar("maps", len(sigmas) * len(seen), unit="maps") as advance:
        found = sweep_smoothings(
            loaded.model, [one.image for one in seen], [one.target for one in seen], iba.statistics, sigmas,
            progress=advance, beta=beta, **settings,
        )  # fmt: skip
    written = []
    for start in range(0, len(seen), _ON_A_PAGE):
        part = slice(start, start + _ON_A_PAGE)
        figure = draw_smoothings(
            [loaded.preprocess.display(one.image[0].cpu()) for one in seen[part]],
            titles[part],
            [column[part] for column in found],
            sigmas,
            caption=f"β = {beta:g}; σ in cells of the layer. Below each map: the bits that pass, p with noise in place of "
            "everything else, and how little a cell is like its neighbours (0 flat, 1 every cell alone).",
        )
        written.append(out / f"smoothing{f'-{start // _ON_A_PAGE + 1}' if start else ''}.{suffix}")
        save_figure(figure, written[-1])
    rows = [
        {
            **_row(column[number], one, title, beta=beta, smoothing=sigma),
            "roughness": roughness_of(column[number]),
        }
        for number, (one, title) in enumerate(zip(seen, titles, strict=True))
        for sigma, column in zip(sigmas, found, strict=True)
    ]
    return rows, written


def _caption(photo: "Photo") -> str:
    before = (
        f"p = {photo.probability:.2f}" if photo.measure == "probability" else f"The answer is {photo.probability:.4g}"
    )
    what = "p" if photo.measure == "probability" else "the answer"
    return f"{before}. Below each map: the bits that pass the layer, and {what} with noise in place of everything else."


def _row(made: "Attribution", photo: "Photo", title: str, **settings: float) -> dict[str, Any]:
    """Plain values of one map."""
    return {"photo": photo.sample.name, "name": title, **settings, **made.summary()[0]}


def _print(rows: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table

    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "photo": lambda row: Path(row["photo"]).name,
        "target": lambda row: row["name"].partition(",")[0],
        "p before": lambda row: f"{row['probability_before']:.3f}",
        "value before": lambda row: f"{row['score_before']:.4g}",
        "layer": lambda row: row["layer"],
        "β": lambda row: f"{row['beta']:g}",
        "σ": lambda row: f"{row['smoothing']:g}",
        "bits": lambda row: f"{row['total_bits']:,.0f}",
        "p under noise": lambda row: f"{row['probability_under_noise']:.3f}",
        "value under noise": lambda row: f"{row['score_under_noise']:.4g}",
        "roughness": lambda row: f"{row['roughness']:.2f}",
    }
    swept = "smoothing" in rows[0]
    other = "p" if "score_before" in rows[0] else "value"
    hidden = {f"{other} before", f"{other} under noise"} | (set() if swept else {"σ", "roughness"})
    shown = {name: text for name, text in columns.items() if name not in hidden}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in shown:
        table.add_column(name, justify="left" if name in ("photo", "target", "layer") else "right", overflow="fold")
    previous = None
    for row in rows:
        again = ("photo", "target", "p before") if row["photo"] == previous else ()
        table.add_row(*("" if name in again else text(row) for name, text in shown.items()))
        previous = row["photo"]
    answers.print(table)
