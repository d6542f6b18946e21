"""Networks and inputs compared where they hold the same share of the decision, from curves made by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import small_results
from bitlens.errors import DataError, SettingError
from bitlens.reports.compared import compare, needed
from small_results import RISING, SHARES, with_curve

HALF = tuple(bits / 2 for bits in RISING)
SHORT = (0.5, 0.6, 0.7, 0.8, 0.8, 0.8, 0.8, 0.8)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two networks on two photos; the second network needs half of the bits, and does not reach 0.9 on the second photo."""
    one, other = (small_results.write_results(tmp_path / name, 2) for name in ("first", "second"))
    for folder, curves in (
        (one, (with_curve(RISING), with_curve(HALF))),
        (other, (with_curve(HALF), with_curve(HALF, SHORT))),
    ):
        for number, made in enumerate(curves):
            made.save(folder / f"photo-{number}.iba.safetensors")
    return one, other


def test_rows_are_inputs_and_columns_networks(folders: tuple[Path, Path]) -> None:
    found = compare(folders)
    assert found.columns == ("first", "second")
    assert list(found.rows) == ["photo-0.jpg", "photo-1.jpg"]
    bits = [[one.bits if one is not None else None for one in row] for row in found.rows.values()]
    assert bits == [[pytest.approx(400.0), pytest.approx(200.0)], [pytest.approx(200.0), None]]
    last = found.rows["photo-1.jpg"][1]
    assert last is not None
    assert last.reason == "holds 0.80 at most"
    assert found.shared == [[pytest.approx(400.0)], [pytest.approx(200.0)]]
    assert found.ratios() == [pytest.approx(1.0), pytest.approx(0.5)]


def test_between_two_points_the_logarithm_of_bits_decides(folders: tuple[Path, Path]) -> None:
    row = compare(folders[:1], 0.75).rows["photo-0.jpg"][0]
    assert row is not None
    assert row.bits == pytest.approx((170.0 * 250.0) ** 0.5)  # half-way between 0.7 and 0.8


def test_what_needs_nothing_and_what_has_no_curve_are_told() -> None:
    found = with_curve(RISING, SHARES)
    assert found.evidence is not None
    idle = replace(found, evidence=replace(found.evidence, floor=found.evidence.before))
    assert [one.reason for one in needed(idle, 0.9)] == ["nothing needed"]
    assert [one.reason for one in needed(small_results.in_bits(0), 0.9)] == ["no curve: explain with --curve"]
    assert [one.reason for one in needed(found, 0.3)] == ["holds 0.50 at least"]


def test_places_without_curves_say_what_to_do(tmp_path: Path) -> None:
    folder = small_results.write_results(tmp_path / "r", 1)
    with pytest.raises(DataError, match="--curve"):
        compare([folder])
    with pytest.raises(SettingError, match="above 0 and below 1"):
        needed(with_curve(RISING), 1.5)


def test_the_command_prints_a_table(bitlens, folders: tuple[Path, Path]) -> None:
    said = bitlens("compare", *folders).stdout
    assert "bits that hold 0.9 of the decision" in said
    assert [line.split()[-2:] for line in said.splitlines() if line.startswith("photo-0")] == [["400", "200"]]
    assert "holds 0.80 at most" in said
    assert [line.split()[-2:] for line in said.splitlines() if line.startswith("ratio")] == [["1.00", "0.50"]]
    rows = json.loads(bitlens("compare", *folders, "--kept", "0.8", "--json").stdout)
    assert [row["bits"] for row in rows] == [pytest.approx(bits) for bits in (250, 125, 125, 125)]
    assert "expected a share" in bitlens("compare", *folders, "--kept", "2", code=1).stderr
    same = json.loads(bitlens("compare", folders[0], folders[0], "--json").stdout)
    assert len({row["column"] for row in same}) == 2
