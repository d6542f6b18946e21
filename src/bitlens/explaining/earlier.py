"""What earlier runs left in a folder: what fits a new run stays in its summary, pictures and sheets, what does not is refused."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bitlens.core.attribution import Attribution
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import DataError, SettingError
from bitlens.explaining.photo import fingerprint
from bitlens.explaining.photos import Explained, Found, Ready, Request, sample_of
from bitlens.explaining.shown import read_shown
from bitlens.explaining.summary import PICTURE, SUMMARY, VALUES, read_summary, safe_name
from bitlens.explaining.wanted import words_of
from bitlens.methods import METHODS
from bitlens.methods.specs import Spec

Row = Mapping[str, Any]
_SHOWN = 3  # differences


@dataclass(frozen=True)
class Earlier:
    """Remains of earlier runs in a folder.

    Attributes:
        folder: the folder.
        rows: of the summary: other photos, and other methods, than those of the new run.
        settings: of the summary.
        skipped: of photos that could not be read, why.
        refused: of methods that could not be used, why.
        several: whether other methods than those of the new run have maps there: then its files are called after methods, too.
    """

    folder: Path
    rows: Sequence[Row] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    several: bool = False

    @classmethod
    def of(cls, request: Request, photos: Sequence[Path]) -> "Earlier":
        """Read what stays beside a new run.

        Raises:
            SettingError: if something stays that was made with another network, about another class, or by the same method with
                other settings: one summary cannot tell of both.
        """
        if not (request.out / SUMMARY).is_file():
            return cls(request.out)
        try:
            held = read_summary(request.out)
        except DataError:
            return cls(request.out)  # damaged: it is written anew
        again = {(_place(path), ready.label) for path in photos for ready in request.methods}
        rows = [row for row in held["photos"] if (_place(row.get("photo", "")), row.get("method")) not in again]
        rows = list(_of_these_photos(request.out, rows, photos, request.loaded.preprocess))
        if held["texts"] or any("scene" in row for row in rows):
            raise SettingError(f"{request.out} holds what another command wrote: use another --out")
        known = held["settings"]
        wanted = {"model": request.loaded.name, "target": asked_of(request)}
        told = {name: known[name] for name in wanted if name in known}  # 0.1 did not tell all of it
        differing = list(_differences(told, {name: wanted[name] for name in told})) if rows else []
        stay = {str(row.get("method")) for row in rows}
        for ready in request.methods if not differing else ():
            if ready.label in stay:
                before, now = known.get("methods", {}).get(ready.label, {}), _plain(ready.settings())
                differing += [f"{ready.label}: {text}" for text in _differences(before, now)]
        if differing:
            raise _unfitting(request.out, rows, differing)
        skipped, refused = ({k: str(v) for k, v in (held.get(name) or {}).items()} for name in ("skipped", "refused"))
        several = bool(stay - {ready.label for ready in request.methods})
        return cls(request.out, rows, known, skipped, refused, several)

    def check_network(self, made_by: Mapping[str, Any]) -> None:
        """Refuse what stays if it was made by other weights or of photos that were prepared otherwise.

        Raises:
            SettingError: if that is so.
        """
        for row in self.rows[:1]:
            try:
                known = Attribution.load(self.folder / f"{safe_name(row.get('files'))}.safetensors").settings
            except DataError:
                return  # it is lost: the report says so
            different = [name for name in ("weights", "preprocessing") if known.get(name) != made_by.get(name)]
            if different:
                raise SettingError(
                    f"{self.folder} holds photos explained with other {' and '.join(different)} of {made_by['model']}: use "
                    "another --out"
                )

    @property
    def stems(self) -> dict[str, Path]:
        """Names of the files of photos that stay, with the photos."""
        return {stem: _place(row["photo"]) for row in self.rows for stem in [_stem(row)] if stem and "photo" in row}

    def joined(self, photo: Explained) -> Explained:
        """Return a photo of the new run with what stays of it by other methods."""
        mine = [row for row in self.rows if _place(row.get("photo", "")) == _place(photo.photo)]
        found = tuple(one for row in mine for one in self._found(row))
        return photo if not found else Explained(**{**vars(photo), "found": (*found, *photo.found)})

    def others(self, photos: Sequence[Path]) -> Iterator[Explained]:
        """Read the photos that are not in the new run; those whose files are lost or damaged are passed over."""
        new = {_place(path) for path in photos}
        groups: dict[Path, list[Row]] = {}
        for row in self.rows:
            if "photo" in row and _place(row["photo"]) not in new:
                groups.setdefault(_place(row["photo"]), []).append(row)
        for rows in groups.values():
            found = tuple(one for row in rows for one in self._found(row))
            made = self._explained(rows[0], found) if found else None
            if made is not None:
                yield made

    def merged(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that stay with new ones: photos in the order in which they came, methods likewise."""
        groups: dict[Path, list[Row]] = {}
        for row in (*self.rows, *rows):
            groups.setdefault(_place(row.get("photo", "")), []).append(row)
        return [row for group in groups.values() for row in group]

    def merged_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of a new run with what must be known of what stays: its methods, and the commands that made it."""
        if not self.rows:
            return dict(settings)
        stay = {str(row.get("method")) for row in self.rows}
        methods = {label: one for label, one in self.settings.get("methods", {}).items() if label in stay}
        before = [*self.settings.get("earlier", []), self.settings.get("command", [])]
        return {
            **settings,
            "methods": {**methods, **settings["methods"]},
            "earlier": [c for c in before if c != settings["command"]],
        }

    def _found(self, row: Row) -> Iterator[Found]:
        label, stem = str(row.get("method", "")), _stem(row)
        name = label.partition("[")[0]
        if name not in METHODS["image"] or not stem:
            return
        try:
            files = safe_name(row.get("files"))
            made = Attribution.load(self.folder / f"{files}.safetensors")
        except DataError:
            return  # lost or damaged: the report says so
        yield Found(Ready(label, Spec(name, {}), None, files == stem), made, repeated=True)

    def _explained(self, row: Row, found: tuple[Found, ...]) -> Explained | None:
        measure = "probability" if "probability_before" in row else "score"
        try:
            shown = read_shown(self.folder / safe_name(row.get("seen")))
        except DataError:
            return None
        name, before = str(row.get("name", "")), float(row.get(f"{measure}_before", float("nan")))
        told = (row.get("predicted") or "", row.get("predicted_probability"), row.get("label") or "")
        return Explained(Path(row["photo"]), _stem(row), shown, name, before, found, measure, *told)


def _of_these_photos(
    folder: Path, rows: Sequence[Row], photos: Sequence[Path], preprocess: Preprocessing
) -> Iterator[Row]:
    """Leave out maps of a photo of the new run whose file holds another photo by now, or nobody knows which."""
    new = {_place(path): path for path in photos}
    for row in rows:
        path = new.get(_place(row.get("photo", "")))
        if path is not None:
            try:
                known = Attribution.load(folder / f"{safe_name(row.get('files'))}.safetensors").settings
                now = fingerprint(sample_of(path, preprocess))
            except DataError:
                continue
            if known.get("photo_hash") != now:
                continue
        yield row


def _unfitting(folder: Path, rows: Sequence[Row], differing: Sequence[str]) -> SettingError:
    count = len({row.get("photo") for row in rows})
    label, colon, _ = differing[0].partition(": ")
    apart = f"name what is set, as {label}:SETTING=VALUE, which is told apart, " if colon else ""
    return SettingError(
        f"{folder} holds {count} photo{'s' if count > 1 else ''} explained otherwise ({'; '.join(differing[:_SHOWN])}): "
        f"repeat those settings, {apart}or use another --out"
    )


def asked_of(request: Request) -> str:
    """Say what was asked about: auto, the index of a class, or a question about places."""
    return words_of(request.target)


def _place(photo: Any) -> Path:
    return Path(str(photo)).resolve()


def _stem(row: Row) -> str:
    seen = row.get("seen")
    return seen.removesuffix(PICTURE).removesuffix(VALUES) if isinstance(seen, str) else str(row.get("files", ""))


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return plain


def _differences(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*wanted, *known]):
        if known.get(name) != wanted.get(name):
            yield f"{name} was {_text(known.get(name))}, now {_text(wanted.get(name))}"


def _text(value: Any) -> str:
    told = "not set" if value is None else json.dumps(value, ensure_ascii=False)
    return told if len(told) <= 40 else f"{told[:37]}…"
