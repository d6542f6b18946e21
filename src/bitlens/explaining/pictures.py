"""Photos explained into a folder: a picture and the raw maps of each, what the network saw, contact sheets, a summary."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from bitlens.core.seen import Seen
from bitlens.errors import BitlensError, DataError
from bitlens.explaining.earlier import Earlier
from bitlens.explaining.file_names import file_stems
from bitlens.explaining.photos import Explained, Explaining, Found, Request
from bitlens.explaining.shown import save_shown
from bitlens.explaining.summary import SUMMARY, write_summary
from bitlens.view.canvas import save_figure
from bitlens.view.card import bits_passed, caption
from bitlens.view.colours import Scale
from bitlens.view.comparison import Panel, draw_comparison
from bitlens.view.heatmap import draw_explanation, save_raw
from bitlens.view.readings import Reading, draw_readings
from bitlens.view.scales import Ends, little
from bitlens.view.sheet import draw_scaled_grid
from bitlens.view.tradeoff import trade_off
from bitlens.view.tradeoff_figure import draw_trade_off

_ON_A_SHEET, _ABREAST = 8, 7  # what fits a screen or a page
ON_SHEETS = 3 * _ON_A_SHEET
"""So many photos are drawn on sheets: all of them are in memory then."""


def write_picture(photo: Explained, out: Path, suffix: str, ends: Ends | None = None) -> None:
    """Draw a photo beside its maps, write the raw maps, and draw the curves and spreads that there are.

    Args:
        photo: the photo.
        out: folder.
        suffix: "png", "svg" or "pdf".
        ends: where colours end; by default, where those of this photo's maps do.
    """
    if ends is None:
        alone = Outcome()
        alone.raise_tops(photo, None)
        ends = Ends(None, alone.tops)
    scales = [_scale(one, ends) for one in photo.found]
    if isinstance(photo.shown, Seen):
        figure = draw_reading(photo, ends)
    elif len(photo.found) == 1:
        (one,), (scale,) = photo.found, scales
        figure = draw_explanation(
            photo.pixels,
            one.attribution.map[0],
            unit=one.attribution.unit,
            scale=scale,
            title=photo.name,
            caption=_legend(photo, scales),
        )
    else:
        panels = _panels(photo, scales)
        figure = draw_comparison(photo.pixels, panels, title=photo.name, caption=_legend(photo, scales))
    save_figure(figure, out / f"{photo.stem}.{suffix}")
    for one in photo.found:
        save_raw(one.attribution.map[0], out / f"{photo.stem}{one.ready.endings[0]}.npy")
        if (curve := trade_off(one.attribution)) is not None:
            pixels = photo.shown if isinstance(photo.shown, Tensor) else None
            drawn = draw_trade_off(curve, pixels, title=photo.name, caption=f"{', '.join(filter(None, _names(one)))}.")
            save_figure(drawn, out / f"{photo.stem}{one.ready.endings[0]}.curve.{suffix}")
        if one.attribution.spread is not None:
            named = replace(one.attribution, seen=(_seen(photo),))
            save_figure(named.show(spread=True), out / f"{photo.stem}{one.ready.endings[0]}.spread.{suffix}")


def draw_reading(photo: Explained, ends: Ends, outline: Any = None) -> Figure:
    """Draw a signal, a volume or a row of a table beside its maps; non-zero places of `outline` are known to decide."""
    assert isinstance(photo.shown, Seen)
    scales = [_scale(one, ends) for one in photo.found]
    return draw_readings([Reading(photo.shown, _panels(photo, scales), photo.name, _legend(photo, scales), outline)])


def _panels(photo: Explained, scales: Sequence[Scale]) -> list[Panel]:
    """Return the maps of a photo, with names where there are several."""
    names = [_names(one) if len(photo.found) > 1 else ("",) for one in photo.found]
    return [
        Panel(one.attribution.map[0], scale, *name) for one, scale, name in zip(photo.found, scales, names, strict=True)
    ]


def _legend(photo: Explained, scales: Sequence[Scale]) -> str:
    """Say below the maps what was measured of each."""
    proofs = [caption(one.attribution) if one.attribution.evidence else "" for one in photo.found]
    faint = [_little(one, scale) for one, scale in zip(photo.found, scales, strict=True)]
    if len(photo.found) == 1:
        parts = proofs if proofs[0] else [_before(photo), *_names(photo.found[0])]
        return " · ".join(filter(None, [*parts, *faint]))
    told = [" · ".join(filter(None, both)) for both in zip(proofs, faint, strict=True)]
    lines = [f"{one.ready.label}: {text}" for one, text in zip(photo.found, told, strict=True) if text]
    return "\n".join(lines or [_before(photo)])


def _seen(photo: Explained) -> Seen:
    if isinstance(photo.shown, Seen):
        return replace(photo.shown, target=photo.name)
    return Seen.of_pixels(photo.shown, photo.name)


def write_sheet(photos: Sequence[Explained], labels: Sequence[str], path: Path, ends: Ends) -> None:
    """Draw photos (rows) and what the methods (columns) say of them on one page.

    Args:
        photos: at least one.
        labels: of the methods; all photos must have been explained by them.
        path: of the picture.
        ends: where colours end.
    """
    table = [[one for one in photo.found if one.ready.label in labels] for photo in photos]
    scales = [[_scale(one, ends) for one in row] for row in table]
    figure = draw_scaled_grid(
        [photo.pixels for photo in photos],
        [[one.attribution.map[0] for one in row] for row in table],
        scales,
        row_titles=[photo.name for photo in photos],
        column_titles=[_names(one)[0] for one in table[-1]],
        column_details=[_names(one)[1] for one in table[-1]],
        captions=[
            [_total(one, scale) for one, scale in zip(row, own, strict=True)]
            for row, own in zip(table, scales, strict=True)
        ],
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


def _total(one: Found, scale: Scale) -> str:
    total = one.attribution.total_bits
    if total is None:
        return ""
    little = ", next to nothing" if _little(one, scale) else ""
    return f"{bits_passed(one.attribution)}{little}"


def _scale(one: Found, ends: Ends) -> Scale:
    return ends.scale(one.ready.label, one.attribution, signed=one.signed)


def _little(one: Found, scale: Scale) -> str:
    return little(one.attribution.map[0].numpy(), scale)


@dataclass
class Outcome:
    """Outcome of explaining many photos.

    Attributes:
        rows: plain values of each photo and each method that explained it.
        skipped: of each photo that could not be read, why.
        refused: of each method that cannot be used on the network, why.
        repeated: how many of the rows an earlier run had made already.
        tops: by unit or method, where scales end that maps share.
        earlier: what stays of earlier runs in the folder.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    repeated: int = 0
    tops: dict[str, float] = field(default_factory=dict)
    earlier: Earlier | None = None

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
        self.tops |= {key: max(self.tops.get(key, 0.0), top) for key, top in other.tops.items()}

    def raise_tops(self, photo: Explained, same_scale: bool | None) -> None:
        """Let scales reach as far as the maps of a photo do."""
        ends = Ends(same_scale, self.tops)
        for one in photo.found:
            ends.count(one.ready.label, one.attribution, signed=one.signed)
        self.tops = ends.tops

    def skip(self, photo: Path, error: BitlensError) -> None:
        """Leave out a photo that cannot be read."""
        self.skipped[str(photo)] = str(error)

    def refuse(self, label: str, error: BitlensError) -> None:
        """Leave out a method that cannot be used on the network."""
        self.refused[label] = str(error)


