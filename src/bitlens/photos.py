"""Explaining photos into a folder: picture, raw map, attribution and summary for each, resumable."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from bitlens.attribution import Attribution
from bitlens.bottlenecks.per_sample import IBA
from bitlens.data.preprocessing import photo_batch
from bitlens.errors import BitlensError, DataError, InputError, LayerError, TargetError
from bitlens.files import write_text
from bitlens.models.load import LoadedModel
from bitlens.view.heatmap import draw_explanation, draw_grid, save_figure, save_raw

__all__ = [
    "Explained",
    "Outcome",
    "class_index",
    "class_name",
    "explain_into",
    "explain_photos",
    "file_stems",
    "write_picture",
    "write_sheet",
    "write_summary",
]


_SHEETS, _ON_A_SHEET = 3, 8  # what fits a screen or a page, and memory


@dataclass(frozen=True)
class Explained:
    """One photo, explained.

    Attributes:
        photo: its file.
        stem: what the files written for it are called.
        shown: (3, H, W) in [0, 1], the photo as the network sees it.
        attribution: of this photo alone.
        name: of the target.
        repeated: whether an earlier run had done the same already.
    """

    photo: Path
    stem: str
    shown: Tensor
    attribution: Attribution
    name: str
    repeated: bool

    def row(self) -> dict[str, Any]:
        """Plain values for the summary."""
        return {"photo": str(self.photo), "name": self.name, "files": self.stem, **self.attribution.summary()[0]}


def class_index(wanted: str, classes: Sequence[str] | None) -> int | None:
    """The class that a person means: "auto" (None: the predicted one), an index, or a name.

    Raises:
        TargetError: if no class is called so, or several are.
    """
    if wanted == "auto":
        return None
    if wanted.isascii() and wanted.isdigit():
        return int(wanted)
    if classes is None:
        raise TargetError(
            f"target {wanted!r}: the class names of this model are not known; give an index, or --classes FILE"
        )
    names = [[part.strip().lower() for part in name.split(",")] for name in classes]
    found = [i for i, parts in enumerate(names) if wanted.lower() in parts or wanted.lower() == ", ".join(parts)]
    if len(found) == 1:
        return found[0]
    likely = found or [i for i, parts in enumerate(names) if any(wanted.lower() in part for part in parts)]
    hint = "; ".join(f"{i} {classes[i]}" for i in likely[:6]) or "give an index"
    raise TargetError(f"target {wanted!r} names {'several classes' if found else 'no class'}: {hint}")


def class_name(target: str, classes: Sequence[str] | None) -> str:
    """How a target is called in pictures: the class's name, or "class 7"."""
    if not target.isdigit():
        return target
    index = int(target)
    return classes[index] if classes is not None and index < len(classes) else f"class {index}"


def explain_photos(
    photos: Sequence[Path],
    loaded: LoadedModel,
    iba: IBA,
    target: int | None,
    out: Path,
    classes: Sequence[str] | None,
    *,
    evidence_samples: int = 32,
    unreadable: Callable[[Path, BitlensError], None] | None = None,
) -> Iterator[Explained]:
    """Explain photos one after the other; each attribution is on disk before the next begins.

    A photo whose attribution lies in `out` already, made from the same file with the same network and settings, is not
    explained again.

    Args:
        photos: files.
        loaded: the network and its preprocessing.
        iba: the bottleneck, with statistics.
        target: class index, None for the predicted class.
        out: folder.
        classes: names of the classes, if they are known.
        evidence_samples: as in `IBA.explain`.
        unreadable: what to do with a photo that cannot be read or prepared, instead of raising; it is left out.

    Raises:
        DataError: if a photo cannot be read, or `out` cannot be written.
        InputError: if the preprocessing fails on a photo.
        LayerError: if the layer's features have no grid.
    """
    for photo, stem in zip(photos, file_stems(photos), strict=True):
        try:
            image = photo_batch([photo], loaded.preprocess)
        except (DataError, InputError) as error:
            if unreadable is None:
                raise
            unreadable(photo, error)
            continue
        shown = loaded.preprocess.display(image[0])
        place = out / f"{stem}.safetensors"
        identity = {"photo": photo.name, "photo_hash": _file_hash(photo), "model": loaded.name, "asked": target}
        attribution = _known(place, iba, identity)
        repeated = attribution is not None
        if attribution is None:
            made = iba.explain(image.to(iba.probe.device), target, evidence_samples=evidence_samples)
            attribution = replace(made, settings={**made.settings, **identity})
            if attribution.unit != "bits/pixel":
                raise LayerError(
                    f"layer {iba.probe.name!r} gives {attribution.unit.removeprefix('bits/')}s, not a grid over the photo: "
                    "choose a layer whose output has height and width"
                )
            attribution.save(place)
        yield Explained(photo, stem, shown, attribution, class_name(attribution.targets[0], classes), repeated)


