"""`--signed`: bits for and against, in the terminal, in files and on pages."""

import json

import pytest

from bitlens.core.attribution import Attribution
from bitlens.data.datasets import open_dataset

MIXED = "A dull plot, but the acting is wonderful and moving."


@pytest.fixture
def photos(tmp_path):
    """A folder with one scene."""
    folder = tmp_path / "photos"
    folder.mkdir()
    open_dataset("builtin:scenes")[0].image.save(folder / "scene.png")
    return folder


def test_words_for_and_against_in_the_terminal_and_on_a_page(bitlens, tmp_path):
    done = bitlens("text", "explain", MIXED, "--target", "negative", "--signed", "--html", "page.html")
    assert "orange for the answer, blue against it" in done.stdout
    assert "bits for the answer" in done.stdout
    (strongest,) = (line for line in done.stdout.splitlines() if line.startswith("most: "))
    assert "dull" in strongest
    assert "wonderful -" in strongest
    page = (tmp_path / "page.html").read_text("utf-8")
    assert 'class="word against"' in page
    assert "against it" in page


@pytest.mark.slow
def test_rows_of_texts_become_passages_of_a_report(bitlens, tmp_path):
    rows = bitlens("text", "explain", MIXED, "--target", "negative", "--signed", "--json").stdout
    (tmp_path / "rows.json").write_text(rows, "utf-8")
    (row,) = json.loads(rows)
    values = {word["word"]: word["value"] for word in row["words"]}
    assert values["dull"] > 0 > values["wonderful"]
    assert row["signed"] is True
    bitlens("report", "rows.json", "--out", "report.html")
    report = (tmp_path / "report.html").read_text("utf-8")
    assert f"{row['total_against']:.3g} against it" in report
    assert "Bits against are those that the opposite" in report


@pytest.mark.slow
def test_photos_have_both_colours_and_both_totals(bitlens, photos, tmp_path):
    options = ("--model", "builtin/scenes", "--beta", 1, "--quality", "fast", "--device", "cpu", "--json", "--report")
    (row,) = json.loads(bitlens("explain", photos, *options, "--signed", "--out", "out").stdout)
    found = Attribution.load(tmp_path / "out" / f"{row['files']}.safetensors")
    assert found.signed
    assert found.unit == "bits/pixel"
    assert row["total_against"] == float(found.total_against[0]) > 0
    assert float(found.map.min()) < 0 < float(found.map.max())
    report = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert f"{row['total_bits']:,.0f} bits for it, {row['total_against']:,.0f} against" in report


def test_what_has_no_sign_refuses_it(bitlens):
    done = bitlens("text", "explain", MIXED, "--method", "lime", "--signed", code=1)
    assert "--signed is not for lime" in done.stderr


def test_what_opening_adds_is_read_beside_maps_that_hold(bitlens):
    done = bitlens("text", "explain", MIXED, "--methods", "token-iba:signed=opening,token-iba", "--keep", 0.9)
    assert "bits for the answer" in done.stdout
    assert done.stdout.count("of the decision is held") == 1
