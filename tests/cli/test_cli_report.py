"""`bitlens report`, and --report of the commands that leave something to report."""

import html
import json

import small_results
from bitlens.data.datasets import open_dataset


def test_report_of_a_folder(bitlens, tmp_path):
    small_results.write_results(tmp_path / "r")
    done = bitlens("report", "r")
    assert done.stdout == "report.html: 2 photos\n"
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    (tmp_path / "r" / "photo-0.seen.jpg").unlink()
    done = bitlens("report", "r", "--out", "deep/in/here.html", "--json")
    found = json.loads(done.stdout)
    assert (found["file"], found["photos"]) == ("deep/in/here.html", 2)
    assert ["drawn over grey" in problem for problem in found["problems"]] == [True]
    assert "note: missing: photo-0.jpg: " in bitlens("report", "r").stderr


def test_a_folder_that_is_not_there_is_said_in_one_line(bitlens):
    done = bitlens("report", "nowhere", code=1)
    assert done.stderr.count("\n") == 1
    assert "there is no nowhere" in done.stderr
    bitlens("report", code=2)


def test_explain_and_report_in_one_go(bitlens, tmp_path):
    sample = open_dataset("builtin:scenes")[0]
    sample.image.save(tmp_path / "a scene.png")
    common = ["--model", "builtin/scenes", "--statistics-count", 20, "--device", "cpu", "--out", "r", "--json"]
    done = bitlens("explain", "a scene.png", "--method", "iba,saliency", "--report", *common)
    row = json.loads(done.stdout)[0]
    page = (tmp_path / "r" / "report.html").read_text()
    assert f"{row['total_bits']:,.0f} bits in total" in page
    assert "a scene.png" in page
    assert "bitlens explain &#39;a scene.png&#39; --method iba,saliency --report" in page
    assert "layer2 · keep = 0.9" in page


def test_the_python_of_a_report_gives_the_same_map(bitlens, tmp_path):
    """What stands under "In Python" is run as it stands, with the photo in place of PHOTO."""
    import html

    import torch

    from bitlens.core.attribution import Attribution

    sample = open_dataset("builtin:scenes")[1]
    sample.image.save(tmp_path / "scene.png")
    common = ["--model", "builtin/scenes", "--statistics-count", 20, "--device", "cpu", "--out", "r"]
    bitlens(
        "explain", "scene.png", "--method", "iba:beta=3:quality=fast", "--target", 2, "--seed", 5, "--report", *common
    )
    page = (tmp_path / "r" / "report.html").read_text()
    code = html.unescape(page.partition("In Python")[2].partition("<code>")[2].partition("</code>")[0])
    names: dict = {}
    exec(code.replace("PHOTO", "scene.png"), names)
    kept = Attribution.load(tmp_path / "r" / "scene.safetensors")
    torch.testing.assert_close(names["attribution"].map, kept.map)
    assert names["attribution"].targets == kept.targets == ("2",)


def test_demo_and_evaluation_can_be_reported(bitlens, tmp_path):
    bitlens("demo", "--scenes", 2, "--device", "cpu")
    done = bitlens(
        "evaluate", "--model", "builtin/scenes", "--data", "builtin:scenes", "--methods", "grad-cam,random", "--metrics",
        "bbox", "--limit", 4, "--device", "cpu", "--out", "e", "--report",
    )  # fmt: skip
    assert "grad-cam" in done.stdout
    assert "--methods grad-cam,random --metrics bbox" in (tmp_path / "e" / "report.html").read_text()
    assert bitlens("report", "bitlens-demo", "e").stdout == "report.html: 2 photos, 1 evaluation\n"
    report = html.unescape((tmp_path / "report.html").read_text())
    assert "bitlens demo --scenes 2" in report
    assert "bitlens.method('readout', loaded.model, weights=loaded.readout)" in report
