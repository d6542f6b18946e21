"""What the rows of a folder were made with: kept beside them, and compared before more are added."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bitlens.errors import DataError, SettingError
from bitlens.system.checks import MOST, mapping, text, whole_number
from bitlens.system.files import write_text
from bitlens.system.reading import read_json, whole
from bitlens.version import __version__

_FILE = "settings.json"
_FORMAT = "bitlens.evaluation/1"
_GROWING = ("methods", "metrics")


def read_settings(folder: Path) -> dict[str, Any]:
    """Return what the rows of a folder were made with.

    Raises:
        DataError: if there are no results, or they are of another version's format.
    """
    place = folder / _FILE
    if not place.is_file():
        raise DataError(f"{folder} holds no results: `bitlens evaluate … --out {folder}` makes them")
    found = read_json(place, "the settings of results", "use another --out")
    with whole(place, "the settings of results", "use another --out"):
        if text(mapping(found, "settings")["format"], "format") != _FORMAT:
            raise DataError(f"{place} has the format {found['format']!r}, this version reads {_FORMAT!r}")
        for name in ("model", "data"):
            text(found[name], name)
        text(found.get("version", ""), "version")
        whole_number(found["seed"], "seed", least=-MOST)
        whole_number(found.get("samples", 1), "samples", least=1)
        if "statistics" in found:
            text(mapping(found["statistics"], "statistics")["from"], "from")
            whole_number(found["statistics"]["count"], "count")
        for group in _GROWING:
            for label, settings in mapping(found[group], group).items():
                mapping(settings, label)
    return mapping(found, "settings")


def result_folders(folder: Path) -> list[Path]:
    """Return the folder itself, or its subfolders that hold results, one for each network of a paper."""
    if (folder / _FILE).is_file() or not folder.is_dir():
        return [folder]
    return sorted(place for place in folder.iterdir() if (place / _FILE).is_file()) or [folder]


def pin_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Keep what rows are going to be made with; methods and metrics may join those that are there.

    Raises:
        SettingError: if the folder's rows were made with other settings; the message says which.
        DataError: if the folder cannot be read or written.
    """
    wanted = json.loads(json.dumps({**settings, "format": _FORMAT}))
    if (folder / _FILE).is_file():
        known = {
            "asked": "label",
            **read_settings(folder),
        }  # of photos, 0.1 asked about nothing else and did not say so
        differing = list(_differences(known, wanted))
        if differing:
            raise SettingError(
                f"{folder} holds results made with other settings ({'; '.join(differing)}): repeat those, or use another --out"
            )
        wanted |= {group: {**known[group], **wanted[group]} for group in _GROWING}
        wanted["version"] = known["version"]
        if wanted == known:
            return
    else:
        wanted["version"] = __version__
    write_text(folder / _FILE, json.dumps(wanted, indent=2, ensure_ascii=False) + "\n")


def _differences(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    for name, value in wanted.items():
        if name in _GROWING:
            for label in value.keys() & known[name].keys():
                yield from (f"{label}: {text}" for text in _differences(known[name][label], value[label]))
        elif known.get(name) != value:
            yield f"{name} was {_text(known.get(name))}, now {_text(value)}"


def _text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
