"""What `bitlens explain` left in a folder, read back: each attribution with its row of the summary."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bitlens.core.stored_map import StoredMap
from bitlens.errors import DataError
from bitlens.explaining.summary import SUMMARY, VALUES, read_summary, safe_name
from bitlens.system.reading import read_json


@dataclass(frozen=True)
class Entry:
    """One attribution that should be there.

    Attributes:
        folder: where it lies.
        row: of the summary; empty without one.
        stem: the name of its file without the ending.
    """

    folder: Path
    row: Mapping[str, Any]
    stem: str

    @property
    def sample(self) -> str:
        """Name what was explained, as the summary calls it."""
        return str(self.row.get("photo") or self.row.get("scene") or self.stem)

    @property
    def path(self) -> Path:
        """File of the attribution.

        Raises:
            DataError: if its name leads out of the folder.
        """
        return self.folder / f"{safe_name(self.stem)}.safetensors"

    def load(self) -> StoredMap:
        """Read it.

        Raises:
            DataError: if it is missing or damaged.
        """
        return StoredMap.load(self.path)


@dataclass
class Results:
    """Contents of a folder.

    Attributes:
        settings: of the summary; empty without one.
        groups: the attributions of each photo.
        texts: rows of explained texts.
        problems: what is missing or damaged, and why.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    groups: list[list[Entry]] = field(default_factory=list)
    texts: list[Mapping[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_results(place: Path) -> Results:
    """Read the summary of a folder, or of the folder that an attribution lies in.

    Args:
        place: a folder, a file NAME.safetensors of which alone is reported, or what `bitlens text explain --json` printed.

    Raises:
        DataError: if there is no such place, or it holds no attributions.
    """
    if not place.exists():
        raise DataError(
            f"there is no {place}: expected a folder that explain or evaluate wrote, or a .safetensors file"
        )
    if place.is_file() and place.suffix == ".json":
        return Results(texts=_read_texts(place))
    if place.is_file() and place.suffix != ".safetensors":
        raise DataError(f"{place} is no attribution: expected a .safetensors file that explain wrote, or its folder")
    folder = place if place.is_dir() else place.parent
    results = Results()
    summary: Mapping[str, Any] = {}
    if (folder / SUMMARY).is_file():
        try:
            summary = read_summary(folder)
        except DataError as error:
            results.problems.append(str(error))
    results.settings = summary.get("settings", {})
    if place.is_file():
        rows = [row for row in summary.get("photos", ()) if row.get("files") == place.stem]
        results.groups = [[Entry(folder, rows[0] if rows else {}, place.stem)]]
    elif summary:
        results.groups = list(_grouped(folder, summary["photos"]))
        results.texts = list(summary["texts"])
        results.problems += [f"left out by explain: {reason}" for kind in ("skipped", "refused") for reason in
                             _reasons(summary.get(kind))]  # fmt: skip
    else:
        files = sorted(file for file in folder.glob("*.safetensors") if not file.name.endswith(VALUES))
        results.groups = [[Entry(folder, {}, file.stem)] for file in files]
    if not results.groups and not results.texts:
        raise DataError(f"{folder} holds no attributions: `bitlens explain … --out {folder}` makes them")
    return results


def _read_texts(place: Path) -> list[Mapping[str, Any]]:
    rows = read_json(place, "explained texts", "give what `bitlens text explain … --json` prints")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) and "words" in row for row in rows):
        raise DataError(f"{place} holds no explained texts: expected what `bitlens text explain … --json` prints")
    return rows


def _grouped(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Entry]]:
    groups: dict[str, list[Entry]] = {}
    for row in rows:
        entry = Entry(folder, row, str(row.get("files", "")))
        groups.setdefault(entry.sample, []).append(entry)
    yield from groups.values()


def _reasons(listed: Any) -> list[str]:
    return [str(reason) for reason in listed.values()] if isinstance(listed, dict) else []
