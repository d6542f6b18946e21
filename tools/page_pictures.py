"""Takes pictures of pages (needs chromium and playwright).

python tools/page_pictures.py                    # docs/app.png and docs/app-dark.png
python tools/page_pictures.py DIR                # every tab with an answer, to look at: desktop and phone, light and dark
python tools/page_pictures.py DIR FILE.html ...  # the same of other pages: reports, documents
"""

import io
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from bitlens.app import Offers, serve
from bitlens.errors import DependencyError
from bitlens.system.files import write_bytes
from bitlens.system.optional import need

DOCS = Path(__file__).parents[1] / "docs"
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
SCHEMES = ("light", "dark")
TABS = {"Photo": "photo", "Signal": "signal", "Text": "text", "Answer": "answer"}
_PATIENCE = 300_000  # milliseconds


@contextmanager
def started() -> Iterator[Any]:
    """Start a browser."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise DependencyError("there is no chromium on this machine: install it")
    with need("playwright.sync_api", "dev").sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def served() -> Iterator[str]:
    """Serve the page with the bundled networks, at an address of its own."""
    options: dict[str, Any] = {"host": "127.0.0.1", "port": None, "max_upload": "200kb", "open_browser": False}
    page, address = serve(Offers.bundled(), "cpu", **options, wait=False)
    yield address
    page.close()


def opened(browser: Any, address: str, size: str, scheme: str) -> Any:
    """Open a page in a window of a size, in a scheme of colours."""
    width, height = SIZES[size]
    view = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    view.set_default_timeout(_PATIENCE)
    view.goto(address)
    return view


def answered(view: Any, tab: str) -> None:
    """Take the first example of a tab, and wait for its answer."""
    view.get_by_role("tab", name=tab).click()
    view.locator(f"#{TABS[tab]}-examples button").first.click()
    view.wait_for_selector(f"#{TABS[tab]}-result .bitlens-downloads button:not([disabled])")


def shot(view: Any, file: Path, **options: Any) -> None:
    """Write what is seen to a file, in all its colours: in a palette the highest places of a map would lose theirs."""
    stream = io.BytesIO()
    Image.open(io.BytesIO(view.screenshot(**options))).convert("RGB").save(stream, "PNG", optimize=True)
    write_bytes(file, stream.getvalue())


def of_the_documents() -> None:
    """Explain the first bundled scene, and take its picture in light and dark."""
    with served() as address, started() as browser:
        for scheme, name in zip(SCHEMES, ("app.png", "app-dark.png"), strict=True):
            view = opened(browser, address, "desktop", scheme)
            answered(view, "Photo")
            shot(view, DOCS / name)


def of_all_tabs(folder: Path) -> None:
    """Take a picture of each tab with an answer, in each size and scheme."""
    with served() as address, started() as browser:
        for size, scheme in ((size, scheme) for size in SIZES for scheme in SCHEMES):
            view = opened(browser, address, size, scheme)
            for tab, name in TABS.items():
                answered(view, tab)
                shot(view, folder / f"{name}-{size}-{scheme}.png", full_page=True)
            view.close()


def of_files(folder: Path, files: list[str]) -> None:
    """Take a picture of each page, whole, in each size and scheme."""
    with started() as browser:
        for file in map(Path, files):
            for size, scheme in ((size, scheme) for size in SIZES for scheme in SCHEMES):
                view = opened(browser, file.resolve().as_uri(), size, scheme)
                for picture in view.locator("img[loading=lazy]").all():
                    picture.evaluate("e => { e.loading = 'eager'; }")
                view.wait_for_load_state("networkidle")
                name = file.parent.name if file.stem == "index" else file.stem
                shot(view, folder / f"{name}-{size}-{scheme}.png", full_page=True)
                view.close()


def main(arguments: list[str]) -> None:
    """Take the pictures that are asked for."""
    if not arguments:
        return of_the_documents()
    folder, *files = arguments
    return of_files(Path(folder), files) if files else of_all_tabs(Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
