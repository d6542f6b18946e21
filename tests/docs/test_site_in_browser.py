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
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")]


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


def test_no_page_is_clipped_or_fetches_or_fails(tab, address):
    faults = []
    tab.on(
        "request", lambda asked: None if asked.url.startswith((address, "data:", "blob:")) else faults.append(asked.url)
    )
    tab.on("response", lambda got: faults.append(got.url) if got.status >= 400 else None)
    tab.on("pageerror", lambda error: faults.append(str(error)))
    for page in PAGES:
        opened(tab, address, page)
        if tab.evaluate("document.documentElement.scrollWidth > innerWidth"):
            faults.append(f"{page} is wider than its window")
        if tab.locator("img").evaluate_all("all => all.some(one => one.complete && !one.naturalWidth)"):
            faults.append(f"{page} has a broken picture")
        wrapped = tab.locator("td.number, td.name").evaluate_all(LINES)
        if wrapped:
            faults.append(f"{page} wraps {wrapped} numbers")
    assert not faults


def test_every_formula_is_typeset(tab, address):
    formulas = 0
    for page in PAGES:
        opened(tab, address, page)
        made = tab.locator(".arithmatex").count()
        assert tab.locator(".arithmatex > mjx-container").count() == made
        assert tab.locator("mjx-merror").count() == 0
        assert tab.evaluate("Boolean(window.MathJax)") == bool(made)  # others load nothing
        formulas += made
    assert formulas > 20


@pytest.mark.skipif(AXE is None, reason="axe-playwright-python is not installed")
def test_no_page_has_a_fault_that_axe_knows(tab, address):
    script = Path(AXE.origin).with_name("axe.min.js")
    faults = []
    for page in PAGES:
        opened(tab, address, page)
        tab.add_script_tag(path=script)
        found = tab.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})")
        faults += [(page, fault["id"], fault["nodes"][0]["html"][:120]) for fault in found["violations"]]
    assert not faults
