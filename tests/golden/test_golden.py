"""What bitlens gave when it was frozen, it gives now: maps, tables, and what it says of files that 0.1 wrote.

How close numbers must be was found by computing everything with one and two threads and with the instructions of older and
newer processors (`ATEN_CPU_CAPABILITY`, `ONEDNN_MAX_CPU_ISA`): the bounds are a few times what that changes. A change of one
part in a hundred of anything breaks them.
"""

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import (
    CASES,
    FILES,
    MAPS,
    METHODS,
    RESUMED,
    TABLES,
    TABLES_FILE,
    TEXT_METHODS,
    WORDS,
    Case,
    command,
    inside,
    one_thread,
    plain,
)
from safetensors import safe_open
from safetensors.numpy import load_file

FROZEN_WORDS: dict[str, Any] = json.loads(WORDS.read_text("utf-8"))
FROZEN_ARRAYS = load_file(MAPS)
FROZEN_TABLES: dict[str, Any] = json.loads(TABLES_FILE.read_text("utf-8"))

EXACT, FITTED = 1e-4, 5e-3
ADVERSARIES = 0.1  # two networks that train against each other end elsewhere on another processor
SORTED = 0.3  # so does a mask whose first steps sort values that are equal but for rounding
"""Shares of the largest value that numbers may differ by: those of one or few passes, and those of many steps of an optimiser."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def _every(cases: dict[str, Case]) -> list[Any]:
    return [pytest.param(n, id=n, marks=[pytest.mark.slow] if case.slow else []) for n, case in cases.items()]


def _made(case: Case) -> Any:
    if case.needs:
        pytest.importorskip(case.needs)
    return case.make()


@pytest.mark.parametrize("name", _every(CASES))
def test_maps(name: str) -> None:
    case, frozen = (
        CASES[name],
        {key.partition(":")[2]: v for key, v in FROZEN_ARRAYS.items() if key.startswith(f"{name}:")},
    )
    found = _made(case)
    words, old = plain(dict(found.words)), FROZEN_WORDS[name]
    new = words.get("settings", {}).keys() - old.get("settings", {}).keys()
    assert all(words["settings"].pop(setting) is None for setting in new)  # what is new since, is off
    assert words == old
    assert found.numbers.keys() == frozen.keys()
    for part, values in found.numbers.items():
        assert values.shape == frozen[part].shape, part
        loose = ADVERSARIES if "gan" in name else SORTED if name.endswith("extremal-perturbation") else 0.0
        _compare(part, np.asarray(values, np.float64), frozen[part].astype(np.float64), case, loose)


def _compare(part: str, found: np.ndarray, frozen: np.ndarray, case: Case, loose: float) -> None:
    """Each sample's values; those of optimised maps by their correlation, their size is in the sums."""
    scales = np.array([_scale(part, old) for old in frozen])
    # the answers behind a sample's map are rounded as those behind every other, however small the map
    scales = np.maximum(scales, scales.max(0, initial=0.0) / 10)
    for new, old, scale in zip(found, frozen, scales, strict=True):
        if case.fitted and np.ndim(old) > 0 and part in ("map", "cells", "capacity_by_first"):
            likeness = np.corrcoef(new.ravel(), old.ravel())[0, 1]
            assert likeness >= 0.9999 - loose, f"{part}: the correlation is {likeness}"
            continue
        share = FITTED + loose if case.fitted and part != "evidence_before" else EXACT
        far = np.abs(new - old) / scale
        assert far.max() <= share, f"{part}: {new} was {old}"


def _scale(part: str, old: np.ndarray) -> np.ndarray:
    """What a difference is measured by."""
    if part.endswith("sums"):  # sum, sum of sizes, least, greatest, weighted sum
        most = np.abs(old[2:4]).max()
        return np.array([old[1], old[1], most, most, old[1]])
    return np.maximum(np.abs(old).max(), 1.0 if part.startswith("evidence") else 1e-30)


@pytest.mark.parametrize("name", _every(TABLES))
def test_tables(name: str) -> None:
    case = TABLES[name]
    _alike(plain(_made(case)), FROZEN_TABLES[name], FITTED if case.fitted else EXACT, name)


def _alike(new: Any, old: Any, share: float, place: str) -> None:
    """The same words, and numbers that differ by rounding."""
    if isinstance(old, dict):
        assert isinstance(new, dict), place
        added = new.keys() - old.keys()  # what is new since
        added &= new.keys() if place.startswith("settings of methods") else {"kept", "probability_floor"}
        assert new.keys() - added == old.keys(), place
        for name, value in old.items():
            _alike(new[name], value, share, f"{place} › {name}")
    elif isinstance(old, list):
        assert isinstance(new, list), place
        assert len(new) == len(old), place
        for number, value in enumerate(old):
            _alike(new[number], value, share, f"{place} › {number}")
    elif isinstance(old, str) and "\n" in old:  # a table as csv: its numbers differ by rounding, too
        _alike(_cells(new), _cells(old), share, place)
    elif isinstance(old, float):
        assert new == pytest.approx(old, rel=share, abs=share, nan_ok=True), place
    else:
        assert new == old, place


def _cells(text: str) -> list[Any]:
    cells: list[Any] = []
    for cell in (cell for row in csv.reader(io.StringIO(text)) for cell in row):
        try:
            cells.append(float(cell))
        except ValueError:
            cells.append(cell)
    return cells


def test_nothing_is_frozen_that_is_not_computed() -> None:
    assert list(FROZEN_WORDS) == list(CASES)
    assert {key.partition(":")[0] for key in FROZEN_ARRAYS} <= set(CASES)
    assert list(FROZEN_TABLES) == list(TABLES)
    assert [row["name"] for row in FROZEN_TABLES["methods"]] == list(METHODS)
    assert [row["name"] for row in FROZEN_TABLES["text methods"]] == list(TEXT_METHODS)


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_of_0_1_goes_on_and_has_nothing_to_do(name: str, tmp_path: Path) -> None:
    if name == "readout train":
        pytest.importorskip("accelerate")
    words, said, untouched = RESUMED[name]
    copy = Path(shutil.copytree(FILES, tmp_path / "files"))
    before = _times(copy, untouched)
    with inside(copy):
        told = command(*words)
    assert said in told.stdout + told.stderr
    assert _times(copy, untouched) == before
    for place in (place.relative_to(FILES) for place in FILES.rglob("*.safetensors")):
        _same(copy / place, FILES / place)


def _times(folder: Path, patterns: tuple[str, ...]) -> dict[Path, int]:
    """When files were written, at least one of each kind."""
    found = [sorted(folder.glob(pattern)) for pattern in patterns]
    assert all(found)
    return {place: place.stat().st_mtime_ns for places in found for place in places}


def _same(new: Path, old: Path) -> None:
    """The same arrays and words; their order in a file is left to chance."""
    with safe_open(new, "np") as one, safe_open(old, "np") as other:
        words = {
            name: text for name, text in (one.metadata() or {}).items() if name != "sha256"
        }  # what 0.1 did not write
        assert words == (other.metadata() or {}), old
        assert one.keys() == other.keys(), old
        assert all(np.array_equal(one.get_tensor(name), other.get_tensor(name)) for name in one.keys()), old  # noqa: SIM118
