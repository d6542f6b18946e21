"""The page in a real browser: what a visitor does, and what a visitor must not be able to do."""

import json
import shutil
import struct
import urllib.error
import urllib.request
import zlib
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitlens.core.attribution import Attribution
from bitlens.data.datasets import open_dataset
from bitlens.data.recall import questions

pytest.importorskip("gradio", reason="the extra app is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]
AXE = find_spec("axe_playwright_python")
PATIENCE = 120_000  # milliseconds; a loaded machine is slow
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    from bitlens.app import Offers, serve

    patch = pytest.MonkeyPatch()
    patch.setenv("BITLENS_CACHE", str(tmp_path_factory.mktemp("cache")))
    page, address = serve(
        Offers.bundled(),
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

    def __init__(self, browser, address, **options):
        self.context = browser.new_context(**{"viewport": DESKTOP, "accept_downloads": True, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.asked: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)
        self.page.wait_for_selector("#photo-explain")

    def upload(self, file):
        self.page.locator("#photo input[type=file]").set_input_files(str(file))

    def take(self, number=0, tab="photo"):
        self.page.locator(f"#{tab}-examples button").nth(number).click()
        return self.answered(tab)

    def answered(self, tab="photo"):
        """Wait for an answer with its files, and read it."""
        place = f"#{tab}-result"
        self.page.wait_for_selector(f"{place}:not([data-stale]) .bitlens-shown:not(.old)")
        self.page.wait_for_selector(f"{place} .bitlens-downloads button:not([disabled])")
        return self.page.inner_text(f"#{tab}-answer")

    def refused(self):
        self.page.wait_for_selector("#photo-answer .bitlens-refused")
        return self.page.inner_text("#photo-answer")

    def ask_no_more(self):
        """Keep the page from asking again by itself, so that there is time to look at it."""
        self.page.evaluate("document.querySelector('#photo-explain').click = () => {}")

    def clear(self):
        """Take the photo away."""
        self.page.locator(
            "#photo button:is([aria-label='Clear'], [title='Clear'], [aria-label='Remove Image'])"
        ).first.click()

    def open_tab(self, name):
        self.page.get_by_role("tab", name=name).click()

    def choose(self, label, option):
        """Choose an option of a list on the tab for photos."""
        self.page.get_by_label(label, exact=True).first.click()
        self.page.get_by_role("option", name=option, exact=True).click()
        self.page.keyboard.press("Escape")

    def pixels(self, place):
        return np.asarray(Image.open(BytesIO(self.page.locator(place).first.screenshot())).convert("RGB"), dtype=float)


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


def bits_of(text):
    return float(text.split(" bits")[0].split()[-1].replace(",", ""))


def test_upload_change_beta_compare_and_download(visitor, photo, tmp_path):
    visitor.upload(photo)
    held = visitor.answered()
    assert held.startswith("predicted heart (0.9")
    assert "probability when noise hides all else" in held
    visitor.page.get_by_role("button", name="As in the papers").click()
    visitor.page.get_by_label("A price decides how much passes").check()
    visitor.page.wait_for_selector("#photo-result[data-stale]")
    first = visitor.answered()
    slider = visitor.page.locator("#photo-beta input[type=range]")
    slider.focus()
    for _ in range(4):
        slider.press("ArrowRight")
    visitor.page.wait_for_selector("#photo-result[data-stale]")
    second = visitor.answered()
    assert "β = 10" in visitor.page.inner_text("#photo-beta")
    assert bits_of(second) < bits_of(first)  # a higher price: fewer bits
    visitor.choose("Methods", "saliency")
    visitor.page.wait_for_function("document.querySelectorAll('#photo-answer figure').length === 3")
    visitor.answered()
    with visitor.page.expect_download() as waiting:
        visitor.page.click("#photo-download-full")
    file = tmp_path / "taken.safetensors"
    waiting.value.save_as(file)
    taken = Attribution.load(file)
    assert (taken.method, tuple(taken.map.shape), taken.settings["beta"]) == ("iba", (1, 96, 96), 10.0)
    with visitor.page.expect_download() as waiting:
        visitor.page.click("#photo-download-report")
    report = Path(waiting.value.path()).read_text("utf-8")
    assert "bits" in report
    assert "drawn over grey" not in report  # the photo is in it
    outside = [url for url in visitor.asked if not url.startswith(("http://127.0.0.1", "data:", "blob:"))]
    assert not outside


def test_after_a_key_press_the_answer_is_grey_and_out_of_date_until_there_is_another(visitor):
    before = visitor.take()
    mark = visitor.page.locator(".bitlens-stale p:visible")
    assert not mark.count()
    colourful = visitor.pixels("#photo-answer .map")
    assert np.ptp(colourful, axis=2).max() > 100
    visitor.ask_no_more()
    slider = visitor.page.locator("#photo-keep input[type=range]")
    slider.focus()
    slider.press("Home")
    visitor.page.wait_for_selector(".bitlens-stale p:visible")
    assert "Out of date" in mark.inner_text()
    for place in (".map", "svg"):
        assert (
            np.ptp(visitor.pixels(f"#photo-answer {place}"), axis=2).max() < 40
        )  # what is left is the page's own shade
    assert not visitor.page.locator(".bitlens-downloads button:visible").count()
    assert visitor.page.inner_text("#photo-answer") == before
    visitor.page.click("#photo-explain")
    after = visitor.answered()
    assert not mark.count()
    assert "keep = 0.5" in after
    assert bits_of(after) < bits_of(before)


def test_changes_are_followed_without_a_click_and_what_was_asked_before_is_up_to_date_again(visitor):
    visitor.take()
    slider = visitor.page.locator("#photo-keep input[type=range]")
    slider.focus()
    slider.press("ArrowLeft")
    visitor.page.wait_for_selector("#photo-result[data-stale]")
    slider.press("ArrowRight")  # back to what is shown
    visitor.page.wait_for_selector("#photo-result:not([data-stale])")
    slider.press("ArrowLeft")
    visitor.page.wait_for_function("document.querySelector('#photo-answer').innerText.includes('keep = 0.89')")


def test_the_slider_moves_through_the_curve_without_asking_again(visitor):
    said_first = visitor.take()
    slider = visitor.page.locator("#photo-answer .tradeoff input")
    assert "of the decision is held" in said_first
    picture, said = visitor.page.locator("#photo-answer img.step:visible"), visitor.page.locator(".tradeoff-said")
    shown, text, asked = picture.get_attribute("src"), said.inner_text(), len(visitor.asked)
    assert "level 0.90" in text
    widths = [
        visitor.page.locator(f"#photo-answer {one}").bounding_box()["width"]
        for one in (".map", "img.step >> visible=true")
    ]
    assert widths[1] < widths[0]  # the map stands above already
    slider.focus()
    slider.press("Home")
    assert picture.count() == 1
    assert picture.get_attribute("src") != shown
    assert "level 0.50" in said.inner_text()
    assert not [url for url in visitor.asked[asked:] if "queue" in url or "run" in url]
    assert bits_of(said.inner_text()) < bits_of(text)


def test_a_slider_goes_from_the_map_to_the_photo(visitor):
    visitor.take()
    slider = visitor.page.get_by_label("Map over the photo")
    photo = visitor.pixels("#photo-answer .stack >> nth=0")[4:100, 4:100]
    over = [visitor.pixels("#photo-answer .stack >> nth=1")[4:100, 4:100]]
    slider.focus()
    for _ in range(2):
        slider.press("PageDown")
    over.append(visitor.pixels("#photo-answer .stack >> nth=1")[4:100, 4:100])
    slider.press("Home")
    over.append(visitor.pixels("#photo-answer .stack >> nth=1")[4:100, 4:100])
    far = [abs(one - photo).mean() for one in over]
    assert far[0] > far[1] > far[2]
    assert far[2] < 0.2 * far[0]  # the two are drawn at places that differ by parts of a pixel


def test_layers_are_stages_in_order_of_depth_with_their_grids(visitor):
    visitor.page.locator("#photo-layer input").click()
    assert [one.inner_text().strip(" ✓\n") for one in visitor.page.get_by_role("option").all()] == [
        "relu · 48×48",
        "layer1 · 24×24",
        "layer2 · 12×12",
        "layer3 · 6×6",
        "layer4 · 6×6",
    ]


def test_the_likeliest_classes_have_bars_as_long_as_they_are_likely(visitor):
    visitor.take()
    rows = visitor.page.locator("#photo-answer .bitlens-says li").all()
    shares = [float(row.locator(".share").inner_text()) for row in rows]
    assert len(rows) == 5
    assert shares == sorted(shares, reverse=True)
    assert rows[0].inner_text().startswith("heart")
    for row, share in zip(rows, shares, strict=True):
        track, bar = row.locator(".track"), row.locator(".track span")
        width = bar.evaluate("e => e.getBoundingClientRect().width") / track.evaluate(
            "e => e.getBoundingClientRect().width"
        )
        assert width == pytest.approx(share, abs=0.01)


def test_every_control_says_what_it_is_for(address):
    config = json.loads(urllib.request.urlopen(f"{address}config", timeout=60).read())
    kinds = ("dropdown", "slider", "radio", "checkbox", "textbox")
    controls = [part for part in config["components"] if part["type"] in kinds]
    assert len(controls) > 12
    assert not [part["props"]["label"] for part in controls if not part["props"].get("info")]


def test_examples_are_pictures_of_what_they_are(visitor):
    buttons = visitor.page.locator("#photo-examples button").all()
    assert len(buttons) == 8
    for number, button in enumerate(buttons):
        assert button.get_attribute("aria-label") == f"Scene with a {open_dataset('builtin:scenes')[number].label}"
        assert button.locator("img").evaluate("e => e.naturalWidth") > 50
    visitor.open_tab("Signal")
    signals = visitor.page.locator("#signal-examples button").all()
    assert len(signals) == 4
    for button in signals:
        assert button.locator("img").evaluate("e => e.naturalWidth") > 50
    visitor.open_tab("Text")
    assert len(visitor.page.locator("#text-examples button").all()) == 4


def test_what_is_no_photo_gets_one_sentence_and_leaves_nothing_of_the_answer_before(visitor, tmp_path, capfd):
    visitor.take()
    visitor.clear()
    visitor.page.wait_for_function("document.querySelector('#photo-answer').innerText.includes('Drop a photo')")
    capfd.readouterr()
    (tmp_path / "no-photo.png").write_bytes(b"this is a text")
    visitor.upload(tmp_path / "no-photo.png")
    said = visitor.refused()
    assert said.count("no-photo.png") == 1
    assert "cannot read" in said
    assert len(said) < 200
    for left in (
        "#photo-answer img",
        ".bitlens-downloads button:visible",
        ".toast-wrap :visible",
        "#photo img:visible",
    ):
        assert not visitor.page.locator(left).count(), left
    assert "Traceback" not in "".join(capfd.readouterr())
    assert visitor.page.locator("#photo-explain").is_enabled()
    assert visitor.take(1).startswith("predicted ring")  # and another photo is explained


def test_what_is_too_large_gets_a_sentence(visitor, tmp_path):
    file = tmp_path / "noise.png"
    file.write_bytes(np.random.default_rng(0).integers(0, 255, 300_000, dtype=np.uint8).tobytes())
    visitor.upload(file)
    toast = visitor.page.locator(".toast-body, .toast-wrap").first
    toast.wait_for(state="visible")
    assert visitor.page.locator("#photo-explain").is_enabled()


def test_a_huge_picture_is_refused_before_it_fills_the_memory(visitor, tmp_path):
    file = tmp_path / "huge.png"
    file.write_bytes(huge_png(60_000))
    visitor.upload(file)
    assert "huge.png" in visitor.refused()


def test_two_visitors_do_not_mix(browser, address, tmp_path):
    people = [Visitor(browser, address), Visitor(browser, address)]
    for number, person in enumerate(people):
        person.upload(scene(tmp_path, number))
    names = [open_dataset("builtin:scenes")[number].label for number in range(2)]
    assert names[0] != names[1]
    said = [person.answered() for person in people]
    assert said[0] != said[1]
    assert "predicted heart" in said[0]
    assert "predicted heart" not in said[1]
    for person in people:
        person.context.close()


def test_words_of_a_text_are_shaded_by_several_methods(visitor):
    visitor.open_tab("Text")
    visitor.page.locator("#text textarea").fill("A wonderful film, and <b>moving</b>.")
    visitor.page.click("#text-explain")
    shown = visitor.answered("text")
    assert shown.startswith("predicted positive")
    assert "bits in total" in shown
    assert "<b>moving</b>" in shown  # what a visitor writes stays text
    visitor.page.locator("#text-methods input").click()
    visitor.page.get_by_role("option", name="occlusion", exact=True).click()
    visitor.page.keyboard.press("Escape")
    visitor.page.wait_for_function("document.querySelectorAll('#text-answer article').length === 2")
    visitor.answered("text")
    boxes = [one.bounding_box() for one in visitor.page.locator("#text-answer article").all()]
    assert boxes[0]["y"] == boxes[1]["y"]  # side by side
    with visitor.page.expect_download() as waiting:
        visitor.page.click("#text-download-page")
    page = Path(waiting.value.path()).read_text("utf-8")
    assert page.count("wonderful") > 2


def test_a_signal_is_explained_as_a_photo_is(visitor, tmp_path):
    visitor.open_tab("Signal")
    assert visitor.take(0, "signal").startswith("predicted pressed (0.9")
    assert "128" in visitor.page.locator("#signal-layer input").input_value()
    picture = visitor.page.locator("#signal-answer .bitlens-figures img.map").bounding_box()
    assert picture["width"] > 1.5 * picture["height"]
    assert visitor.page.locator("#signal-answer .tradeoff").count() == 1
    (tmp_path / "own.csv").write_text("a\nno number\n", "utf-8")
    visitor.page.locator("#signal-result").evaluate("e => e.scrollIntoView()")
    visitor.page.locator("#signal button[aria-label='Clear'], #signal button[aria-label^='Remove']").first.click()
    visitor.page.locator("#signal input[type=file]").set_input_files(str(tmp_path / "own.csv"))
    visitor.page.wait_for_selector("#signal-answer .bitlens-refused")
    assert "own.csv" in visitor.page.inner_text("#signal-answer")


@pytest.mark.parametrize("path", ["/etc/passwd", str(Path(__file__).resolve()), "pyproject.toml"])
def test_files_of_the_machine_stay_hidden(address, path):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address.rstrip('/')}/gradio_api/file={path}", timeout=60)
    assert refused.value.code in (403, 404)


def test_on_a_desktop_all_begins_above_the_fold_and_the_answer_stands_beside_the_input(visitor):
    visitor.take()
    boxes = {name: visitor.page.locator(f"#photo-{name}").bounding_box() for name in ("explain", "examples", "result")}
    assert boxes["explain"]["y"] + boxes["explain"]["height"] < DESKTOP["height"]
    assert boxes["examples"]["x"] + boxes["examples"]["width"] <= boxes["result"]["x"]
    assert boxes["result"]["y"] < 200
    heading = visitor.page.locator("#photo-answer h2")
    at = "e => { const b = e.getBoundingClientRect(); return document.elementFromPoint(b.x + 5, b.y + b.height / 2) === e }"
    assert heading.evaluate(at)  # nothing covers it


def test_on_a_phone_the_answer_comes_into_view_stacked_and_readable(browser, address):
    person = Visitor(browser, address, viewport=PHONE)
    person.take(2)
    assert person.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert 0 <= person.page.locator("#photo-answer h2").bounding_box()["y"] < PHONE["height"] / 3
    photo, first = (one.bounding_box() for one in person.page.locator("#photo-answer .stack").all())
    assert photo["y"] + photo["height"] <= first["y"]
    button, answer, settings = (
        person.page.locator(place).bounding_box() for place in ("#photo-explain", "#photo-result", "#photo-layer")
    )
    assert button["y"] < answer["y"]
    assert answer["y"] + answer["height"] <= settings["y"]  # nothing stands between an input and its answer
    small = """() => [...document.querySelectorAll('*')].filter(
        e => e.checkVisibility() && !e.closest('svg') && parseFloat(getComputedStyle(e).fontSize) < 12
            && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())
    ).map(e => e.textContent.trim())"""
    drawn = "() => document.querySelector('.tradeoff svg').getBoundingClientRect().width / 340"
    assert person.page.evaluate(small) == []
    assert 11 * person.page.evaluate(drawn) > 9
    person.context.close()


@pytest.mark.skipif(AXE is None, reason="axe-playwright-python is not installed")
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_state_of_the_page_has_a_fault_that_axe_knows(browser, address, scheme, size, tmp_path):
    person = Visitor(browser, address, viewport=size, color_scheme=scheme)
    script = Path(AXE.origin).with_name("axe.min.js").read_text("utf-8")
    person.page.evaluate(script)

    def faults():
        for _ in range(3):  # while colours fade, none is what it will be
            found = person.page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})")
            if not found["violations"]:
                break
            person.page.wait_for_timeout(1000)
        return [(one["id"], one["nodes"][0]["html"][:100]) for one in found["violations"]]

    assert faults() == []
    person.take()
    assert faults() == []
    if scheme == "dark":  # no white slab
        assert np.median(person.pixels("#photo-answer")) < 100
    person.ask_no_more()
    person.page.locator("#photo-keep input[type=range]").press("ArrowLeft")
    person.page.wait_for_selector(".bitlens-stale p:visible")
    assert faults() == []
    person.clear()
    (tmp_path / "no-photo.png").write_bytes(b"this is a text")
    person.upload(tmp_path / "no-photo.png")
    person.refused()
    assert faults() == []
    person.open_tab("Signal")
    person.take(1, "signal")
    assert faults() == []
    person.open_tab("Text")
    person.take(1, "text")
    assert faults() == []
    person.open_tab("Answer")
    person.take(1, "answer")
    assert faults() == []
    if scheme == "dark":
        assert np.median(person.pixels("#answer-answer")) < 100
    person.context.close()