def explain_into(request: Request, photos: Sequence[Path], *, advance: Callable[[], None] = lambda: None) -> Outcome:
    """Explain photos, draw them, and the first 24 on sheets of eight by seven methods at most.

    What fits of earlier runs in the folder is drawn with it: maps of the same photos by other methods, and other photos.

    Photos that cannot be read are left out, and methods that the network does not support; a single one raises. Where maps
    share a scale, the pictures are drawn when all photos are explained, from what is on disk by then: memory does not grow with
    the number of photos.

    Raises:
        DataError: if no photo can be read.
        SettingError: if the folder holds what does not fit; see `Earlier.of`.
    """
    earlier = Earlier.of(request, photos)
    done, new, out = Outcome(earlier=earlier), dict[Path, Explained](), request.out
    request = beside(request, earlier)
    explaining = Explaining(request, None if request.methods[0].alone else done.refuse)
    earlier.check_network(explaining.made_by)
    skip = None if len(photos) == 1 else done.skip
    stems = list(zip(photos, file_stems(photos, request.taken), strict=True))
    later: list[tuple[Path, str]] = []
    for path, stem in stems:
        made = explaining.one(path, stem, skip, advance)
        if made is None:
            continue
        done.add(made)
        photo = earlier.joined(made)
        save_shown(photo.shown, out / photo.seen)
        done.raise_tops(photo, request.same_scale)
        if request.same_scale is False:
            write_picture(photo, out, request.suffix, request.ends(done.tops))
        elif len(new) >= ON_SHEETS:
            later.append((path, stem))
        if len(new) < ON_SHEETS:
            new[made.photo] = photo
    if not done.rows:
        raise DataError(f"none of the {len(photos)} photos could be read")
    if request.same_scale is not False:
        for photo in earlier.others(photos):
            done.raise_tops(photo, request.same_scale)
        read = (explaining.one(path, stem, skip) for path, stem in later)
        again = (earlier.joined(one) for one in read if one is not None)
        for photo in itertools.chain(earlier.others(photos), new.values(), again):
            write_picture(photo, out, request.suffix, request.ends(done.tops))
    draw_sheets([*itertools.islice(earlier.others(photos), ON_SHEETS), *new.values()], request, done)
    return done


