"""`bitlens calibrate` and `bitlens explain --guarantee`, on the bundled network and its scenes."""

import json

import pytest

from bitlens.core.attribution import Attribution
from bitlens.core.guarantee import Guarantee
from bitlens.data.datasets import open_dataset
from bitlens.explaining import calibrating

MODEL = ["--model", "builtin/scenes", "--statistics-count", 20, "--device", "cpu"]
QUICK = ["--method", "iba:steps=2:noise_samples=1:quality=paper", *MODEL]


@pytest.fixture
def scenes(tmp_path):
    """A folder with three scenes and a file that is no photo."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    for number, sample in enumerate(open_dataset("builtin:scenes")[:3]):
        sample.image.save(folder / f"{number}.png")
    return folder


def calibrated(bitlens, *others, data="builtin:scenes", code=0):
    few = [] if "--noises" in others else ["--noises", 1]
    return bitlens("calibrate", *QUICK, "--data", data, "--out", "g.safetensors", *few, *others, code=code)


def test_a_guarantee_is_made_and_maps_carry_it(bitlens, scenes, tmp_path):
    done = calibrated(bitlens, "--limit", 9, "--levels", "0.9,0.5,0.99")
    known = Guarantee.load(tmp_path / "g.safetensors")
    assert (len(known), known.levels, known.noises) == (9, (0.9, 0.5, 0.99), 1)
    assert (known.provenance.data, known.provenance.layer) == ("builtin:scenes", "layer2")
    assert f"{known.budget(0.5):,.0f}" in done.stdout
    assert "too few photos" in done.stdout
    assert "99 % needs 99 photos, there are 9" in done.stderr
    explained = ["explain", scenes, *QUICK, "--guarantee", "g.safetensors", "--out", "r", "--report"]
    bitlens(*explained, "--level", 0.5)
    sentence = "at least 50 % of inputs like these keep their class with this much"
    rows = json.loads((tmp_path / "r" / "summary.json").read_text())["photos"]
    assert [row["guarantee"].startswith(sentence) for row in rows] == [True] * 3
    assert [row["total_bits"] for row in rows] == [pytest.approx(known.budget(0.5), rel=1e-3)] * 3
    assert sentence in (tmp_path / "r" / "report.html").read_text()
    assert Attribution.load(tmp_path / "r" / "0.safetensors").promise == known.at(0.5).promise
    assert "(3 of 3 were there already)" in bitlens(*explained, "--level", 0.5).stdout


@pytest.mark.slow
def test_maps_with_a_guarantee_can_be_audited(bitlens, scenes):
    calibrated(bitlens, "--limit", 9)
    bitlens("explain", scenes, *QUICK, "--guarantee", "g.safetensors", "--out", "r")
    bitlens("audit", "r", "--checked", 1, "--device", "cpu")
    assert "3 of 3 maps" in bitlens("audit", "verify", "r.audit", "--data", scenes, "--device", "cpu").stdout


def test_a_run_that_was_cut_short_goes_on(bitlens, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrating, "_BATCH", 4)
    whole = json.loads(calibrated(bitlens, "--limit", 10, "--json").stdout)
    kept = Guarantee.load(tmp_path / "g.safetensors")
    (tmp_path / "g.safetensors").unlink()
    batches, needed = [], calibrating.needed_bits

    def cut_short(method, images, **how):
        if len(batches) == 2:
            raise KeyboardInterrupt
        batches.append(len(images))
        return needed(method, images, **how)

    with monkeypatch.context() as patch:
        patch.setattr(calibrating, "needed_bits", cut_short)
        calibrated(bitlens, "--limit", 10, code=130)
    assert batches == [4, 4]
    assert len(Guarantee.load(tmp_path / "g.safetensors")) == 8
    batches.clear()
    with monkeypatch.context() as patch:
        patch.setattr(calibrating, "needed_bits", cut_short)
        assert json.loads(calibrated(bitlens, "--limit", 10, "--json").stdout) == whole
    assert batches == [2]
    again = Guarantee.load(tmp_path / "g.safetensors")
    assert (again.inputs, again.needed.tolist()) == (kept.inputs, kept.needed.tolist())
    calibrated(bitlens, "--limit", 11)
    assert Guarantee.load(tmp_path / "g.safetensors").inputs[:10] == kept.inputs


def test_photos_that_cannot_be_read_are_left_out(bitlens, scenes):
    (scenes / "broken.png").write_bytes(b"no photo")
    (scenes / "again.png").write_bytes((scenes / "0.png").read_bytes())
    done = calibrated(bitlens, "--json", data=f"folder:{scenes}")
    assert json.loads(done.stdout)["inputs"] == 3
    assert "broken.png" in done.stderr


def test_what_makes_no_sense_is_refused(bitlens, scenes):
    calibrated(bitlens, "--limit", 9)
    explained = ["explain", scenes / "0.png", *QUICK, "--out", "r"]
    for options, words in (
        (["--bits", 10], "--guarantee decides how many bits pass, and so does --bits"),
        (["--keep", 0.9], "and so does --keep"),
        (["--beta", 1], "and so does --beta"),
        (["--level", 0.95], "95 % of inputs from 9: 19 are needed"),
        (["--level", 1], "level must be a share of inputs above 0 and below 1"),
        (["--layer", "layer3"], "layer was 'layer2', is 'layer3'"),
        (["--seed", 3], "seed was 0, is 3"),
    ):
        done = bitlens(*explained, "--guarantee", "g.safetensors", *options, code=1)
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    assert "add --guarantee FILE" in bitlens(*explained, "--level", 0.9, code=1).stderr
    assert "is not a readable safetensors file" in bitlens(*explained, "--guarantee", scenes / "0.png", code=1).stderr
    assert "holds another guarantee (layer was" in calibrated(bitlens, "--layer", "layer3", code=1).stderr
    assert "holds another guarantee (other data" in calibrated(bitlens, "--noises", 2, code=1).stderr
    assert (
        "cannot be calibrated"
        in bitlens("calibrate", *MODEL, "--method", "grad-cam", "--data", "builtin:scenes", "--out", "h", code=1).stderr
    )
