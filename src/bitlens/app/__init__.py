"""The web page: photos and texts explained in a browser, on this machine."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from bitlens.app.evidence import STYLE
from bitlens.app.files import KEPT_SECONDS, Folders
from bitlens.app.gate import Gate, Hosts, Uploads
from bitlens.app.offers import Offer, Shelf, builtin_offers, builtin_text_offers, photo_desk, text_desk
from bitlens.app.photo_tab import PhotoTab
from bitlens.app.text_tab import TextTab
from bitlens.system.optional import need

__all__ = ["Offer", "builtin_offers", "builtin_text_offers", "make_page", "serve"]

_SWEEP_SECONDS = 300
_HEAD = (
    '<div class="bitlens-head"><h1>bitlens</h1>'
    "<p>Which parts of an input does a network use, in bits? Everything is computed on this machine.</p></div>"
)


def make_page(offers: Sequence[Offer], texts: Sequence[Offer], device: str, folders: Folders) -> Any:
    """Make the page, not yet served.

    Args:
        offers: the networks for photos.
        texts: the networks for texts.
        device: where networks run.
        folders: where files for visitors are put.

    Raises:
        DependencyError: without gradio.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ["GRADIO_TEMP_DIR"] = str(folders.uploads)
    gr = need("gradio", "app")
    with gr.Blocks(title="bitlens", analytics_enabled=False, delete_cache=(_SWEEP_SECONDS, KEPT_SECONDS)) as page:
        gr.HTML(_HEAD)
        with gr.Tab("Photo"):
            PhotoTab(Shelf(offers, device, photo_desk), folders).build()
        with gr.Tab("Text"):
            TextTab(Shelf(texts, device, text_desk), folders).build()
    return page.queue(default_concurrency_limit=1, max_size=64)


def serve(
    offers: Sequence[Offer],
    texts: Sequence[Offer],
    device: str,
    *,
    host: str,
    port: int | None,
    max_upload: str,
    open_browser: bool,
    wait: bool = True,
) -> tuple[Any, str]:
    """Serve the page until it is interrupted.

    Args:
        offers: the networks for photos.
        texts: the networks for texts.
        device: where networks run.
        host: the address to listen on; 127.0.0.1 for this machine alone.
        port: None for the first free one from 7860 on.
        max_upload: the largest file that is taken: `20mb`.
        open_browser: whether to show it at once.
        wait: until interrupted; else it goes on in the background.

    Returns:
        The page and its address.
    """
    gr = need("gradio", "app")
    folders = Folders()
    page = make_page(offers, texts, device, folders)
    theme = _theme(gr)
    uploads = Uploads()
    uploads.share([str(file) for file in folders.uploads.rglob("*") if file.is_file()])  # the examples

    @asynccontextmanager
    async def guarded(app: Any) -> AsyncIterator[None]:
        """Put the gate, before the first request, outside everything that the page is made of."""
        app.middleware_stack = Gate(app.middleware_stack, Hosts(host), uploads, str(folders.uploads))
        yield

    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            max_file_size=max_upload,
            inbrowser=open_browser,
            share=False,
            quiet=True,
            show_error=False,
            strict_cors=True,
            ssr_mode=False,
            enable_monitoring=False,
            footer_links=[],
            prevent_thread_lock=True,
            theme=theme,
            css=STYLE,
            run_history=False,
            app_kwargs={"lifespan": guarded},
        )
        if wait:
            print(f"bitlens is at {address} (Ctrl+C stops it)", flush=True)
            page.block_thread()
    finally:
        if wait:
            folders.remove()
    return page, address


def _theme(gr: Any) -> Any:
    """Look quiet, in light and dark, with the fonts that the visitor's machine has: nothing is fetched from elsewhere."""
    font = ["system-ui", "Segoe UI", "Helvetica", "sans-serif"]
    theme = gr.themes.Soft(
        primary_hue="orange", neutral_hue="slate", font=font, font_mono=["ui-monospace", "monospace"]
    )
    plain = {
        "block_title_background_fill": "none",
        "block_title_padding": "0",
        "block_title_text_color": "*body_text_color",
        "block_label_text_color": "*body_text_color",
        "block_label_background_fill": "*background_fill_secondary",
    }
    return theme.set(
        **plain, **{f"{name}_dark": value for name, value in plain.items() if name != "block_title_padding"}
    )
