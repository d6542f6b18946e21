"""Signals, volumes and rows in a report: drawn from what lies in the folder, a volume with a slider along its slices."""

import re
import shutil
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from bitlens.core.attribution import Attribution
from bitlens.core.evidence import Curve
from bitlens.core.seen import Seen
from bitlens.explaining.shown import read_shown, save_shown
from bitlens.explaining.summary import write_summary
from bitlens.reports.written import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
INPUTS = {
    "signal": (Seen(values=torch.rand(2, 300), names=("left", "right"), rate=50.0), "bits/sample"),
    "volume": (Seen(values=torch.rand(1, 5, 6, 7), spacing=(2.0, 1.0, 1.0)), "bits/voxel"),
    "row": (Seen(values=torch.rand(4), names=("a", "b", "c", "d")), "bits/feature"),
}


def folder_of(name: str, folder: Path) -> Path:
    seen, unit = INPUTS[name]
    made = torch.zeros(1, *seen.places)
    made[(0, *(min(3, side - 1) for side in seen.places))] = 2.0
    found = Attribution(made, unit, "iba", ("1",), layer="layer2", total_bits=torch.tensor([2.0]))
    found.save(folder / "x.safetensors")
    save_shown(seen, folder / "x.seen.safetensors")
    row = {"photo": f"{name}.npy", "name": "a class", "files": "x", "seen": "x.seen.safetensors", "method": "iba"}
    settings = {"model": "net", "methods": {"iba": {"name": "iba"}}, "form": "signal", "command": ["explain"]}
    write_summary([row], settings, folder / "summary.json")
    return folder


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_that_is_no_photo_has_a_card_with_its_picture(name: str, tmp_path: Path) -> None:
    written = write_report([folder_of(name, tmp_path)], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert written.problems == ()
    assert (written.photos, "a class" in page, "2 bits in total" in page) == (1, True, True)
    assert re.search(r'<figure class="wide">', page)
    assert f"Map of iba in {INPUTS[name][1]}" in page
    assert "loaded.preprocess.read(Path(&#34;FILE&#34;))" in page or 'loaded.preprocess.read(Path("FILE"))' in page
    slider = re.search(
        r'<input type="range" id="photo-1-slice-1" min="0" max="4" value="3" data-numbers="0 1 2 3 4">', page
    )
    assert (slider is not None) == (name == "volume")


def test_signals_are_called_signals_and_tell_their_curve_and_that_next_to_nothing_is_used(tmp_path: Path) -> None:
    for number, top in enumerate((100.0, 1.0)):
        (folder := tmp_path / str(number)).mkdir()
        found = Attribution.load(folder_of("signal", folder) / "x.safetensors")
        curve = Curve(torch.tensor([[0.5, 0.9]]), torch.tensor([[1.0, 2.0]]), torch.rand(1, 2, 300))
        replace(found, map=found.map * top / 2, curve=curve).save(folder / "x.safetensors")
    write_report([tmp_path / "0", tmp_path / "1"], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "What the network uses in 2 signals" in page
    assert "All signals" in page
    assert page.count("next to nothing: 1 bits/sample at most") == 1
    assert page.count("How few bits until the decision goes?") == 2


def test_what_was_seen_is_read_back_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    folder = folder_of("volume", tmp_path)
    again, known = read_shown(folder / "x.seen.safetensors"), INPUTS["volume"][0]
    assert isinstance(again, Seen)
    assert torch.equal(again.values, known.values) if again.values is not None and known.values is not None else False
    assert (again.spacing, again.names, again.rate) == (known.spacing, (), None)
    place = folder / "x.seen.safetensors"
    place.write_bytes(place.read_bytes()[:-4])
    written = write_report([folder], folder / "report.html")
    assert any("x.seen.safetensors" in problem for problem in written.problems)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no browser is installed")
def test_the_slider_goes_along_the_slices_and_nothing_complains(tmp_path: Path) -> None:
    sync = pytest.importorskip("playwright.sync_api")
    write_report([folder_of("volume", tmp_path)], tmp_path / "report.html")
    with sync.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page, faults = browser.new_page(), []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto((tmp_path / "report.html").as_uri())
        before = page.locator(".slices .window").screenshot()
        page.fill(".slices input", "0")
        assert page.inner_text(".slices output") == "0"
        assert page.locator(".slices .window").screenshot() != before
        page.click("button.enlarge")
        browser.close()
    assert faults == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no browser is installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_signal_has_the_colours_of_its_page_and_begins_on_a_phone_where_most_is_used(
    tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    sync = pytest.importorskip("playwright.sync_api")
    place = folder_of("signal", tmp_path) / "x.safetensors"
    used = torch.zeros(1, 300)
    used[0, 290] = 2.0
    replace(Attribution.load(place), map=used).save(place)
    write_report([tmp_path], tmp_path / "report.html")
    with sync.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
        page.goto((tmp_path / "report.html").as_uri())
        pixels = np.asarray(Image.open(BytesIO(page.locator(".wide .over").screenshot())).convert("L"), dtype=float)
        names = pixels[10:130, 14:50]  # of the leads, left of the frame
        assert (np.median(names) > 200, np.median(names) < 60) == (scheme == "light", scheme == "dark")
        assert np.ptp(names) > 120
        page.set_viewport_size({"width": 390, "height": 844})
        page.reload()
        stack = page.locator(".wide .stack")
        left, right = stack.evaluate("e => [e.scrollLeft, e.scrollWidth - e.clientWidth]")
        assert stack.locator("img").bounding_box()["width"] > 650
        assert left > 0.8 * right > 100
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        browser.close()
