"""The documentation as readers see it: formulas typeset, nothing fetched or clipped, and no fault that axe-core knows."""

import http.server
import os
import shutil
import threading
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = find_spec("axe_playwright_python")
DOCS = Path(__file__).parents[2] / "docs"
EVERY = [
    path.relative_to(DOCS).with_suffix("").as_posix()
    for path in sorted(DOCS.rglob("*.md"))
    if "assets" not in path.parts
]
NAMES = [page for page in EVERY if page.startswith("api/")]
# Pages of names are made alike: two stand for all. BITLENS_EVERY_PAGE=1 looks at each page in each view, which takes long.
ALL = bool(os.environ.get("BITLENS_EVERY_PAGE"))
PAGES = EVERY if ALL else [page for page in EVERY if page not in NAMES[2:]]
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
VIEWS = (
    [(size, scheme) for size in SIZES for scheme in ("light", "dark")]
    if ALL
    else [("desktop", "light"), ("phone", "dark")]
)
LINES = """cells => cells.filter(cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    const tops = [...range.getClientRects()].map(line => line.top);
    return Math.max(...tops) - Math.min(...tops) > 8;
}).length"""
ALIKE = "for (const body of document.querySelectorAll('tbody')) [...body.rows].slice(6).forEach(row => row.remove())"
"""Rows of a table are made alike: the first stand for all."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
    pytest.mark.skipif(AXE is None, reason="axe-playwright-python is not installed"),
]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(site):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(params=VIEWS, ids="-".join)
def tab(request, browser):
    view, scheme = request.param
    width, height = SIZES[view]
    size = {"width": width, "height": height}
    # without motion: a colour that fades is none that the page is set in
    with browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce") as context:
        yield context.new_page()


def where(page):
    """The address of a page of the menu."""
    name = page.removesuffix("index")
    return name if not name or name.endswith("/") else f"{name}/"


def opened(tab, address, page):
    tab.goto(f"{address}/{where(page)}")
    if tab.locator(".arithmatex").count():
        tab.wait_for_function("() => window.MathJax?.startup?.promise")
        tab.evaluate("MathJax.startup.promise")
    tab.evaluate("document.fonts.ready.then(() => new Promise(done => setTimeout(done)))")


def test_no_page_has_a_fault(tab, address):
    """Nothing is fetched from elsewhere, clipped, broken or left unset, and axe-core has nothing to say."""
    faults, formulas = [], 0
    tab.on(
        "request", lambda asked: None if asked.url.startswith((address, "data:", "blob:")) else faults.append(asked.url)
    )
    tab.on("response", lambda got: faults.append(got.url) if got.status >= 400 else None)
    tab.on("pageerror", lambda error: faults.append(str(error)))
    for page in PAGES:  # each is opened once: that is most of the work
        opened(tab, address, page)
        made = tab.locator(".arithmatex").count()
        formulas += made
        faults += [f"{page} {fault}" for fault in (*clipped(tab), *unset(tab, made), *known_to_axe(tab))]
    assert not faults
    assert formulas > 20


def clipped(tab):
    if tab.evaluate("document.documentElement.scrollWidth > innerWidth"):
        yield "is wider than its window"
    if tab.locator("img").evaluate_all("all => all.some(one => one.complete && !one.naturalWidth)"):
        yield "has a broken picture"
    wrapped = tab.locator("td.number, td.name").evaluate_all(LINES)
    if wrapped:
        yield f"wraps {wrapped} numbers"


def unset(tab, made):
    if tab.locator(".arithmatex > mjx-container").count() != made or tab.locator("mjx-merror").count():
        yield "has a formula that is not typeset"
    if tab.evaluate("Boolean(window.MathJax)") != bool(made):
        yield "loads the typesetting of formulas without having any, or does not"


def known_to_axe(tab):
    tab.evaluate(ALIKE)
    tab.add_script_tag(path=Path(AXE.origin).with_name("axe.min.js"))
    found = tab.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})")
    for fault in found["violations"]:
        yield f"{fault['id']}: {fault['nodes'][0]['html'][:120]}"