def test_answers_follow_the_theme_that_a_visitor_chose_against_the_system_s(browser, address):
    person = Visitor(browser, f"{address}?__theme=dark", color_scheme="light")
    for tab in ("Signal", "Text"):
        person.open_tab(tab)
        person.take(0, tab.lower())
        pixels = person.pixels(f"#{tab.lower()}-answer")
        assert np.median(pixels) < 100  # no white slab
        assert (pixels > 200).all(axis=2).any()  # and letters that are read on it
    person.context.close()


def test_choosing_a_part_of_an_answer_lights_what_it_used(visitor):
    one = questions(3)[2]
    visitor.open_tab("Answer")
    visitor.page.locator("#answer-said textarea").fill(f" {one.answer}")
    visitor.take(2, "answer")
    parts = visitor.page.locator("#answer-answer .part input")
    assert parts.count() == 1
    strongest = visitor.page.evaluate(
        """() => [...document.querySelectorAll('#answer-answer .word')]
            .map(word => [parseFloat(word.style.getPropertyValue('--share')), word.textContent])
            .sort((a, b) => b[0] - a[0]).slice(0, 5).map(pair => pair[1].replace('.', ''))"""
    )
    assert one.answer in strongest
    assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_for_and_against_an_answer_have_two_colours_and_a_phone_shows_its_prompt_once(browser, address):
    person = Visitor(browser, address, viewport=PHONE)
    person.open_tab("Answer")
    person.page.get_by_label("And what speaks against it?").last.check()
    assert "orange for the answer, blue against it" in person.take(0, "answer")
    assert person.page.locator("#answer-answer .word.against").count() > 0
    colours = person.page.evaluate(
        """() => ['.word:not(.against)', '.word.against'].map(which => {
            const words = [...document.querySelectorAll(`#answer-answer ${which}`)];
            words[0].style.setProperty('--share', '100%');
            return getComputedStyle(words[0]).backgroundColor;
        })"""
    )
    assert colours[0] != colours[1]
    prompt = person.page.locator("#answer-prompt textarea")
    assert prompt.bounding_box()["height"] < 50
    prompt.focus()
    assert prompt.bounding_box()["height"] > 80
    person.context.close()


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
