"""`bitlens audit` and `bitlens audit verify`: someone else computes it again, and is told what differs."""

import json
import shutil
import zipfile
from importlib.metadata import version

import pyarrow.parquet as pq
import pytest
import torch

from bitlens.core.attribution import Attribution
from bitlens.data.datasets import open_dataset
from bitlens.models.load import load_model
from bitlens.reports.audit_file import opened_audit, write_audit

CPU = ["--device", "cpu"]
USER_MODEL = """
import pathlib
from bitlens.models.builtin.scenes import load
pathlib.Path("it-ran").touch()
def build():
    found = load()
    return (found.model, found.preprocess) if hasattr(found, "preprocess") else found
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A run of explain and its audit, made once."""
    from bitlens.cli import app

    home, patch = tmp_path_factory.mktemp("audited"), pytest.MonkeyPatch()
    patch.chdir(home)
    patch.setenv("BITLENS_CACHE", str(home / "cache"))
    (home / "photos").mkdir()
    for number in range(2):
        open_dataset("builtin:scenes")[number].image.save(home / "photos" / f"{number}.png")
    words = ["explain", "photos", "--model", "builtin/scenes", "--methods", "iba,readout,saliency", "--quality", "fast"]
    patch.setattr("sys.argv", ["bitlens", *words, "--statistics-count", "20", *CPU, "--out", "run"])
    app(["explain", *words[1:], "--statistics-count", "20", *CPU, "--out", "run"], standalone_mode=False)
    app(["audit", "run", "--checked", "1", *CPU], standalone_mode=False)
    yield home
    patch.undo()


@pytest.fixture
def audit(packed, tmp_path):
    """The audit and its photos at another place, called otherwise; nothing else of the run is there."""
    shutil.copyfile(packed / "run.audit", tmp_path / "a.audit")
    (tmp_path / "mine").mkdir()
    for number in range(2):
        shutil.copyfile(packed / "photos" / f"{number}.png", tmp_path / "mine" / f"other-{number}.jpeg")
    return tmp_path / "a.audit"


def changed(audit, change):
    """The audit as someone writes it who changed what it holds, and whose seal is right."""
    with opened_audit(audit) as place:
        change(place)
        files = {path.relative_to(place).as_posix(): path for path in place.rglob("*") if path.is_file()}
        write_audit(audit, {name: path for name, path in files.items() if name != "manifest.json"})


def verified(bitlens, *words, code=0):
    return json.loads(bitlens("audit", "verify", *words, *CPU, "--json", code=code).stdout)


def test_maps_are_verified_by_someone_who_has_network_photos_and_file(bitlens, audit):
    found = verified(bitlens, audit, "--data", "mine")
    assert found["good"]
    assert (found["verified_maps"], found["maps"], found["problems"], found["notes"]) == (6, 6, [], [])
    said = bitlens("audit", "verify", audit, "--data", "folder:mine", *CPU).stdout
    assert "verified: 6 of 6 maps" in " ".join(said.split())


def test_what_an_audit_holds(audit, packed):
    with zipfile.ZipFile(audit) as archive:
        names, about = archive.namelist(), json.loads(archive.read("about.json"))
        assert archive.read("page.html").decode() == (packed / "run.html").read_text("utf-8")
    assert sum(name.startswith("explained/") for name in names) == 7
    assert set(about["learned"]) == {"iba", "readout"}
    assert len(about["network"]["weights"]) == 16
    assert about["network"]["weights"] == Attribution.load(packed / "run" / "0.iba.safetensors").settings["weights"]
    assert about["versions"]["torch"] == version("torch")
    checks = about["checks"]
    assert checks["iba"]["maps"] == checks["iba"]["proven"] == 2
    assert 0 <= checks["iba"]["held"] <= 1
    assert checks["saliency"]["proven"] == 0
    assert checks["saliency"]["seeds"] == pytest.approx(1)
    assert checks["iba"]["seeds"] > 0.5
    assert abs(checks["iba"]["random_weights"]) < 0.95
    assert "trained" in checks["readout"]["left_out"]
    assert any("few" in text for text in about["limits"])
    assert about["coverage"]["inputs"] == 2
    assert "heart" in about["coverage"]["asked"]
    assert checks["iba"]["needed"] == 2


