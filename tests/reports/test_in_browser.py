"""The report in a real browser: what a reader does with it, on a screen, on a phone, in the dark and on paper."""

import json
import shutil
from importlib.util import find_spec
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import small_evaluation
import small_results
from bitlens.reports import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
AXE = find_spec("axe_playwright_python")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]
LONG = "a very long name of a class, with synonyms and Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen {}"


def wait_until(page, expression):
    """Ask again until it is true; playwright's own waiting evaluates strings within the page, which its policy forbids."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {expression}")


def answer(folder, right):
    """Say in a summary what the network predicts, and what photos are."""
    summary = json.loads((folder / "summary.json").read_text())
    for row in summary["photos"]:
        good = right[int(row["files"].partition(".")[0].rpartition("-")[2])]
        row |= {"predicted": row["name"], "predicted_probability": row["probability_before"]}
        row["label"] = row["name"] if good else "something else"
    (folder / "summary.json").write_text(json.dumps(summary))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A page with photos, a text and an evaluation."""
    from bitlens.evaluation.run import carry_out, find_tasks

    home = tmp_path_factory.mktemp("report")
    small_evaluation.make_home(home)
    context = small_evaluation.context_for(home, "iba,gradient,random", "degradation-8,bbox")
    carry_out(context, home / "out", find_tasks(context, home / "out", range(5), retry_errors=False))
    folder = small_results.write_results(home / "r", 3, name=LONG, stem="photo-with-a-name-without-any-spaces-in-it-{}")
    answer(folder, right=(True, False, True))
    texts = home / "texts.json"
    words = [{"word": "so", "value": 0.5, "span": [0, 2]}, {"word": "bad", "value": 2.0, "span": [3, 6]}]
    row = {"name": "a review", "text": "so bad", "unit": "bits/token", "method": "iba", "words": words}
    texts.write_text(
        json.dumps([row | {"target": "negative", "prediction": "negative", "prediction_probability": 0.9}])
    )
    write_report([folder, texts, home / "out"], home / "report.html")
    return home / "report.html"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, report):
    """Opens the page; every request that is not the file itself, and every complaint of the browser, fails the test."""
    contexts, outside, complaints = [], [], []

    def open_page(**options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda sent: outside.append(sent.url) if not sent.url.startswith("data:") else None)
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(report.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert set(outside) == {report.as_uri()}
    assert complaints == []


def pixels(shot):
    """The inner pixels of a screenshot; where its edges fall is a matter of rounding."""
    return np.asarray(Image.open(BytesIO(shot)).convert("RGB"), dtype=float)[4:100, 4:100]


def test_the_slider_goes_from_the_map_to_the_photo(opened):
    page = opened(viewport={"width": 1280, "height": 900})
    card = page.locator("article").first
    slider, stack = card.get_by_label("Maps over the photo"), card.locator(".stack")
    photo, with_map = pixels(stack.nth(0).screenshot()), pixels(stack.nth(1).screenshot())
    assert abs(photo - with_map).mean() > 20
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    assert card.locator("output").inner_text() == "0 %"
    wait_until(page, "[...document.querySelectorAll('.below')].every(image => image.complete)")
    for number in (1, 2):
        assert abs(pixels(stack.nth(number).screenshot()) - photo).mean() < 2
    page.keyboard.press("End")
    assert abs(pixels(stack.nth(1).screenshot()) - with_map).mean() < 1
    other = page.locator("article").nth(1).locator("input")
    assert other.input_value() == "100"  # each photo has its own


def test_tables_are_sorted_by_numbers_from_the_keyboard(opened):
    page = opened(viewport={"width": 1280, "height": 900})
    table = page.locator("table.sortable", has_text="degradation-8").first
    head = table.get_by_role("button", name="degradation-8")

    def values():
        return [float(row.get_attribute("data-key")) for row in table.locator("tbody td:nth-child(2)").all()]

    before = values()
    head.focus()
    page.keyboard.press("Enter")
    assert values() == sorted(before, reverse=True)  # higher is better: the best comes first
    assert table.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")
    assert values() == sorted(before)
    assert page.locator("#said").inner_text() == "sorted, ascending"
    assert table.locator("tfoot tr").count() == 1  # the numbers of samples stay below
    overview = page.locator("table.sortable").first
    overview.get_by_role("button", name="photo").click()
    assert overview.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"


def test_a_map_is_enlarged_and_left_by_the_keyboard(opened):
    page = opened(viewport={"width": 1280, "height": 900})
    card = page.locator("article").first
    button = card.get_by_role("button", name="Enlarge the map of iba")
    small = card.locator(".over").first.bounding_box()
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert "iba" in page.locator("#large-title").inner_text()
    assert dialog.locator(".over").bounding_box()["height"] > 1.5 * small["height"]
    assert "bits/pixel" in dialog.locator(".scale").inner_text()
    for _ in range(12):  # the focus stays within
        page.keyboard.press("Tab")
        assert page.evaluate(
            "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
        )
    with_map = pixels(dialog.locator(".stack").screenshot())
    slider = dialog.get_by_label("Map over the photo")
    slider.focus()
    page.keyboard.press("Home")
    wait_until(page, "[...document.querySelectorAll('#large .below')].every(image => image.complete)")
    assert abs(pixels(dialog.locator(".stack").screenshot()) - with_map).mean() > 20
    assert "iba" in page.locator("#large-title").inner_text()  # a slider's keys are its own
    dialog.get_by_role("button", name="Close").focus()
    page.keyboard.press("ArrowRight")
    assert "gradient" in page.locator("#large-title").inner_text()
    assert not dialog.get_by_role("button", name="Next").is_visible()  # it was the last
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#large-title").inner_text().startswith("photo")
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert button.evaluate("one => one === document.activeElement")  # back where it began
    card.locator(".over").last.click()
    assert dialog.is_visible()
    page.mouse.click(4, 4)
    assert not dialog.is_visible()


def test_samples_are_filtered_by_class_and_by_right_or_wrong(opened):
    page = opened(viewport={"width": 1280, "height": 900})
    shown = page.locator("article:visible")
    assert shown.count() == 4  # three photos, a text
    assert page.locator("article h2").first.inner_text() == f"predicted {LONG.format(0)} (0.90)"
    page.get_by_label("Answer", exact=True).select_option("wrong")
    assert shown.count() == 1
    assert "label something else: wrong" in shown.inner_text()
    assert page.locator("tbody tr:has(a):visible").count() == 1  # the table of all photos follows
    assert page.locator("#filter-said").inner_text() == "1 of 4 shown"
    page.get_by_label("Class", exact=True).select_option(LONG.format(0))
    assert shown.count() == 0
    page.get_by_label("Answer", exact=True).select_option("all")
    assert shown.count() == 1
    page.get_by_label("Class", exact=True).select_option("negative")
    assert "so bad" in shown.inner_text()
    page.get_by_label("Class", exact=True).select_option("all")
    assert shown.count() == 4


def test_heads_and_first_columns_stay_in_sight(opened):
    page = opened(viewport={"width": 390, "height": 700})
    place = page.locator(".scroll", has_text="degradation-8").first
    place.evaluate("one => { one.style.maxHeight = '8rem'; one.scrollTo(120, 60); }")
    moved = place.evaluate("one => [one.scrollLeft, one.scrollTop]")
    assert min(moved) > 20
    frame = place.bounding_box()
    assert place.locator("thead th").nth(1).bounding_box()["y"] == pytest.approx(frame["y"], abs=2)
    assert place.locator("tbody th").last.bounding_box()["x"] == pytest.approx(frame["x"], abs=2)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_plots_have_the_colours_of_the_page_and_fit_it(opened, width, scheme):
    page = opened(viewport={"width": width, "height": 800}, color_scheme=scheme)
    drawings = page.locator(".drawing svg")
    assert drawings.count() == 4
    for drawing in drawings.all():
        drawing.scroll_into_view_if_needed()
        shot = pixels(drawing.screenshot())
        assert np.median(shot) > 230 if scheme == "light" else np.median(shot) < 60
        box = drawing.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        sizes = drawing.locator("text").evaluate_all("all => all.map(one => one.getBoundingClientRect().height)")
        assert min(sizes) > 10  # about the letters' size on the screen


@pytest.mark.skipif(AXE is None, reason="axe-playwright-python is not installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_axe_knows_no_fault(browser, report, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(report.as_uri())
    page.add_script_tag(path=Path(AXE.origin).with_name("axe.min.js"))
    for opened_first in (False, True):
        if opened_first:
            page.locator("button.enlarge").nth(1).click()
        found = page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})")
        assert [(fault["id"], fault["nodes"][0]["html"][:120]) for fault in found["violations"]] == []
    context.close()


