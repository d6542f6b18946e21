"""`bitlens grid`: pictures by layer and β, and by smoothing, for a user's network and for the bundled one."""

import json

import pytest
from PIL import Image

from small_evaluation import make_home

COMMON = ["--model", "net.py:build", "--statistics-from", "photos", "--quality", "fast"]


@pytest.fixture
def home(tmp_path):
    return make_home(tmp_path)


@pytest.mark.usefixtures("home")
def test_layers_and_betas(bitlens, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    done = bitlens(
        "grid",
        "photos/0.png",
        "photos/1.png",
        "broken.png",
        *COMMON,
        "--layers",
        "0,1",
        "--betas",
        "1,10",
        "--out",
        "g",
    )
    assert "left out: " in done.stderr
    assert "under noise" in done.stdout
    assert Image.open(tmp_path / "g" / "0.png").width > 1000
    assert (tmp_path / "g" / "1.png").is_file()
    written = json.loads((tmp_path / "g" / "grid.json").read_text())
    assert [(row["layer"], row["beta"]) for row in written["maps"]] == [("0", 1), ("0", 10), ("1", 1), ("1", 10)] * 2
    assert all(row["total_bits"] > 0 and 0 <= row["probability_under_noise"] <= 1 for row in written["maps"])
    assert written["settings"]["command"][0] == "grid"


@pytest.mark.usefixtures("home")
def test_default_layers_and_target(bitlens, tmp_path):
    done = bitlens("grid", "photos/0.png", *COMMON, "--target", "2", "--out", "g", "--json")
    rows = json.loads(done.stdout)
    assert {row["name"] for row in rows} == {"class 2"}
    assert {row["keep"] for row in rows} == {0.5, 0.9, 0.99}
    held = [row for row in rows if row["kept"] is not None and row["keep"] < 0.99]
    assert all(row["kept"] > row["keep"] - 0.1 for row in held)
    assert "--layers chooses others" in done.stderr
    assert len(rows) == 3 * len({row["layer"] for row in rows})
    assert (tmp_path / "g" / "0.png").is_file()


@pytest.mark.usefixtures("home")
def test_smoothings(bitlens, tmp_path):
    rows = json.loads(
        bitlens(
            "grid", *(f"photos/{i}.png" for i in range(7)), *COMMON, "--layers", "0", "--smoothings", "0,1", "--out", "s",
            "--format", "svg", "--json",
        ).stdout
    )  # fmt: skip
    assert [(row["smoothing"], row["keep"]) for row in rows] == [(0, 0.9), (1, 0.9)] * 7
    assert all(0 <= row["roughness"] <= 1 for row in rows if row["kept"] is not None)
    assert all(row["roughness"] is None for row in rows if row["kept"] is None)
    pages = [(tmp_path / "s" / name).read_text() for name in ("smoothing.svg", "smoothing-2.svg")]
    assert "no smoothing" in pages[0]
    assert "bits/pixel" in pages[1]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["--betas", "1,0"], "--betas is '1,0': expected numbers above 0, separated by commas"),
        (["--betas", "ten"], "--betas is 'ten'"),
        (["--betas", "1", "--keep", "0.9"], "give one of them"),
        (["--keep", "0.9,1"], "expected shares above 0 and below 1"),
        (["--smoothings", "-1"], "--smoothings is '-1': expected numbers of 0 or more"),
        (["--layers", "layer9"], "layer9"),
        (["--layers", "0,"], "--layers is '0,'"),
        (["--layers", "0,1", "--smoothings", "0,1"], "give one of each"),
    ],
)
def test_mistakes_are_named(bitlens, given, reason):
    assert reason in bitlens("grid", "photos/0.png", *COMMON, *given, code=1).stderr


@pytest.mark.usefixtures("home")
def test_own_places_serve_where_there_are_no_other_photos(bitlens, tmp_path):
    words = ("--model", "net.py:build", "--layers", "0", "--keep", "0.8", "--out", "g", "--json")
    (row,) = json.loads(bitlens("grid", "photos/0.png", *words).stdout)
    assert (row["layer"], row["keep"]) == ("0", 0.8)
    (again,) = json.loads(bitlens("grid", "photos/0.png", *words, "--smoothings", "0").stdout)
    assert again["smoothing"] == 0
    assert not (tmp_path / "cache" / "statistics").exists()