def test_the_page_runs_nothing_and_says_what_a_deployer_asks(packed):
    page = (packed / "run.html").read_text("utf-8")
    assert "<script" not in page
    assert "default-src 'none'" in page
    for words in ("Intended use", "Known failure modes", "What was covered", "What must not be concluded"):
        assert words in page


def test_names_on_the_page_stay_text():
    from bitlens.reports.audit_page import audit_page

    evil = "<img src=x onerror=alert(1)>"
    about = {
        "network": {"name": evil, "weights": evil, "reader": evil, "code": evil}, "use": evil, "failures": [evil],
        "limits": [evil], "coverage": {"asked": {evil: 1}, "inputs": 1, "classes": None, "samples": None}, "checks": {
            evil: {"maps": 1, "proven": 0, "needed": 0, "held": None, "kept": None, "random_weights": 0.5, "seeds": 1.0}},
        "tolerances": {}, "versions": {evil: evil}, "code": evil, "maps": 1, "rows": 0,
    }  # fmt: skip
    assert "<img" not in audit_page(about)


def test_other_weights_are_named(bitlens, audit, tmp_path):
    state = load_model("builtin/scenes").model.state_dict()
    name = next(name for name, value in state.items() if value.dim() == 4)
    torch.save({**state, name: state[name] * 1.01}, tmp_path / "w.pt")
    found = verified(bitlens, audit, "--data", "mine", "--weights", "w.pt", code=1)
    assert found["verified_maps"] == 0
    (problem,) = found["problems"]
    assert problem.startswith("the network's weights: was")


def test_photos_that_are_missing_or_changed_are_named(bitlens, audit, tmp_path):
    (tmp_path / "mine" / "other-1.jpeg").unlink()
    found = verified(bitlens, audit, "--data", "mine", code=1)
    assert found["verified_maps"] == 3
    assert ["photos/1.png by" in text and "not among the data" in text for text in found["problems"]] == [True] * 3


@pytest.mark.parametrize("label", ["iba", "readout", "saliency"])
def test_a_map_that_was_changed_is_named(bitlens, audit, label):
    def change(place):
        file = place / "explained" / f"1.{label}.safetensors"
        one = Attribution.load(file)
        one.map[0, 3, 5] += 0.05 * one.map.abs().max()
        one.save(file)

    changed(audit, change)
    found = verified(bitlens, audit, "--data", "mine", code=1)
    assert found["verified_maps"] == 5
    assert len(found["problems"]) == 1
    assert f"1.png by {label}: the map differs by up to" in found["problems"][0]


def test_evidence_that_was_changed_is_named(bitlens, audit):
    def change(place):
        one = Attribution.load(place / "explained" / "0.iba.safetensors")
        one.evidence.under_noise[0] -= 0.2
        one.save(place / "explained" / "0.iba.safetensors")

    changed(audit, change)
    (problem,) = verified(bitlens, audit, "--data", "mine", code=1)["problems"]
    assert "evidence, under noise" in problem


def test_settings_that_were_changed_are_named(bitlens, audit):
    def change(place):
        file = place / "explained" / "summary.json"
        found = json.loads(file.read_text("utf-8"))
        found["settings"]["methods"]["iba"]["keep"] = 0.5
        file.write_text(json.dumps(found), "utf-8")

    changed(audit, change)
    assert any("0.png by iba" in text for text in verified(bitlens, audit, "--data", "mine", code=1)["problems"])


