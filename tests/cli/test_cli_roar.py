"""`bitlens roar` from the command line, at a size that takes seconds."""

import json

import numpy as np
import pytest

from bitlens.metrics import retraining

SMALL = (
    "--size",
    "16",
    "--limit",
    "60",
    "--rates",
    "0.5",
    "--seeds",
    "2",
    "--epochs",
    "1",
    "--width",
    "4",
    "--batch-size",
    "16",
)


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Two classes that a bright corner tells apart."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 120, (80, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(80) % 2
    pixels[labels == 1, :6, :6] = 250
    np.savez("small.npz", images=pixels, labels=labels)
    return "npz:small.npz"


def test_a_table_and_a_picture_and_nothing_done_twice(images, tmp_path, bitlens, monkeypatch):
    first = json.loads(bitlens("roar", "--data", images, "--methods", "random,saliency", *SMALL, "--json").stdout)
    assert [(row["method"], row["rate"]) for row in first] == [
        ("random", 0.0), ("random", 0.5), ("saliency", 0.0), ("saliency", 0.5),
    ]  # fmt: skip
    assert all(0 <= row["accuracy"] <= 1 and row["seeds"] == 2 for row in first)
    assert first[0]["accuracy"] == first[2]["accuracy"]  # nothing was removed
    assert (tmp_path / "bitlens-roar" / "roar.png").stat().st_size > 5000

    def again(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr("bitlens.metrics.retraining._train", again)
    assert (
        json.loads(bitlens("roar", "--data", images, "--methods", "random,saliency", *SMALL, "--json").stdout) == first
    )


def test_one_network_tells_of_no_error(images, tmp_path, bitlens):
    asked = ("roar", "--data", images, "--methods", "random", *SMALL, "--seeds", "1")
    told = bitlens(*asked).stdout
    assert "random" in told
    assert "±" not in told
    assert "nan" not in told
    rows = json.loads((tmp_path / "bitlens-roar" / "rows.json").read_text(), parse_constant=pytest.fail)
    assert [row["error"] for row in rows] == [None, None]


def test_networks_on_untouched_images_are_trained_once_for_all_methods(images, bitlens, monkeypatch):
    train, trained = retraining._train, []

    def counted(*given):
        trained.append(given)
        return train(*given)

    monkeypatch.setattr(retraining, "_train", counted)
    bitlens("roar", "--data", images, "--methods", "random,saliency", *SMALL)
    assert len(trained) == 1 + 2 + 2 * 2  # the explained one, two seeds untouched, two seeds for each method


def test_other_settings_in_the_same_folder_are_refused(images, bitlens):
    bitlens("roar", "--data", images, "--methods", "random", *SMALL)
    done = bitlens("roar", "--data", images, "--methods", "random", *SMALL, "--seed", "1", code=1)
    assert "other settings" in done.stderr


@pytest.mark.parametrize(("rates", "said"), [("0.5,x", "numbers"), ("1.5", "between 0 and 1")])
def test_wrong_rates(images, bitlens, rates, said):
    done = bitlens("roar", "--data", images, "--methods", "random", "--rates", rates, "--epochs", "1", code=1)
    assert said in done.stderr


def test_data_without_labels_or_damaged(tmp_path, bitlens, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    assert "npz" in bitlens("roar", "--data", "npz:bad.npz", code=1).stderr
