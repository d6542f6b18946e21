"""The summary of a folder: which photo was explained by which method, in which files, and how."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bitlens.errors import DataError
from bitlens.system.checks import listed, mapping
from bitlens.system.files import write_text
from bitlens.system.reading import read_json, whole

SUMMARY = "summary.json"
PICTURE, VALUES = ".seen.jpg", ".seen.safetensors"
"""How files end that hold what the network saw: a photo, or the numbers of a signal, a volume or a row."""


def write_summary(
    rows: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    path: Path,
    skipped: Mapping[str, str] | None = None,
    refused: Mapping[str, str] | None = None,
) -> None:
    """Write what was found and how, as JSON; with photos and methods that were left out, and why."""
    content = {"settings": settings, "photos": rows, "skipped": skipped or {}, "refused": refused or {}}
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_summary(folder: Path) -> dict[str, Any]:
    """Read the summary of a folder.

    Raises:
        DataError: if it is damaged.
    """
    place = folder / SUMMARY
    what, remedy = "a whole summary", "names and settings are missing; run explain again"
    held = read_json(place, what, remedy)
    with whole(place, what, remedy):
        found = {"settings": {}, "photos": [], "texts": [], **mapping(held, "the summary")}
        mapping(found["settings"], "settings")
        for row in (*listed(found["photos"], "photos"), *listed(found["texts"], "texts")):
            mapping(row, "a row")
    return found


def safe_name(name: Any) -> str:
    """Return a name if it stays within its folder: a summary from elsewhere must not put other files into a report.

    Raises:
        DataError: if it is none.
    """
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise DataError(f"{name!r} is no name of a file in the folder: it is left out")
    return name
