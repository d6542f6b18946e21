"""Freezes what bitlens does now: `python tests/golden/freeze.py [maps] [tables] [files] [--only BEGINNING]`.

Run it when a result is meant to change, and for no other reason: a test of `test_golden.py` that fails after code was only
moved or tidied has found a mistake, which freezing anew would hide. Freeze only the cases that are meant to change
(`--only scenes/iba` takes those whose names begin so), look at what git says has changed, and say why in the commit.

`files` writes the folder 0.1 of files that version 0.1 left on people's disks. Later versions must go on reading them, so
it is never written again; the folder must not exist.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from cases import CASES, FILES, MAPS, TABLES, TABLES_FILE, WORDS, Case, one_thread, plain, write_files
from safetensors.numpy import load_file, save

import bitlens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["maps", "tables"], help="maps, tables or files")
    parser.add_argument("--only", default="", help="the beginning of the names of cases")
    options = parser.parse_args()
    print(f"bitlens {bitlens.__version__} of {bitlens.__file__}")
    if "files" in options.parts and FILES.exists():
        parser.error(f"{FILES} is there already, and is never written again")
    with one_thread():
        if "files" in options.parts:
            write_files()
        if "maps" in options.parts:
            freeze_maps(options.only)
        if "tables" in options.parts:
            freeze_tables(options.only)


def freeze_maps(only: str) -> None:
    words: dict[str, Any] = json.loads(WORDS.read_text("utf-8")) if WORDS.is_file() else {}
    arrays = load_file(MAPS) if MAPS.is_file() else {}
    for name, case in _chosen(CASES, only):
        found = case.make()
        words[name] = plain(dict(found.words))
        arrays = {key: value for key, value in arrays.items() if key.partition(":")[0] != name}
        arrays |= {f"{name}:{part}": value.astype("float32") for part, value in found.numbers.items()}
    known = {key: value for key, value in sorted(arrays.items()) if key.partition(":")[0] in CASES}
    MAPS.write_bytes(save(known))
    _write(WORDS, {name: words[name] for name in CASES if name in words})


def freeze_tables(only: str) -> None:
    tables: dict[str, Any] = json.loads(TABLES_FILE.read_text("utf-8")) if TABLES_FILE.is_file() else {}
    tables |= {name: plain(case.make()) for name, case in _chosen(TABLES, only)}
    _write(TABLES_FILE, {name: tables[name] for name in TABLES if name in tables})


def _chosen(cases: dict[str, Case], only: str) -> Any:
    for name, case in cases.items():
        if name.startswith(only):
            started = time.perf_counter()
            yield name, case
            print(f"{time.perf_counter() - started:6.2f} s  {name}")


def _write(place: Path, content: Any) -> None:
    place.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