def write_merged(done: Outcome, settings: Mapping[str, Any], refused: Mapping[str, str], folder: Path) -> int:
    """Write the summary of a folder: what a run made of photos, with what stays of earlier runs.

    Args:
        done: the run.
        settings: how it was made.
        refused: methods that could not be used, and why, beside those of the run.
        folder: where.

    Returns:
        How many photos stay that are not in this run.
    """
    earlier = done.earlier or Earlier(folder)
    rows = earlier.merged(done.rows)
    made = {str(row["photo"]) for row in done.rows}
    skipped = {photo: why for photo, why in earlier.skipped.items() if photo not in made} | done.skipped
    left_out = {**earlier.refused, **refused, **done.refused}
    known = {row["method"] for row in rows}
    write_summary(rows, earlier.merged_settings(settings), folder / SUMMARY, skipped,
                  {label: why for label, why in left_out.items() if label not in known or label in done.refused})  # fmt: skip
    return len({str(row["photo"]) for row in rows} - made)


def beside(request: Request, earlier: Earlier) -> Request:
    """Return the request with names of files that leave those of earlier runs alone."""
    methods = [replace(ready, alone=ready.alone and not earlier.several) for ready in request.methods]
    return replace(request, methods=methods, taken=earlier.stems)


def draw_sheets(photos: Sequence[Explained], request: Request, done: Outcome) -> None:
    """Draw the first photos of a folder on sheets, if there are several, in the order of its summary."""
    rows = done.earlier.merged(done.rows) if done.earlier is not None else done.rows
    order = {path: number for number, path in enumerate(dict.fromkeys(str(row.get("photo")) for row in rows))}
    shown = sorted(
        (photo for photo in photos if isinstance(photo.shown, Tensor)),
        key=lambda photo: order.get(str(photo.photo), len(order)),
    )[:ON_SHEETS]
    if len(shown) > 1:
        write_sheets(shown, request.out, request.suffix, request.ends(done.tops))


def write_sheets(photos: Sequence[Explained], out: Path, suffix: str, ends: Ends) -> None:
    """Draw photos on sheets of eight by seven methods at most: what all of them were explained by."""
    labels = [one.ready.label for one in photos[-1].found]
    labels = [label for label in labels if all(label in [one.ready.label for one in photo.found] for photo in photos)]
    if not labels:
        return
    columns = -(-len(labels) // -(-len(labels) // _ABREAST))  # as many on each sheet
    starts = itertools.product(range(0, len(photos), _ON_A_SHEET), range(0, len(labels), columns))
    for number, (row, column) in enumerate(starts, 1):
        name = "sheet" if number == 1 else f"sheet-{number}"
        shown = photos[row : row + _ON_A_SHEET]
        write_sheet(shown, labels[column : column + columns], out / f"{name}.{suffix}", ends)