def test_whoever_wrote_an_audit_does_not_choose_what_is_run_or_read(bitlens, audit, tmp_path):
    (tmp_path / "evil.py").write_text(USER_MODEL)

    def change(place):
        file = place / "explained" / "summary.json"
        found = json.loads(file.read_text("utf-8"))
        found["settings"]["model"] = "evil.py:build"
        file.write_text(json.dumps(found), "utf-8")

    changed(audit, change)
    assert "--model" in bitlens("audit", "verify", audit, "--data", "mine", *CPU, code=1).stderr
    assert not (tmp_path / "it-ran").exists()
    assert verified(bitlens, audit, "--model", "builtin/scenes", "--data", "mine")["good"]
    assert "--data" in bitlens("audit", "verify", audit, "--model", "builtin/scenes", *CPU, code=1).stderr


def test_a_damaged_audit_is_refused_in_one_sentence(bitlens, audit):
    content = bytearray(audit.read_bytes())
    content[len(content) // 2] ^= 4
    audit.write_bytes(content)
    said = bitlens("audit", "verify", audit, "--data", "mine", *CPU, code=1).stderr
    assert said.count("\n") == 1
    assert "seal" in said


def test_what_is_no_run_is_said_in_one_line(bitlens, tmp_path):
    (tmp_path / "empty").mkdir()
    bitlens("demo", "--scenes", 1, "--out", "demo", *CPU)
    assert "as those of the demo" in bitlens("audit", "demo", *CPU, code=1).stderr
    for place in ("empty", "nowhere"):
        assert "holds no run" in bitlens("audit", place, *CPU, code=1).stderr
    assert "there is no file" in bitlens("audit", "verify", "nowhere", code=1).stderr
    assert "verify" in bitlens("audit", "--help").stdout


def test_an_evaluation_is_verified_row_by_row_and_map_by_map(bitlens, tmp_path):
    common = ["--data", "builtin:scenes", "--methods", "iba:quality=fast,saliency", "--metrics", "bbox", "--keep-maps"]
    bitlens(
        "evaluate", "--model", "builtin/scenes", *common, "--limit", 2, "--statistics-count", 20, "--out", "run", *CPU
    )
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    bitlens("audit", "run", "--checked", 1, "--out", "e.audit", *CPU)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    found = verified(bitlens, "e.audit")
    assert found["good"]
    assert (found["verified_maps"], found["verified_rows"], found["rows"]) == (4, 4, 4)

    def change(place):
        (file,) = (place / "evaluated" / "rows").glob("*.parquet")
        table = pq.read_table(file)
        rows = table.to_pylist()
        rows[0]["value"] += 0.3
        pq.write_table(type(table).from_pylist(rows, table.schema), file)

    changed(tmp_path / "e.audit", change)
    found = verified(bitlens, "e.audit", code=1)
    assert (found["verified_maps"], found["verified_rows"]) == (4, 3)
    assert "bbox of " in found["problems"][0]


def test_texts_are_verified_too(bitlens):
    words = ["--model", "builtin/reviews", "--data", "builtin:reviews", "--methods", "saliency", "--limit", 2]
    bitlens("text", "evaluate", *words, "--out", "run", *CPU)
    bitlens("audit", "run", "--out", "t.audit", *CPU)
    found = verified(bitlens, "t.audit")
    assert found["good"]
    assert found["rows"] > 0


def test_limits_say_what_the_checks_found():
    from bitlens.reports.audit_checks import Checked
    from bitlens.reports.audit_words import limits

    covered = {"inputs": 100, "asked": {"a": 100}, "classes": 3}
    good = Checked(100, 100, 100, 1.0, 0.99, 8, 0.1, 0.99)
    assert len(limits(covered, {"m": good})) == 2
    bad = Checked(100, 100, 90, 0.7, 0.6, 8, 0.8, 0.5, "why")
    said = " ".join(limits(covered, {"m": bad}))
    for words in ("1 of the network's 3 classes", "m: for 10 of its maps", "30% of its maps keep less than 90%",
                  "learnt nothing", "another seed gives other maps", "not all checks were made: why"):  # fmt: skip
        assert words in said
    assert "no evidence" in " ".join(limits(covered, {"m": Checked(5, 0, 0, None, None)}))
