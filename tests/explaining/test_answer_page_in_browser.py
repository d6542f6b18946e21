"""The page of an answer in a real browser: choosing a sentence lights its words, by mouse and keyboard, wide and narrow."""

import shutil
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitlens.data.passages import Prompt
from bitlens.view.answer_page import ShownAnswer, answer_fragment, answer_page
from bitlens.view.shaded import ShadedText, pieces_of, word_scale

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]
AXE = find_spec("axe_playwright_python")
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
READ = "Ann found the key. The key is under the bridge. " + "Nobody saw it. " * 30
SAID = " Ann has it. It lies there."
SPANS = [(1, 12), (13, 27)]


def shown():
    """An answer of two sentences: the first used "Ann", the second "bridge." and, against it, "Nobody"."""
    words = [piece.span for piece in Prompt.of(READ).pieces("word")]
    texts = [READ[slice(*span)] for span in words]
    values = [[0.0] * len(words), [0.0] * len(words)]
    values[0][texts.index("Ann")], values[1][texts.index("bridge.")], values[1][texts.index("Nobody")] = 8.0, 6.0, -3.0
    scale = word_scale([pieces_of(READ, words, own) for own in values], "score", signed=True)
    prompts = [ShadedText(pieces_of(READ, words, own), scale, "", (f"part {n}",)) for n, own in enumerate(values)]
    return ShownAnswer(SAID, SPANS, prompts)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Open a page in a window; what it asks for beyond itself is written down."""
    contexts = []

    def open_page(html, **options):
        file = tmp_path / "page.html"
        file.write_text(html, "utf-8")
        context = browser.new_context(**{"viewport": DESKTOP, **options})
        contexts.append(context)
        page = context.new_page()
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: page.asked.append(str(error)))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


def lit(page, which=".answered"):
    """Return the words that are shaded, strongest first, those against the answer behind a minus."""
    return page.evaluate(
        """which => [...document.querySelectorAll(`${which} .word`)]
            .map(word => [parseFloat(word.style.getPropertyValue('--share')), word])
            .filter(pair => pair[0] > 0).sort((a, b) => b[0] - a[0])
            .map(([, word]) => (word.classList.contains('against') ? '-' : '') + word.textContent)""",
        which,
    )


def test_choosing_a_sentence_lights_its_words_and_its_notes(opened):
    page = opened(answer_page([shown()], "An answer"))
    assert lit(page) == ["Ann"]
    assert page.locator(".told:visible .note").inner_text() == "part 0"
    page.get_by_text("It lies there.").click()
    assert lit(page) == ["bridge.", "-Nobody"]
    assert page.locator(".told:visible .note").inner_text() == "part 1"
    assert page.locator(".word", has_text="bridge.").get_attribute("title") == "6 score"
    assert len(page.asked) == 1  # itself


def test_it_is_used_with_the_keyboard_alone(opened):
    page = opened(answer_page([shown(), shown()], "Two answers"))
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert lit(page, "form:nth-of-type(1)") == ["bridge.", "-Nobody"]
    assert lit(page, "form:nth-of-type(2)") == ["Ann"]  # its radio buttons are its own
    assert page.evaluate("getComputedStyle(document.activeElement.closest('.part')).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.url.endswith("page.html")  # the form goes nowhere
    assert lit(page, "form:nth-of-type(1)") == ["bridge.", "-Nobody"]


def test_in_a_notebook_it_behaves_alike(opened):
    cells = "".join(f"<div>{answer_fragment([shown()])}</div>" for _ in range(2))
    page = opened(f"<!doctype html><title>notebook</title>{cells}")
    page.get_by_text("It lies there.").nth(1).click()
    assert lit(page, "div:nth-of-type(1)") == ["Ann"]
    assert lit(page, "div:nth-of-type(2)") == ["bridge.", "-Nobody"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_fits_wide_and_narrow_light_and_dark_and_has_no_fault_that_axe_knows(opened, size, scheme):
    page = opened(answer_page([shown()], "An answer"), viewport=size, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    before = np.median(np.asarray(Image.open(BytesIO(page.screenshot())).convert("L")))
    assert (before < 100) == (scheme == "dark")
    if size == PHONE:
        assert page.locator(".part").first.bounding_box()["height"] >= 24
    if AXE is None:
        pytest.skip("axe-playwright-python is not installed")
    page.evaluate(Path(AXE.origin).with_name("axe.min.js").read_text("utf-8"))
    for _ in range(2):
        assert page.evaluate("axe.run()")["violations"] == []
        page.get_by_text("It lies there.").click()
