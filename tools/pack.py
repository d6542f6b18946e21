"""Pack the rows of a folder into one small file: what tables and figures of docs/results are made of.

    python tools/pack.py FOLDER benchmarks/results/NAME [--curves METRIC ...]

Names of files, places on this machine, times and curves are left out, but for the curves of metrics that a figure shows, rounded
to four digits.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bitlens.evaluation.rows import SCHEMA
from bitlens.system.files import write_text

KEPT = ("index", "target", "predicted", "probability", "method", "metric", "value", "scale", "error")
CURVES = ("x", "upper", "lower")
_PLACES = re.compile(r'(?<=[":])/[^"]*/')  # folder:/home/me/photos is folder:photos, wherever that lies


def pack(folder: Path, into: Path, curves: Sequence[str] = ()) -> None:
    """Write the rows of a folder into one file of another, sample by sample, with the settings that they were made with."""
    parts = [pq.read_table(path) for path in sorted((folder / "rows").glob("*.parquet"))]
    rows = pa.concat_tables(parts, promote_options="default")  # a folder may go on from rows that were packed
    rows = rows.sort_by("index")  # keeps the order of the methods of a sample
    drawn = [metric.partition("[")[0] in curves for metric in rows["metric"].to_pylist()]
    columns = {name: rows[name] for name in KEPT}
    if any(drawn):
        columns |= {name: _curves(rows[name].to_pylist(), drawn) for name in CURVES}
    (into / "rows").mkdir(parents=True, exist_ok=True)
    schema = pa.schema([SCHEMA.field(name) for name in columns])
    pq.write_table(pa.table(columns, schema=schema), into / "rows" / "rows.parquet", compression="zstd")
    if (folder / "settings.json").is_file():
        settings = (folder / "settings.json").read_text("utf-8")
        write_text(into / "settings.json", _PLACES.sub("", settings))


def _curves(values: Sequence[Any], drawn: Sequence[bool]) -> list[Any]:
    return [np.round(one, 4).tolist() if wanted else [] for one, wanted in zip(values, drawn, strict=True)]


def main() -> None:
    """Read the command and pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("into", type=Path)
    parser.add_argument("--curves", nargs="*", default=[], help="metrics, without their settings")
    chosen = parser.parse_args()
    pack(chosen.folder, chosen.into, chosen.curves)


if __name__ == "__main__":
    main()
