"""`bitlens explain` and `demo` for signals and tables: as a person types it, down to the pictures."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bitlens.cli import app
from bitlens.core.attribution import Attribution
from bitlens.data.datasets import open_dataset
from bitlens.data.numbers import Numbers
from bitlens.data.planted_table import DECISIVE, FEATURES
from bitlens.explaining.shown import read_shown

RUN = CliRunner()
OWN = """
from pathlib import Path
import torch
from torch import nn

class Net(nn.Module):
    bitlens_input = {form!r}
    classes = ("low", "high")
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(2, 4, 5, padding=2)
        self.fc = nn.Linear(4, 2)
    def forward(self, x):
        return self.fc(self.conv(x).relu().amax(2))

def build():
    return Net().eval()

def prepare(path: Path):
    return torch.tensor([[float(word) for word in line.split()] for line in path.read_text().splitlines()])

def paths():
    net = Net().eval()
    del Net.bitlens_input
    return net, prepare
"""


def done(*words: str, code: int = 0) -> str:
    result = RUN.invoke(app, list(words))
    assert result.exit_code == code, result.output
    return result.output if code == 0 else str(result.exception)


@pytest.fixture
def pump(tmp_path: Path) -> Path:
    """A table of three rows, with a column more and the others in another order than the network's."""
    rows = [open_dataset("builtin:table")[number].read() for number in range(3)]
    with (tmp_path / "pump.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["number", *reversed(FEATURES)])
        for number, row in enumerate(rows):
            assert isinstance(row, Numbers)
            writer.writerow([number, *map(float, row.values[::-1])])
    return tmp_path / "pump.csv"


def test_rows_of_a_table_are_explained_one_by_one(pump: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("explain", str(pump), "--model", "builtin/table", "--methods", "iba:beta=1,gradient", "--out", str(out))
    rows = json.loads(done(*words, "--json").splitlines()[-1])
    assert [row["photo"].rpartition("#")[2] for row in rows] == ["0", "0", "1", "1", "2", "2"]
    found = Attribution.load(out / "pump-row-1.iba-beta=1.safetensors")
    assert found.unit == "bits/feature"
    assert found.settings["statistics"] == "per channel, 1000 inputs", "two hundred rows are rough"
    assert sorted(found.map[0].topk(2).indices.tolist()) == list(DECISIVE)
    assert np.array_equal(np.load(out / "pump-row-1.iba-beta=1.npy"), found.map[0].numpy())
    seen = read_shown(out / "pump-row-1.seen.safetensors")
    assert seen.names == FEATURES
    assert (out / "pump-row-1.png").stat().st_size > 10_000
    told = done(*words)
    assert "6 of 6 were there already" in told
    assert re.search(r"^input +target", told, re.MULTILINE)
    one = done(
        "explain",
        f"{pump}#2",
        "--model",
        "builtin/table",
        "--method",
        "gradient",
        "--out",
        str(tmp_path / "o"),
        "--json",
    )
    assert [row["files"] for row in json.loads(one.splitlines()[-1])] == ["pump-row-2"]


def test_signals_of_an_own_network_have_their_rate(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(OWN.format(form="signal"), "utf-8")
    values = np.random.default_rng(0).normal(size=(2, 300)).astype(np.float32)
    np.save(tmp_path / "s.npy", values)
    out, model = tmp_path / "out", f"{tmp_path / 'net.py'}:build"
    done(
        "explain", str(tmp_path / "s.npy"), "--model", model, "--method", "gradient", "--rate", "250", "--out", str(out)
    )
    seen = read_shown(out / "s.seen.safetensors")
    assert seen.rate == 250
    np.testing.assert_array_equal(seen.values, values)
    told = done("explain", str(tmp_path / "s.npy"), "--model", "builtin/table", "--out", str(out), code=1)
    assert "is no table: expected a file that ends in .csv, .parquet" in told
    told = done("explain", str(tmp_path / "s.npy"), "--model", "builtin/scenes", "--out", str(out), code=1)
    assert "it holds arrays; a network for signals or volumes takes .npy" in told


def test_a_preprocessing_may_take_a_path(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(OWN.format(form="signal"), "utf-8")
    (tmp_path / "odd.csv").write_text("1 2 3 4 5 6\n6 5 4 3 2 1\n", "utf-8")
    out = tmp_path / "out"
    done(
        "explain",
        str(tmp_path / "odd.csv"),
        "--model",
        f"{tmp_path / 'net.py'}:paths",
        "--method",
        "gradient",
        "--out",
        str(out),
    )
    assert Attribution.load(out / "odd.safetensors").map.shape == (1, 6)


def test_the_demo_finds_what_is_planted(tmp_path: Path) -> None:
    rows = json.loads(
        done("demo", "--kind", "table", "--scenes", "2", "--out", str(tmp_path), "--json").splitlines()[-1]
    )
    assert [row["top_pixels_on_object"] for row in rows] == [1.0, 1.0]
    assert (tmp_path / "test-row-1.png").is_file()


WARD = """
from pathlib import Path
import torch
from torch import nn

class Ward(nn.Module):
    classes = ("low", "high")

    def forward(self, x):
        hot = x[:, 10:15, 1].mean(1)
        return torch.stack([-hot, hot], 1)

def prepare(path: Path):
    return torch.tensor([[float(word) for word in line.split(",")] for line in path.read_text().splitlines()])

def build():
    return Ward().eval(), prepare
"""


def test_a_person_says_what_the_axes_mean_where_the_network_does_not_tell(tmp_path: Path) -> None:
    (tmp_path / "ward.py").write_text(WARD, "utf-8")
    times = np.full((24, 3), 0.5)
    times[10:15, 1] = 4.0
    np.savetxt(tmp_path / "stay.csv", times, delimiter=",")
    model = [
        "explain",
        str(tmp_path / "stay.csv"),
        "--model",
        f"{tmp_path / 'ward.py'}:build",
        "--method",
        "occlusion-8",
    ]
    assert "in commands --axes" in done(*model, "--out", str(tmp_path / "none"), code=1)
    assert "axes must be one of" in done(*model, "--out", str(tmp_path / "none"), "--axes", "XY", code=1)
    assert "do not fit samples of shape (24, 3)" in done(
        *model, "--out", str(tmp_path / "none"), "--axes", "CHW", code=1
    )
    done(*model, "--axes", "TC", "--out", str(tmp_path / "said"))
    (file,) = (tmp_path / "said").glob("*.npy")
    found = np.load(file, allow_pickle=False)
    assert found.shape == (24,)
    assert set(np.flatnonzero(found == found.max())) <= set(range(8, 16))
    (kept,) = (tmp_path / "said").glob("*.seen.safetensors")
    shown = read_shown(kept)
    assert shown.values.shape == (3, 24)
