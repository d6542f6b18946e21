"""Draws the pictures of the web page in the documentation: `python tools/page_pictures.py` (needs chromium and playwright)."""

import io
import shutil
from pathlib import Path
from typing import Any

from PIL import Image

from bitlens.app import builtin_language_offers, builtin_offers, builtin_text_offers, serve
from bitlens.errors import DependencyError
from bitlens.system.files import write_bytes
from bitlens.system.optional import need

DOCS = Path(__file__).parents[1] / "docs"
_COLOURS = 192  # a palette makes the files small, and nobody sees it


def main() -> None:
    """Serve the page, explain the first bundled scene, and take a picture of the answer in light and dark."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise DependencyError("there is no chromium on this machine: install it")
    options: dict[str, Any] = {"host": "127.0.0.1", "port": None, "max_upload": "200kb"}
    offers = builtin_offers(), builtin_text_offers(), builtin_language_offers()
    page, address = serve(*offers, "cpu", **options, open_browser=False, wait=False)
    with need("playwright.sync_api", "dev").sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme, name in (("light", "app.png"), ("dark", "app-dark.png")):
            view = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme=scheme)
            view.set_default_timeout(300_000)
            view.goto(address)
            view.locator("#photo-examples button").first.click()
            view.wait_for_selector(".bitlens-downloads button:not([disabled])")
            shot = Image.open(io.BytesIO(view.screenshot())).convert("RGB").quantize(_COLOURS)
            stream = io.BytesIO()
            shot.save(stream, "PNG", optimize=True)
            write_bytes(DOCS / name, stream.getvalue())
        browser.close()
    page.close()


if __name__ == "__main__":
    main()