def test_the_overview_leads_to_the_photo(opened):
    page = opened(viewport={"width": 1280, "height": 700})
    page.locator("tbody a").nth(2).click()
    wait_until(page, "document.querySelector('#photo-3').getBoundingClientRect().top < innerHeight / 2")


def test_nothing_is_wider_than_the_screen(opened):
    page = opened(viewport={"width": 1280, "height": 800})
    page.locator("summary").first.click()
    for width in (320, 390, 768, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        wider = page.evaluate(
            "[...document.querySelectorAll('main *, header *')].filter(one => !one.closest('.scroll, pre, .hidden')"
            f" && one.getBoundingClientRect().right > {width + 1}).map(one => one.outerHTML.slice(0, 80))"
        )
        assert wider == []


CONTRASTS = """() => {
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const numbers = text => text.match(/[\\d.]+/g).map(Number).map((n, i) => text.startsWith("color(") && i < 3 ? 255 * n : n);
  const ground = one => { for (let e = one; e; e = e.parentElement) {
    const c = numbers(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] === 1) return c; } return [255, 255, 255]; };
  const texts = [...document.querySelectorAll('main *, .top *, footer *')]
    .filter(one => [...one.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && one.getClientRects().length);
  return texts.map(one => { const [a, b] = [numbers(getComputedStyle(one).color), ground(one)].map(light);
    return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), one.className + ': ' + one.textContent.slice(0, 40)]; })
    .sort((a, b) => a[0] - b[0])[0];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_have_enough_contrast(opened, scheme):
    page = opened(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    ground = pixels(page.screenshot(clip={"x": 0, "y": 0, "width": 10, "height": 10})).mean()
    assert ground > 230 if scheme == "light" else ground < 40
    ratio, where = page.evaluate(CONTRASTS)
    assert ratio >= 4.5, where  # WCAG 2.2, AA


def test_on_paper_it_is_light_whole_and_without_controls(opened):
    page = opened(viewport={"width": 720, "height": 1000}, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert pixels(page.screenshot(clip={"x": 0, "y": 0, "width": 10, "height": 10})).mean() > 250
    for hidden in (".slider", ".copy", ".order"):
        assert not page.locator(hidden).first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 720
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Subtype /Image") >= 9  # three photos, six maps
    assert page.evaluate("[...document.querySelectorAll('details')].every(one => one.open)")


def test_without_scripts_everything_but_the_controls_is_there(opened):
    page = opened(viewport={"width": 1280, "height": 900}, java_script_enabled=False)
    assert page.locator("article .over").count() == 6
    assert page.locator(".evidence .meaning").first.is_visible()
    for hidden in (".slider", ".copy", ".order"):
        assert not page.locator(hidden).first.is_visible()


def test_every_control_has_a_name_and_is_reached_by_tab(opened):
    page = opened(viewport={"width": 1280, "height": 900})
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, a, [role=region], [role=img], [role=group]')]"
        ".filter(one => !(one.getAttribute('aria-label') || one.textContent.trim() || (one.labels || []).length)).length"
    )
    assert unnamed == 0
    reached = set()
    for _ in range(45):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className + ' ' + document.activeElement.tagName"))
    assert {"skip A", "sort BUTTON", " INPUT", "copy BUTTON", " SUMMARY"} <= reached
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map(one => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_the_command_is_copied(opened):
    page = opened(viewport={"width": 1280, "height": 900}, permissions=["clipboard-read", "clipboard-write"])
    button = page.locator("button.copy").first
    button.click()
    wait_until(page, "document.querySelector('button.copy').textContent !== 'Copy'")
    said = page.locator("#said").inner_text()
    assert said in ("Copied", "Press Ctrl+C")
    if said == "Copied":
        assert page.evaluate("navigator.clipboard.readText()").startswith("bitlens explain")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_a_curve_is_walked_with_the_keyboard(browser, tmp_path, width, scheme):
    folder = small_results.write_results(tmp_path / "r", 1)
    small_results.with_curve(small_results.RISING).save(folder / "photo-0.iba.safetensors")
    write_report([folder], tmp_path / "report.html")
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page, outside, complaints = context.new_page(), [], []
    page.on("console", lambda said: complaints.append(said.text))
    page.on("request", lambda sent: outside.append(sent.url) if not sent.url.startswith(("data:", "file:")) else None)
    page.goto((tmp_path / "report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    slider, said = page.locator(".tradeoff input"), page.locator(".tradeoff-said")
    assert "level 0.90: 400 bits hold 0.90 of the decision" in said.inner_text()
    slider.focus()
    slider.press("ArrowLeft")
    assert "level 0.85: 300 bits" in said.inner_text()
    assert "300 bits" in slider.get_attribute("aria-valuetext")
    assert page.locator(".tradeoff img.step:visible").count() == 1
    page.get_by_label("Maps over the photo").press("Home")  # the other slider moves something else
    assert "level 0.85: 300 bits" in said.inner_text()
    assert page.locator(".slider output").inner_text() == "0 %"
    context.close()
    assert outside == complaints == []
