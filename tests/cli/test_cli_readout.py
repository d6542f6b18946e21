"""`bitlens readout` as a person uses it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from bitlens.bottlenecks.readout.weights import ReadoutWeights
from bitlens.models.load import load_model
from small_evaluation import make_home


@pytest.fixture
def home(tmp_path):
    return make_home(tmp_path)


def training(home, out="r.safetensors", **others):
    options = {
        "model": f"{home / 'net.py'}:build",
        "data": f"folder:{home / 'photos'}",
        "layer": "0",
        "batch": 2,
        "epochs": 2,
    }
    options |= {"device": "cpu", "out": out, **others}
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return ["readout", "train", *words]


def test_train_and_explain(bitlens, home):
    told = json.loads(bitlens(*training(home), "--json").stdout)
    assert told["layer"] == "0"
    assert told["read_layers"] == ["0", "1", "2", "3", "output"]
    assert set(told["losses"]) == {"loss", "cross_entropy", "information"}
    weights = ReadoutWeights.load("r.safetensors")
    assert weights.provenance.data == f"folder:{home / 'photos'} (8 photos)"
    assert weights.training["held_out_samples"] == 1
    curve = json.loads((home / "r.curve.json").read_text())
    assert [row["epoch"] for row in curve["epochs"]] == [1, 2]
    assert curve["epochs"][-1]["held_out"]["loss"] == pytest.approx(told["losses"]["loss"], rel=0.2)
    assert (home / "r.curve.png").stat().st_size > 1000
    model = f"{home / 'net.py'}:build"
    photo = home / "photos" / "0.png"
    bitlens("readout", "explain", photo, "--model", model, "--readout", "r.safetensors", "--out", "a")
    bitlens("explain", photo, "--model", model, "--method", "readout", "--readout", "r.safetensors", "--out", "b")
    rows = [json.loads((home / place / "summary.json").read_text())["photos"][0] for place in ("a", "b")]
    assert rows[0]["total_bits"] == rows[1]["total_bits"] > 0
    assert rows[0]["probability_under_noise"] > 0
    done = bitlens("explain", photo, "--model", f"{home / 'net.py'}:other", "--method", "readout", "--readout",
                   "r.safetensors", code=1)  # fmt: skip
    assert "the readout was trained for" in done.stderr
    assert "with other weights" in done.stderr


def test_a_conditional_one_learns_on_pairs(bitlens, home):
    command = training(home)
    told = json.loads(bitlens(*command, "--conditional", "--pairs", "--json").stdout)
    assert told["epochs"] == 2
    weights = ReadoutWeights.load("r.safetensors")
    assert weights.settings["conditional"]
    assert weights.training["schedule"] == "cosine"
    assert weights.provenance.data.endswith("(8 photos, in pairs)")
    photo, model = home / "photos" / "0.png", f"{home / 'net.py'}:build"
    maps = [
        json.loads(bitlens("readout", "explain", photo, "--model", model, "--readout", "r.safetensors", "--target", target,
                           "--out", target, "--json").stdout)[0]["total_bits"]
        for target in ("0", "1")
    ]  # fmt: skip
    assert maps[0] != maps[1]


def test_it_goes_on_with_more_epochs_and_begins_at_another(bitlens, home):
    steady = {"schedule": "constant", "ramp": 0}
    bitlens(*training(home, **steady))
    first = json.loads((home / "r.curve.json").read_text())["epochs"]
    told = bitlens(*training(home, epochs=3, patience=0, **steady)).stdout
    assert "of 3" in told
    assert json.loads((home / "r.curve.json").read_text())["epochs"][:2] == first
    told = bitlens(*training(home, out="s.safetensors", beta=1, start="r.safetensors")).stdout
    assert ReadoutWeights.load("s.safetensors").settings["beta"] == 1
    done = bitlens(*training(home, beta=3, **steady), code=1)
    assert "beta was 10.0, now 3.0" in done.stderr


def test_evaluate_trains_one_or_takes_the_file(bitlens, home):
    bitlens(*training(home))
    command = ["evaluate", "--model", f"{home / 'net.py'}:build", "--data", f"csv:{home / 'table.csv'}", "--layer", "0",
               "--metrics", "restricted-top1,information", "--limit", "2", "--device", "cpu", "--json"]  # fmt: skip
    done = bitlens(*command, "--methods", "readout:weights=r.safetensors,readout", "--out", "e")
    assert "readout[weights=r.safetensors]" in done.stdout
    assert len(list((home / "e" / "learned").glob("readout-0-*.safetensors"))) == 1


def test_what_a_method_needs_is_said(bitlens, home):
    photo = home / "photos" / "0.png"
    done = bitlens("explain", photo, "--model", f"{home / 'net.py'}:build", "--method", "readout", code=1)
    assert "readout needs weights" in done.stderr
    assert "`bitlens readout train` writes them to a file for --readout FILE" in done.stderr


def test_the_bundled_network_has_its_readout(bitlens):
    from bitlens.data.datasets import open_dataset
    from bitlens.methods.building import build_method
    from bitlens.methods.specs import Spec

    open_dataset("builtin:scenes")[0].image.save("scene.png")
    bitlens("explain", "scene.png", "--model", "builtin/scenes", "--method", "readout", "--out", "o")
    loaded = load_model("builtin/scenes")
    assert build_method(Spec("readout", {}), loaded).is_trained
    assert not build_method(Spec("readout", {"beta": 3.0}), loaded).is_trained


@pytest.mark.slow
def test_a_killed_training_goes_on_as_if_nothing_had_happened(home):
    """SIGKILL in the middle; the same command then gives the losses of an undisturbed run, to the last digit."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def command(out):
        options = training(home, out=home / out, epochs=20, patience=0)
        return [sys.executable, "-m", "bitlens", *options]

    running = subprocess.Popen(command("k.safetensors"), env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (home / "k.checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (home / "k.safetensors").exists()
    for out in ("k.safetensors", "u.safetensors"):
        subprocess.run(command(out), env=environment, check=True, stdout=subprocess.DEVNULL, timeout=300)
    curves = [json.loads((home / f"{name}.curve.json").read_text())["epochs"] for name in ("k", "u")]
    losses = [[(row["train"], row["held_out"]) for row in curve] for curve in curves]
    assert losses[0] == losses[1]
    killed, undisturbed = (ReadoutWeights.load(home / f"{name}.safetensors") for name in ("k", "u"))
    assert killed.fingerprint == undisturbed.fingerprint
