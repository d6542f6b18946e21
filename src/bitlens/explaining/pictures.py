"""Photos explained into a folder: a picture and the raw maps of each, what the network saw, contact sheets, a summary."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bitlens.core.attribution import Attribution
from bitlens.core.seen import Seen
from bitlens.errors import BitlensError, DataError
from bitlens.explaining.photos import Explained, Explaining, Found, Request
from bitlens.system.files import write_text
from bitlens.view.canvas import save_figure
from bitlens.view.card import caption
from bitlens.view.colours import Scale
from bitlens.view.comparison import Panel, draw_comparison
from bitlens.view.encoding import save_photo
from bitlens.view.heatmap import draw_explanation, save_raw
from bitlens.view.sheet import draw_scaled_grid
from bitlens.view.tradeoff import trade_off
from bitlens.view.tradeoff_figure import draw_trade_off

_ON_A_SHEET, _ABREAST = 8, 7  # what fits a screen or a page
ON_SHEETS = 3 * _ON_A_SHEET
"""So many photos are drawn on sheets: all of them are in memory then."""
_PERCENTILE = 99.5  # gradients have a few pixels that are far above all others


def write_picture(photo: Explained, out: Path, suffix: str, tops: Mapping[str, float] | None = None) -> None:
    """Draw a photo beside its maps, write the raw maps, and draw the curves and spreads that there are.

    Args:
        photo: the photo.
        out: folder.
        suffix: "png", "svg" or "pdf".
        tops: by the methods' labels, where their colours end; the same for several pictures makes them comparable. By
            default the map's maximum, for scores their 99.5th percentile.
    """
    tops = tops or {}
    if len(photo.found) == 1:
        (one,) = photo.found
        evident = one.attribution.evidence is not None
        figure = draw_explanation(
            photo.shown,
            one.attribution.map[0],
            unit=one.attribution.unit,
            title=photo.name,
            caption=caption(one.attribution) if evident else " · ".join([_before(photo), *filter(None, _names(one))]),
            **_ends(one, tops),
        )
    else:
        panels = [Panel(one.attribution.map[0], _scale(one, tops), *_names(one)) for one in photo.found]
        proofs = [f"{one.ready.label}: {caption(one.attribution)}" for one in photo.found if one.attribution.evidence]
        legend = "\n".join(proofs or [_before(photo)])
        figure = draw_comparison(photo.shown, panels, title=photo.name, caption=legend)
    save_figure(figure, out / f"{photo.stem}.{suffix}")
    for one in photo.found:
        save_raw(one.attribution.map[0], out / f"{photo.stem}{one.ready.endings[0]}.npy")
        if (curve := trade_off(one.attribution)) is not None:
            drawn = draw_trade_off(
                curve, photo.shown, title=photo.name, caption=f"{', '.join(filter(None, _names(one)))}."
            )
            save_figure(drawn, out / f"{photo.stem}{one.ready.endings[0]}.curve.{suffix}")
        if one.attribution.spread is not None:
            named = replace(one.attribution, seen=(Seen.of_pixels(photo.shown, photo.name),))
            save_figure(named.show(spread=True), out / f"{photo.stem}{one.ready.endings[0]}.spread.{suffix}")


def write_sheet(
    photos: Sequence[Explained], labels: Sequence[str], path: Path, tops: Mapping[str, float] | None = None
) -> None:
    """Draw photos (rows) and what the methods (columns) say of them on one page.

    Args:
        photos: at least one.
        labels: of the methods; all photos must have been explained by them.
        path: of the picture.
        tops: as for `write_picture`.
    """
    table = [[one for one in photo.found if one.ready.label in labels] for photo in photos]
    figure = draw_scaled_grid(
        [photo.shown for photo in photos],
        [[one.attribution.map[0] for one in row] for row in table],
        [[_scale(one, tops or {}) for one in row] for row in table],
        row_titles=[photo.name for photo in photos],
        column_titles=[_names(one)[0] for one in table[-1]],
        column_details=[_names(one)[1] for one in table[-1]],
        captions=[[_total(one.attribution) for one in row] for row in table],
    )
    save_figure(figure, path)


def _names(one: Found) -> tuple[str, str]:
    """Name the method, and how it was set where that is not as usual, with its layer."""
    name, _, given = one.ready.label.removesuffix("]").partition("[")
    details = [text for text in given.split(",") if text and not text.startswith("layer=")]
    details += [one.attribution.layer] if one.attribution.layer else []
    return name, " · ".join(details)


def _before(photo: Explained) -> str:
    return f"p = {photo.probability:.2f}" if photo.measure == "probability" else f"score = {photo.probability:.4g}"


def _total(attribution: Attribution) -> str:
    return f"{float(attribution.total_bits[0]):,.0f} bits" if attribution.total_bits is not None else ""


def _scale(one: Found, tops: Mapping[str, float]) -> Scale:
    return Scale.over([one.attribution.map[0].numpy()], one.attribution.unit, **_ends(one, tops))


def _ends(one: Found, tops: Mapping[str, float]) -> dict[str, Any]:
    """Say where the colours of a map end."""
    top = tops.get(one.ready.label)
    percentile = _PERCENTILE if top is None and one.attribution.unit == "score" else None
    return {"vmax": top, "percentile": percentile, "signed": one.ready.signed}


@dataclass
class Outcome:
    """Outcome of explaining many photos.

    Attributes:
        rows: plain values of each photo and each method that explained it.
        skipped: of each photo that could not be read, why.
        refused: of each method that cannot be used on the network, why.
        repeated: how many of the rows an earlier run had made already.
        tops: by the methods' labels, where the colours of their strongest maps end; filled in for one scale.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    repeated: int = 0
    tops: dict[str, float] = field(default_factory=dict)

    def add(self, photo: Explained) -> None:
        """Count a photo in."""
        self.rows += photo.rows()
        self.repeated += sum(one.repeated for one in photo.found)

    def join(self, other: "Outcome") -> None:
        """Count in what became of further photos."""
        self.rows += other.rows
        self.repeated += other.repeated
        self.skipped |= other.skipped
        self.refused |= other.refused
        self.tops |= {label: max(self.tops.get(label, 0.0), top) for label, top in other.tops.items()}

    def raise_tops(self, photo: Explained) -> None:
        """Let the colours of each method end where those of its strongest map end."""
        for one in photo.found:
            if bool(one.attribution.map.any()):
                self.tops[one.ready.label] = max(self.tops.get(one.ready.label, 0.0), _scale(one, {}).top)

    def skip(self, photo: Path, error: BitlensError) -> None:
        """Leave out a photo that cannot be read."""
        self.skipped[str(photo)] = str(error)

    def refuse(self, label: str, error: BitlensError) -> None:
        """Leave out a method that cannot be used on the network."""
        self.refused[label] = str(error)


