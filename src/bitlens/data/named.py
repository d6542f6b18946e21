"""Data sets by name: what forms there are, and whether one can be there at all, told before anything of it is read."""

from collections.abc import Mapping
from pathlib import Path

from bitlens.data.kinds import Kind
from bitlens.errors import DataError

FORMS = {
    "folder:DIR": "every photo in the folder and its subfolders; where photos lie in subfolders only, each is a class",
    "csv:FILE": "a table with the columns file, label and optionally boxes; files relative to the table",
    "table:FILE": "numbers of which each row is an input, .csv or .parquet; table:FILE?label=NAME says which column is its class",
    "imagenet:DIR": "the ImageNet validation set in the official layout, with its boxes",
    "builtin:scenes": "generated scenes with known objects; nothing to download",
    "builtin:scenes-train": "such scenes as the bundled network was trained on",
    "builtin:signals": "generated signals with a known waveform",
    "builtin:signals-train": "such signals as the bundled network for them was trained on",
    "builtin:volumes": "generated volumes with a known body",
    "builtin:volumes-train": "such volumes",
    "builtin:table": "generated rows of a table, of which two known features decide",
    "builtin:table-train": "such rows",
}
TEXT_FORMS = {
    "jsonl:FILE": "one JSON object a line with text, and optionally label, pair and id; FILE.gz too",
    "tsv:FILE": "text, label and optionally a second text, separated by tabs, or columns of such names; FILE.gz too",
    "csv:FILE": "the same, separated by commas; csv:FILE?text=NAME&label=NAME chooses columns by name",
    "builtin:reviews": "short reviews of films, half of them positive; nothing to download",
}


def training_data(spec: str) -> str:
    """Return what methods learn from to explain a generated data set: its other split; any other data set as it is."""
    return f"{spec}-train" if spec.startswith("builtin:") and f"{spec}-train" in FORMS else spec


def check_data(spec: str, kind: Kind = "image") -> None:
    """Refuse a data set whose name is of no known form, or whose file or folder is not there.

    Raises:
        DataError: if that is so; says what to write.
    """
    forms = FORMS if kind == "image" else TEXT_FORMS
    if spec in forms or (kind == "image" and spec and Path(spec).expanduser().is_dir()):
        return
    name, _, place = spec.partition(":")
    takes = {form.partition(":")[0]: form.partition(":")[2] for form in forms}.get(name, "")
    if takes not in ("DIR", "FILE") or not place:
        raise unknown_data(spec, forms)
    path = Path(place).expanduser()
    if takes == "DIR" and not path.is_dir():
        raise DataError(f"there is no folder {path}: {name}:DIR takes one with photos")
    if takes == "FILE" and not any(Path(one).expanduser().is_file() for one in (place, place.partition("?")[0])):
        what = "is a folder" if path.is_dir() else "is not there"
        raise DataError(f"the file {path} {what}: {name}:FILE takes a table")


def unknown_data(spec: str, forms: Mapping[str, str]) -> DataError:
    """Say of a name of no known form what it may have been meant for."""
    ending = Path(spec.removesuffix(".gz")).suffix.removeprefix(".").lower()
    hint = f"; did you mean {ending}:{spec}?" if f"{ending}:FILE" in forms and ":" not in spec else ""
    what = "data set" if forms is FORMS else "texts"
    more = ", or a folder that exists" if forms is FORMS else ""
    return DataError(f"unknown {what} {spec!r}: expected {', '.join(forms)}{more}{hint}")