def file_stems(photos: Sequence[Path]) -> list[str]:
    """One name for each photo's files, no two alike."""
    stems: dict[str, None] = {}  # a set that keeps its order
    for photo in photos:
        tried = (photo.stem if number == 1 else f"{photo.stem}-{number}" for number in itertools.count(1))
        stems[next(stem for stem in tried if stem not in stems)] = None
    return list(stems)


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _known(place: Path, iba: IBA, identity: dict[str, Any]) -> Attribution | None:
    if not place.is_file():
        return None
    try:
        found = Attribution.load(place)
    except DataError:
        return None  # not ours, or damaged: it is made again
    same = dict(found.settings) == {**iba.all_settings(), **identity} and found.layer == iba.probe.name
    return found if same else None


def caption(attribution: Attribution) -> str:
    """One sentence of evidence and one of settings, for below a picture."""
    parts = []
    if attribution.evidence is not None:
        proof = attribution.evidence
        symbol = "p" if proof.measure == "probability" else "score"
        mean, spread = float(proof.under_noise[0]), float(proof.under_noise_std[0])
        parts.append(
            f"{symbol} = {float(proof.before[0]):.2f}, and {mean:.2f} ± {spread:.2f} with everything else under noise"
        )
    if attribution.total_bits is not None:
        parts.append(f"{float(attribution.total_bits[0]):,.0f} bits in total")
    parts.append(f"{attribution.layer}, β = {attribution.settings['beta']:g}")
    return " · ".join(parts)


def write_picture(one: Explained, out: Path, suffix: str, highest: float | None = None) -> None:
    """Draw a photo beside its map, and write the raw map.

    Args:
        one: the photo.
        out: folder.
        suffix: "png", "svg" or "pdf".
        highest: where the colours end; the same for several pictures makes them comparable. By default the map's maximum.
    """
    figure = draw_explanation(
        one.shown,
        one.attribution.map[0],
        unit=one.attribution.unit,
        title=one.name,
        caption=caption(one.attribution),
        vmax=highest,
    )
    save_figure(figure, out / f"{one.stem}.{suffix}")
    save_raw(one.attribution.map[0], out / f"{one.stem}.npy")


def write_sheet(explained: Sequence[Explained], path: Path, *, same_scale: bool = False) -> None:
    """Draw several photos and their maps on one page, on request with one scale for this page."""
    first = explained[0].attribution
    figure = draw_grid(
        [one.shown for one in explained],
        [[one.attribution.map[0]] for one in explained],
        unit=first.unit,
        row_titles=[one.name for one in explained],
        column_titles=[f"{first.method}, {first.layer}"],
        captions=[[f"{float(one.attribution.map.sum()):,.0f} bits"] for one in explained],
        shared_scale=same_scale,
    )
    save_figure(figure, path)


@dataclass(frozen=True)
class Outcome:
    """What became of many photos.

    Attributes:
        rows: plain values of each photo that was explained.
        skipped: of each photo that could not be read, why.
        repeated: how many an earlier run had explained already.
    """

    rows: list[dict[str, Any]]
    skipped: dict[str, str]
    repeated: int


def explain_into(
    out: Path,
    photos: Sequence[Path],
    loaded: LoadedModel,
    iba: IBA,
    target: int | None,
    classes: Sequence[str] | None,
    *,
    suffix: str = "png",
    same_scale: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> Outcome:
    """Explain photos and draw each as soon as it is done, and the first 24 on sheets of eight.

    Photos that cannot be read are left out; a single one raises. For one scale the pictures are drawn when all photos are
    explained, from what is on disk by then: memory does not grow with the number of photos.

    Raises:
        DataError: if no photo can be read.
    """
    rows: list[dict[str, Any]] = []
    sheet: list[Explained] = []
    skipped: dict[str, str] = {}
    repeated = 0

    def skip(photo: Path, error: BitlensError) -> None:
        skipped[str(photo)] = str(error)

    def explained() -> Iterator[Explained]:
        unreadable = skip if len(photos) > 1 else None
        return explain_photos(photos, loaded, iba, target, out, classes, unreadable=unreadable)

    for one in explained():
        rows.append(one.row())
        repeated += one.repeated
        if not same_scale:
            write_picture(one, out, suffix)
        if len(sheet) < _SHEETS * _ON_A_SHEET:
            sheet.append(one)
        advance()
    if not rows:
        raise DataError(f"none of the {len(photos)} photos could be read")
    if same_scale:
        highest = max(row["max"] for row in rows)
        for one in explained():
            write_picture(one, out, suffix, highest)
    for number, start in enumerate(range(0, len(sheet), _ON_A_SHEET) if len(sheet) > 1 else (), 1):
        name = "sheet" if number == 1 else f"sheet-{number}"
        write_sheet(sheet[start : start + _ON_A_SHEET], out / f"{name}.{suffix}", same_scale=same_scale)
    return Outcome(rows, skipped, repeated)


def write_summary(
    rows: Sequence[dict[str, Any]], settings: dict[str, Any], path: Path, skipped: Mapping[str, str] | None = None
) -> None:
    """Write what was found and how, as JSON; `skipped` says of photos that were left out why."""
    content = {"settings": settings, "photos": list(rows), "skipped": dict(skipped or {})}
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
