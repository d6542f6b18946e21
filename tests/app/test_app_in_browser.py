"""The page in a real browser: what a visitor does, and what a visitor must not be able to do."""

import shutil
import struct
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitlens.core.attribution import Attribution
from bitlens.data.datasets import open_dataset

pytest.importorskip("gradio", reason="the extra app is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]
PATIENCE = 120_000  # milliseconds; a loaded machine is slow


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    from bitlens.app import builtin_offers, builtin_text_offers, serve

    patch = pytest.MonkeyPatch()
    patch.setenv("BITLENS_CACHE", str(tmp_path_factory.mktemp("cache")))
    page, address = serve(
        builtin_offers(),
        builtin_text_offers(),
        "cpu",
        host="127.0.0.1",
        port=None,
        max_upload="200kb",
        open_browser=False,
        wait=False,
    )
    yield address
    page.close()
    patch.undo()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Visitor:
    """One person's browser window."""

    def __init__(self, browser, address):
        self.context = browser.new_context(viewport={"width": 1300, "height": 1000}, accept_downloads=True)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.asked: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)
        self.page.wait_for_selector("#explain")

    def upload(self, file):
        self.page.locator("input[type=file]").first.set_input_files(str(file))

    def wait_for_text(self, text, place="#evidence"):
        self.page.wait_for_function(
            "([place, text]) => document.querySelector(place)?.innerText.includes(text)", arg=[place, text]
        )

    def evidence(self):
        return self.page.inner_text("#evidence")

    def error(self):
        toast = self.page.locator(".toast-body, .toast-wrap").first
        toast.wait_for(state="visible")
        return toast.inner_text()


@pytest.fixture
def visitor(browser, address):
    person = Visitor(browser, address)
    yield person
    person.context.close()


@pytest.fixture
def photo(tmp_path):
    return scene(tmp_path, 0)


def scene(folder, number):
    file = folder / f"scene{number}.png"
    open_dataset("builtin:scenes")[number].image.save(file)
    return file


def another_answer(visitor, old):
    """Wait for an answer that is not the old one."""
    visitor.page.wait_for_function(
        "old => { const now = document.querySelector('#evidence').innerText;"
        " return now.includes('passed the layer') && now !== old }",
        arg=old,
    )
    return visitor.evidence()


def test_upload_change_beta_compare_and_download(visitor, photo, tmp_path):
    visitor.upload(photo)
    visitor.wait_for_text("passed the layer")
    held = visitor.evidence()
    assert "heart" in held
    assert "probability when noise hides all else" in held
    visitor.page.get_by_role("button", name="As in the papers").click()
    visitor.page.get_by_label("A price decides how much passes").check()
    first = another_answer(visitor, held)
    slider = visitor.page.locator("#beta input[type=range]")
    slider.focus()
    for _ in range(4):
        slider.press("ArrowRight")
    visitor.page.click("#explain")
    another_answer(visitor, first)
    assert "β = 10" in visitor.page.inner_text("#beta")
    bits = [float(text.split(" bits")[0].split()[-1].replace(",", "")) for text in (first, visitor.evidence())]
    assert bits[1] < bits[0]  # a higher price: fewer bits
    visitor.page.get_by_label("Methods, side by side").click()
    visitor.page.get_by_role("option", name="saliency", exact=True).click()
    visitor.page.keyboard.press("Escape")
    visitor.page.wait_for_timeout(500)
    visitor.page.click("#explain")
    visitor.page.wait_for_function("document.querySelector('#map img')?.naturalWidth > 900")
    with visitor.page.expect_download() as waiting:
        visitor.page.click("#download-full")
    file = tmp_path / "taken.safetensors"
    waiting.value.save_as(file)
    taken = Attribution.load(file)
    assert (taken.method, tuple(taken.map.shape), taken.settings["beta"]) == ("iba", (1, 96, 96), 10.0)
    with visitor.page.expect_download() as waiting:
        visitor.page.click("#download-report")
    assert "bits" in Path(waiting.value.path()).read_text("utf-8")
    outside = [url for url in visitor.asked if not url.startswith(("http://127.0.0.1", "data:", "blob:"))]
    assert not outside