def explain_into(request: Request, photos: Sequence[Path], *, advance: Callable[[], None] = lambda: None) -> Outcome:
    """Explain photos and draw each as soon as it is done, and the first 24 on sheets of eight by seven methods at most.

    Photos that cannot be read are left out, and methods that the network does not support; a single one raises. For one
    scale the pictures are drawn when all photos are explained, from what is on disk by then: memory does not grow with the
    number of photos.

    Raises:
        DataError: if no photo can be read.
    """
    done, sheet, out = Outcome(), list[Explained](), request.out
    explaining = Explaining(request, None if request.methods[0].alone else done.refuse)
    skip = None if len(photos) == 1 else done.skip
    for photo in explaining.each(photos, skip, advance):
        done.add(photo)
        save_photo(photo.shown, out / photo.seen)
        if request.same_scale:
            done.raise_tops(photo)
        else:
            write_picture(photo, out, request.suffix)
        if len(sheet) < ON_SHEETS:
            sheet.append(photo)
    if not done.rows:
        raise DataError(f"none of the {len(photos)} photos could be read")
    if request.same_scale:
        for photo in explaining.each(photos, skip):
            write_picture(photo, out, request.suffix, done.tops)
    if len(sheet) > 1:
        write_sheets(sheet, out, request.suffix, done.tops)
    return done


def write_sheets(photos: Sequence[Explained], out: Path, suffix: str, tops: Mapping[str, float]) -> None:
    """Draw photos that were explained by the same methods on sheets of eight by seven methods at most."""
    labels = [one.ready.label for one in photos[-1].found]  # methods drop out on the way, none joins
    columns = -(-len(labels) // -(-len(labels) // _ABREAST))  # as many on each sheet
    starts = itertools.product(range(0, len(photos), _ON_A_SHEET), range(0, len(labels), columns))
    for number, (row, column) in enumerate(starts, 1):
        name = "sheet" if number == 1 else f"sheet-{number}"
        shown = photos[row : row + _ON_A_SHEET]
        write_sheet(shown, labels[column : column + columns], out / f"{name}.{suffix}", tops)


def write_summary(
    rows: Sequence[dict[str, Any]],
    settings: Mapping[str, Any],
    path: Path,
    skipped: Mapping[str, str] | None = None,
    refused: Mapping[str, str] | None = None,
) -> None:
    """Write what was found and how, as JSON; with photos and methods that were left out, and why."""
    content = {"settings": settings, "photos": rows, "skipped": skipped or {}, "refused": refused or {}}
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
