"""`bitlens grid`: photos by layers and what is kept, or by widths of the mask's blur. Heavy imports wait until it runs."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitlens.cli import early, options
from bitlens.errors import DataError, SettingError
from bitlens.system.console import aligned, answers, messages, note, progress_bar

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from bitlens.bottlenecks.per_sample import IBA
    from bitlens.core.attribution import Attribution
    from bitlens.core.statistics import FeatureStatistics
    from bitlens.core.targets import Target
    from bitlens.explaining.photo import Photo
    from bitlens.models.loaded import Loaded

_ON_A_PAGE, _LAYERS = 6, 4


def grid(
    photos: options.Photos,
    model: options.Model,
    layers: Annotated[
        str | None, typer.Option("--layers", help="Dotted names separated by commas (default: four, shallow to deep).")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            help="Shares of the decision that maps must hold, separated by commas (default: 0.5,0.9,0.99; 0.9 with "
            "--smoothings).",
        ),
    ] = None,
    betas: Annotated[
        str | None,
        typer.Option("--betas", help="In place of --keep, prices of information as in the papers: 1,10,100."),
    ] = None,
    smoothings: Annotated[
        str | None,
        typer.Option(
            "--smoothings", help="Instead of layers: σ of the mask's blur in cells of the layer, as 0,0.5,1,2."
        ),
    ] = None,
    target: options.Target = "auto",
    quality: Annotated[options.Quality, typer.Option("--quality", help="How much work.")] = "paper",
    statistics_from: Annotated[
        str | None,
        typer.Option(
            "--statistics-from",
            help="Photos that statistics (per channel) are made from, and kept (default: each photo's own places).",
        ),
    ] = None,
    statistics_count: options.PhotoCount = None,
    weights: options.Weights = None,
    classes: options.Classes = None,
    out: options.Out = Path("bitlens-grid"),
    picture_format: options.Pictures = "png",
    device: options.Device = "auto",
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Draw photos by layers and shares of the decision (or prices β), or by smoothings of the mask, on one colour scale."""
    from bitlens.data.images import find_images
    from bitlens.models.classes import check_target, class_name, read_classes
    from bitlens.system.files import write_text

    sigmas = options.numbers("--smoothings", smoothings, least=0.0) if smoothings is not None else ()
    columns = _columns(keep, betas, single=bool(sigmas))
    given_names = read_classes(classes) if classes else early.bundled_classes(model)
    paths = find_images(photos)
    check_target(target, given_names)
    early.check(model, photos=paths, data=[statistics_from], files={"--weights": weights}, out=out)
    from bitlens.explaining.wanted import read_target
    from bitlens.methods.labels import check_reading, with_classes
    from bitlens.models.load import load_model

    loaded = load_model(model, weights, options.device_name(device))
    check_reading(loaded)
    names = with_classes(loaded, given_names if classes else None).classes
    loaded, wanted = read_target(target, loaded, names)
    settings: dict[str, Any] = {"quality": quality, "seed": seed}
    if loaded.output is not None:
        settings["output"] = loaded.output
    bottlenecks = _bottlenecks(loaded, layers, single=bool(sigmas))
    if sigmas and (len(bottlenecks) > 1 or len(columns) > 1):
        raise SettingError("--smoothings compares widths of the blur at one layer and one share or β: give one of each")
    _learn(loaded, bottlenecks, statistics_from, statistics_count)
    seen = _read(paths, loaded, wanted)
    titles = [class_name(one.asked, names) for one in seen]
    pages = _Pages(loaded, seen, titles, settings, out, picture_format)
    rows = pages.smoothings(bottlenecks[0], sigmas, columns[0]) if sigmas else pages.layers(bottlenecks, columns)
    content = {"settings": {"command": sys.argv[1:], "model": loaded.name, **settings}, "maps": rows}
    write_text(out / "grid.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    if options.printed_as_json(as_json, rows):
        return
    _print(rows)
    answers.print(f"{', '.join(pages.written)} and grid.json are in {out}/", soft_wrap=True)


def _columns(keep: str | None, betas: str | None, *, single: bool) -> list[dict[str, float]]:
    """Read what decides how much passes: shares that are held, or prices.

    Raises:
        SettingError: if both are given, or one is no share.
    """
    if betas is not None:
        if keep is not None:
            raise SettingError("--keep decides how much passes, and so does --betas: give one of them")
        return [{"beta": beta} for beta in options.numbers("--betas", betas, above=0.0)]
    shares = options.numbers("--keep", keep or ("0.9" if single else "0.5,0.9,0.99"), above=0.0)
    if max(shares) >= 1:
        raise SettingError(f"--keep is {keep!r}: expected shares above 0 and below 1, separated by commas")
    return [{"keep": share} for share in shares]


def _bottlenecks(loaded: "Loaded", layers: str | None, *, single: bool) -> "list[IBA]":
    """Make one for each layer; for those by default where none is named."""
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


def _learn(loaded: "Loaded", bottlenecks: "Sequence[IBA]", source: str | None, count: int | None) -> None:
    from bitlens.methods.lessons import STATISTICS
    from bitlens.methods.teaching import Source, enough

    source = source or loaded.learns_from
    if source is None:
        return  # each photo's own places serve
    samples = Source.open(source, "image", count or enough(loaded.form))
    options.teach(loaded, samples, STATISTICS, *bottlenecks, title="statistics of all layers")


def _read(paths: "Sequence[Path]", loaded: "Loaded", target: "int | Target | None") -> "list[Photo]":
    """Read the photos that can be read; a single one raises."""
    from bitlens.explaining.photos import read_file
    from bitlens.probe import Network

    network = Network(loaded.model, output=loaded.output)
    skip = None if len(paths) == 1 else lambda _, error: note(f"left out: {error}")
    read = (read_file(path, network, loaded.preprocess, target, skip) for path in paths)
    found = [photo for photo in read if photo is not None]
    if not found:
        raise DataError(f"none of the {len(paths)} photos could be read")
    return found


@dataclass(frozen=True)
class _Pages:
    """Pages to be drawn: photos with their titles, and how maps are made and pictures written."""

    loaded: "Loaded"
    seen: "Sequence[Photo]"
    titles: Sequence[str]
    settings: dict[str, Any]
    out: Path
    suffix: str
    written: list[str] = field(default_factory=list)

    def layers(self, bottlenecks: "Sequence[IBA]", columns: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
        """Draw a page for each photo, layers by shares or prices."""
        from bitlens.core.told import aim_of
        from bitlens.evaluation.grids import draw_layers
        from bitlens.explaining.file_names import file_stems
        from bitlens.explaining.sweeps import sweep_layers

        known = {iba.probe.name: _known(iba) for iba in bottlenecks}
        found = self._swept(sweep_layers, known, columns, maps=len(known) * len(columns))
        titles = [aim_of(column) for column in columns]
        rows = []
        stems = file_stems([Path(one.sample.name) for one in self.seen])
        for number, (one, stem, title) in enumerate(zip(self.seen, stems, self.titles, strict=True)):
            mine = {layer: [column[number] for column in row] for layer, row in zip(known, found, strict=True)}
            caption = _caption(one)
            self._save(draw_layers(self._shown(one), mine, titles, title=title, caption=caption), stem)
            for row in mine.values():
                rows += [_row(made, one, title, **column) for column, made in zip(columns, row, strict=True)]
        return rows

    def smoothings(self, iba: "IBA", sigmas: Sequence[float], aim: dict[str, float]) -> list[dict[str, Any]]:
        """Draw pages of several photos each, photos by widths of the blur."""
        from bitlens.core.told import aim_of
        from bitlens.evaluation.grids import draw_smoothings
        from bitlens.explaining.sweeps import roughness_of, sweep_smoothings

        maps, layer = len(sigmas), iba.probe.name
        found = self._swept(sweep_smoothings, _known(iba), sigmas, maps=maps, layer=layer, **aim)
        caption = (
            f"{aim_of(aim)}; σ in cells of the layer. Below each map: the bits that pass, p with noise in place of "
            "everything else, and how little a cell is like its neighbours (0 flat, 1 every cell alone)."
        )
        for number, start in enumerate(range(0, len(self.seen), _ON_A_PAGE), 1):
            part = slice(start, start + _ON_A_PAGE)
            shown, columns = [self._shown(one) for one in self.seen[part]], [column[part] for column in found]
            figure = draw_smoothings(shown, self.titles[part], columns, sigmas, caption=caption)
            self._save(figure, "smoothing" if number == 1 else f"smoothing-{number}")
        rows = []
        for number, (one, title) in enumerate(zip(self.seen, self.titles, strict=True)):
            for sigma, column in zip(sigmas, found, strict=True):
                made = column[number]
                rough = roughness_of(made)  # of a map of zeros there is none
                rows.append(
                    _row(made, one, title, **aim, smoothing=sigma) | {"roughness": rough if isfinite(rough) else None}
                )
        return rows

    def _swept(self, sweep: Callable[..., Any], known: Any, values: Sequence[Any], *, maps: int, **more: Any) -> Any:
        images, first = [one.image for one in self.seen], self.seen[0].target
        targets = [one.target for one in self.seen] if isinstance(first, int) else first
        with progress_bar("maps", maps * len(self.seen), unit="maps") as advance:
            return sweep(self.loaded.model, images, targets, known, values, progress=advance, **self.settings, **more)

    def _shown(self, photo: "Photo") -> "Tensor":
        return self.loaded.preprocess.display(photo.image[0].cpu())

    def _save(self, figure: "Figure", stem: str) -> None:
        from bitlens.view.canvas import save_figure

        self.written.append(f"{stem}.{self.suffix}")
        save_figure(figure, self.out / self.written[-1])


def _known(iba: "IBA") -> "FeatureStatistics | None":
    return None if iba.own else iba.statistics


def _caption(photo: "Photo") -> str:
    before = (
        f"p = {photo.probability:.2f}" if photo.measure == "probability" else f"The answer is {photo.probability:.4g}"
    )
    what = "p" if photo.measure == "probability" else "the answer"
    return f"{before}. Below each map: the bits that pass the layer, and {what} with noise in place of everything else."


def _row(made: "Attribution", photo: "Photo", title: str, **settings: float) -> dict[str, Any]:
    """Give the plain values of one map; what it keeps stands beside what it was to keep."""
    return {"photo": photo.sample.name, "name": title, **settings, **made.summary()[0]}


def _print(rows: Sequence[dict[str, Any]]) -> None:
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "photo": lambda row: Path(row["photo"]).name,
        "target": lambda row: row["name"].partition(",")[0],
        "p before": lambda row: f"{row['probability_before']:.3f}",
        "value before": lambda row: f"{row['score_before']:.4g}",
        "layer": lambda row: row["layer"],
        "keep": lambda row: f"{row['keep']:g}",
        "β": lambda row: f"{row['beta']:g}",
        "σ": lambda row: f"{row['smoothing']:g}",
        "bits": lambda row: f"{row['total_bits']:,.0f}",
        "p under noise": lambda row: f"{row['probability_under_noise']:.3f}",
        "kept": lambda row: "nothing needed" if row["kept"] is None else f"{row['kept']:.2f}",
        "value under noise": lambda row: f"{row['score_under_noise']:.4g}",
        "roughness": lambda row: "" if row["roughness"] is None else f"{row['roughness']:.2f}",
    }
    swept = "smoothing" in rows[0]
    hidden = {"p before", "p under noise"} if "score_before" in rows[0] else {"value before", "value under noise"}
    hidden |= set() if swept else {"σ", "roughness"}
    hidden |= {"keep"} if "beta" in rows[0] else {"β"}
    shown = {name: text for name, text in columns.items() if name not in hidden}
    once = ("photo", "target", "p before", "value before")
    answers.print(aligned(rows, shown, left=("photo", "target", "layer"), once=once))