def test_the_slider_moves_through_the_curve_without_asking_again(visitor, photo):
    visitor.upload(photo)
    slider = visitor.page.locator("#curves .tradeoff input")
    slider.wait_for()
    assert "of the decision is held" in visitor.evidence()
    picture, said = visitor.page.locator("#curves img.step:visible"), visitor.page.locator("#curves .tradeoff-said")
    shown, text, asked = picture.get_attribute("src"), said.inner_text(), len(visitor.asked)
    assert "level 0.90" in text
    slider.focus()
    slider.press("Home")
    assert picture.count() == 1
    assert picture.get_attribute("src") != shown
    assert "level 0.50" in said.inner_text()
    assert not [url for url in visitor.asked[asked:] if "queue" in url or "run" in url]
    bits = [float(one.split(" bits")[0].split()[-1].replace(",", "")) for one in (text, said.inner_text())]
    assert bits[1] < bits[0]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("no-photo.png", b"this is a text", "no-photo.png"),
        ("noise.png", np.random.default_rng(0).integers(0, 255, 300_000, dtype=np.uint8).tobytes(), ""),
    ],
    ids=["no image", "too large"],
)
def test_what_is_no_photo_gets_a_sentence(visitor, tmp_path, name, content, said):
    file = tmp_path / name
    file.write_bytes(content)
    visitor.upload(file)
    assert said in visitor.error()
    assert visitor.page.locator("#explain").is_enabled()


def test_a_huge_picture_is_refused_before_it_fills_the_memory(visitor, tmp_path):
    file = tmp_path / "huge.png"
    file.write_bytes(huge_png(60_000))
    visitor.upload(file)
    assert "huge.png" in visitor.error()


def test_two_visitors_do_not_mix(browser, address, tmp_path):
    people = [Visitor(browser, address), Visitor(browser, address)]
    for number, person in enumerate(people):
        person.upload(scene(tmp_path, number))
    names = [open_dataset("builtin:scenes")[number].label for number in range(2)]
    assert names[0] != names[1]
    for person in people:
        person.wait_for_text("passed the layer")
    said = [person.evidence() for person in people]
    assert said[0] != said[1]
    assert "heart" in said[0]
    assert "heart" not in said[1]
    for person in people:
        person.context.close()


def test_words_of_a_text_are_shaded(visitor):
    visitor.page.get_by_role("tab", name="Text").click()
    visitor.page.locator("#text textarea").fill("A wonderful film, and <b>moving</b>.")
    visitor.page.click("#explain-text")
    visitor.wait_for_text("bits", "#shaded")
    shaded = visitor.page.locator("#shaded")
    assert "wonderful" in shaded.inner_text()
    assert "<b>moving</b>" in shaded.inner_text()  # what a visitor writes stays text
    with visitor.page.expect_download() as waiting:
        visitor.page.click("#download-page")
    assert "wonderful" in Path(waiting.value.path()).read_text("utf-8")


@pytest.mark.parametrize("path", ["/etc/passwd", str(Path(__file__).resolve()), "pyproject.toml"])
def test_files_of_the_machine_stay_hidden(address, path):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address.rstrip('/')}/gradio_api/file={path}", timeout=60)
    assert refused.value.code in (403, 404)


def test_a_phone_needs_no_sideways_scrolling(browser, address):
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#explain", timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 392
    context.close()


def huge_png(side):
    """A small file that unpacks to side x side pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def test_the_huge_png_is_what_it_says(tmp_path):
    file = tmp_path / "huge.png"
    file.write_bytes(huge_png(100))
    with Image.open(file) as picture:
        assert picture.size == (100, 100)
