"""Pack the rows of a folder into one small file: what tables and figures of docs/results are made of.

    python tools/pack.py FOLDER benchmarks/results/NAME [--curves METRIC ...] [--add]

Names of files, places on this machine, times and curves are left out, but for the curves of metrics that a figure shows, rounded
to four digits. With --add the rows that are packed there stay and others join them, made with the same settings: on another
machine, where statistics differ by rounding, such rows cannot go on in one folder.
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bitlens.errors import DataError
from bitlens.evaluation.pinned import read_settings
from bitlens.evaluation.rows import SCHEMA
from bitlens.system.files import write_text

KEPT = ("index", "target", "predicted", "probability", "method", "metric", "value", "scale", "error")
_GROWING = ("methods", "metrics")
_ROUNDED = ("statistics_fingerprint", "patterns_fingerprint")
CURVES = ("x", "upper", "lower")
_PLACES = re.compile(r'(?<=[":])/[^"]*/')  # folder:/home/me/photos is folder:photos, wherever that lies


def pack(folder: Path, into: Path, curves: Sequence[str] = (), *, add: bool = False) -> None:
    """Write the rows of a folder into one file of another, sample by sample, with the settings that they were made with.

    Args:
        folder: of the rows.
        into: of the file.
        curves: metrics, without their settings, whose curves are kept.
        add: keep the rows of the file.

    Raises:
        DataError: if rows are added that are there, or that were made with other settings.
    """
    places = [*sorted((folder / "rows").glob("*.parquet")), *([into / "rows" / "rows.parquet"] if add else [])]
    rows = pa.concat_tables([pq.read_table(path) for path in places], promote_options="default")
    if add:
        _refuse_twice(rows)
    rows = rows.sort_by("index")  # keeps the order of the methods of a sample
    drawn = [metric.partition("[")[0] in curves for metric in rows["metric"].to_pylist()]
    columns = {name: rows[name] for name in KEPT}
    if any(drawn):
        columns |= {name: _curves(rows[name].to_pylist(), drawn) for name in CURVES}
    if (folder / "settings.json").is_file():
        settings = json.loads(_PLACES.sub("", (folder / "settings.json").read_text("utf-8")))
        settings = _together(read_settings(into), settings) if add else settings
        write_text(into / "settings.json", json.dumps(settings, indent=2))
    (into / "rows").mkdir(parents=True, exist_ok=True)
    schema = pa.schema([SCHEMA.field(name) for name in columns])
    pq.write_table(pa.table(columns, schema=schema), into / "rows" / "rows.parquet", compression="zstd")


def _refuse_twice(rows: pa.Table) -> None:
    often = rows.group_by(["index", "method", "metric"]).aggregate([([], "count_all")])
    twice = often.filter(pc.greater(often["count_all"], 1)).to_pylist()
    if twice:
        raise DataError(f"{len(twice)} rows are there already, the first of {twice[0]['method']}: pack without --add")


def _together(known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The settings of both, where they agree but for what rounding changes."""
    told = {group: {**known[group], **new[group]} for group in _GROWING}
    for name, value in new.items():
        both = (
            known.get(name)
            if name not in _GROWING
            else {label: known[name].get(label, one) for label, one in value.items()}
        )
        if name != "version" and _stripped(both) != _stripped(value):
            raise DataError(f"the rows that are packed were made with other settings ({name}): pack without --add")
    return {**known, **told}


def _stripped(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _stripped(one) for name, one in value.items() if name not in _ROUNDED}


def _curves(values: Sequence[Any], drawn: Sequence[bool]) -> list[Any]:
    return [np.round(one or [], 4).tolist() if wanted else [] for one, wanted in zip(values, drawn, strict=True)]


def main() -> None:
    """Read the command and pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("into", type=Path)
    parser.add_argument("--curves", nargs="*", default=[], help="metrics, without their settings")
    parser.add_argument("--add", action="store_true", help="keep the rows that are packed there")
    chosen = parser.parse_args()
    pack(chosen.folder, chosen.into, chosen.curves, add=chosen.add)


if __name__ == "__main__":
    main()
