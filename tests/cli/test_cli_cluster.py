"""The commands with --cluster: the same results as without."""

import json

import numpy as np
import pytest

from bitlens.core.statistics import FeatureStatistics
from small_evaluation import make_home

NETWORK = ["--model", "net.py:build", "--layer", "0"]
RAY = ["--cluster", "ray", "--workers", 2]


@pytest.fixture
def home(tmp_path, bitlens):  # noqa: ARG001  (it makes the folder the current one)
    return make_home(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("two_workers", "home")
def test_evaluate(bitlens):
    what = "evaluate --data csv:table.csv --methods iba:beta=1,random --metrics bbox,sanity --json"
    command = [*what.split(), *NETWORK]
    here = json.loads(bitlens(*command, "--out", "here").stdout)
    assert len(json.loads(bitlens(*command, "--out", "there", "--limit", 3).stdout)["rows"]) == 4
    done = bitlens(*command, "--out", "there", *RAY)
    assert "workers: 2, each with 1 core" in done.stderr
    assert "3 of 8 samples were there already" in done.stderr
    there = json.loads(done.stdout)
    assert [row["mean"] for row in there["rows"]] == pytest.approx([row["mean"] for row in here["rows"]], rel=1e-5)
    assert [row["count"] for row in there["rows"]] == [6, 8, 6, 8]


@pytest.mark.slow
@pytest.mark.usefixtures("two_workers")
def test_statistics(home, bitlens):
    command = ["statistics", *NETWORK, "--data", "folder:photos", "--per", "channel"]
    bitlens(*command, "--out", "here.safetensors")
    bitlens(*command, "--out", "there.safetensors", *RAY)
    here, there = (FeatureStatistics.load(home / f"{name}.safetensors") for name in ("here", "there"))
    assert here.provenance == there.provenance
    np.testing.assert_allclose(there.std, here.std, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.usefixtures("two_workers")
def test_explain(home, bitlens):
    (home / "photos" / "5.png").write_bytes(b"no photo")
    command = [
        "explain",
        "photos",
        *NETWORK,
        "--methods",
        "iba,gradient",
        "--statistics-from",
        "photos",
        "--same-scale",
    ]
    bitlens(*command, "--out", "here")
    done = bitlens(*command, "--out", "there", *RAY)
    assert "5.png" in done.stderr
    names = [sorted(path.name for path in (home / name).iterdir()) for name in ("here", "there")]
    assert names[0] == names[1]
    for path in (home / "here").glob("*.npy"):
        np.testing.assert_allclose(np.load(home / "there" / path.name), np.load(path), rtol=1e-3, atol=1e-4)
    summaries = [json.loads((home / name / "summary.json").read_text()) for name in ("here", "there")]
    for kind in ("photo", "name", "files", "method"):
        assert [row[kind] for row in summaries[0]["photos"]] == [row[kind] for row in summaries[1]["photos"]]
    assert summaries[0]["skipped"].keys() == summaries[1]["skipped"].keys()
    assert "14 of 14 were there already" in bitlens(*command, "--out", "there", *RAY).stdout


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("options", "words"),
    [(["--workers", 2], "add --cluster ray"), (["--cluster", "spark"], "expected ray, or ray://HOST:PORT")],
)
def test_wrong_use_is_told(bitlens, options, words):
    done = bitlens("evaluate", *NETWORK, "--data", "csv:table.csv", *options, code=1)
    assert words in done.stderr
