"""The web page: photos, signals, texts and answers explained in a browser, on this machine."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from bitlens.app.connections import close_idle
from bitlens.app.files import KEPT_SECONDS, Folders
from bitlens.app.gate import Gate, Hosts
from bitlens.app.input_tab import InputTab
from bitlens.app.kinds import PHOTOS, SIGNALS
from bitlens.app.language_tab import LanguageTab
from bitlens.app.offers import Offer, Offers, Shelf, input_desk, language_desk, text_desk
from bitlens.app.tab import MOST_SECONDS
from bitlens.app.text_tab import TextTab
from bitlens.app.uploads import Uploads
from bitlens.system.optional import need
from bitlens.view.answer_page import BEHAVIOUR
from bitlens.view.html import asset

__all__ = ["Offer", "Offers", "make_page", "serve"]

_SWEEP_SECONDS = 60
_HEAD = (
    '<div class="bitlens-head"><h1>bitlens</h1>'
    "<p>Which parts of an input does a network use, in bits? Everything is computed on this machine.</p></div>"
)


def make_page(offers: Offers, device: str, folders: Folders, seconds: float = MOST_SECONDS) -> Any:
    """Make the page, not yet served.

    Args:
        offers: the networks.
        device: where they run.
        folders: where files for visitors are put.
        seconds: that a question may take.

    Raises:
        DependencyError: without gradio.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ["GRADIO_TEMP_DIR"] = str(folders.uploads)
    gr = need("gradio", "app")
    with gr.Blocks(title="bitlens", analytics_enabled=False, delete_cache=(_SWEEP_SECONDS, KEPT_SECONDS)) as page:
        gr.HTML(_HEAD)
        with gr.Tab("Photo"):
            InputTab(PHOTOS, Shelf(offers.photos, device, input_desk), folders, seconds).build()
        with gr.Tab("Signal"):
            InputTab(SIGNALS, Shelf(offers.signals, device, input_desk), folders, seconds).build()
        with gr.Tab("Text"):
            TextTab(Shelf(offers.texts, device, text_desk), folders, seconds).build()
        with gr.Tab("Answer"):
            LanguageTab(Shelf(offers.languages, device, language_desk), folders, seconds).build()
    return page.queue(default_concurrency_limit=4, max_size=64)


def serve(
    offers: Offers,
    device: str,
    *,
    host: str,
    port: int | None,
    max_upload: str,
    open_browser: bool,
    wait: bool = True,
    seconds: float = MOST_SECONDS,
) -> tuple[Any, str]:
    """Serve the page until it is interrupted.

    Args:
        offers: the networks.
        device: where they run.
        host: the address to listen on; 127.0.0.1 for this machine alone.
        port: None for the first free one from 7860 on.
        max_upload: the largest file that is taken: `20mb`.
        open_browser: whether to show it at once.
        wait: until interrupted, or told to end by SIGTERM or SIGHUP; else it goes on in the background.
        seconds: that a question may take.

    Returns:
        The page and its address.
    """
    gr = need("gradio", "app")
    folders = Folders()
    page = make_page(offers, device, folders, seconds)
    theme = _theme(gr)
    uploads = Uploads()
    uploads.share([str(file) for file in folders.uploads.rglob("*") if file.is_file()])  # the examples

    @asynccontextmanager
    async def guarded(app: Any) -> AsyncIterator[None]:
        """Put the gate, before the first request, outside everything that the page is made of."""
        limits = {} if page.max_file_size is None else {"most_upload": int(page.max_file_size)}
        app.middleware_stack = Gate(app.middleware_stack, Hosts(host), uploads, str(folders.uploads), **limits)
        chores = [asyncio.create_task(chore) for chore in (close_idle(page), _sweep(folders, uploads))]
        yield
        for chore in chores:
            chore.cancel()

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
            css=_beside("page.css") + asset("tradeoff.css"),
            head=f"<script>{_beside('page.js')}</script><script>{BEHAVIOUR}</script>",
            run_history=False,
            app_kwargs={"lifespan": guarded},
        )
        if wait:
            print(f"bitlens is at {address} (Ctrl+C stops it)", flush=True)
            with _ended_by_signals():
                page.block_thread()
    finally:
        if wait:
            folders.remove()
    return page, address


def _beside(name: str) -> str:
    """Read a file that lies beside this one."""
    return Path(__file__).with_name(name).read_text("utf-8")


async def _sweep(folders: Folders, uploads: Uploads) -> None:
    """Remove, for as long as the page runs, what is older than half an hour."""
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        await asyncio.to_thread(folders.sweep, uploads.is_shared)
        await asyncio.to_thread(uploads.forget_missing)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let a polite kill and a closed terminal end the page as Ctrl+C does: visitors' files do not outlive it."""

    def stop(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    here = threading.current_thread() is threading.main_thread()
    wanted = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if here and hasattr(signal, name)]
    before = {one: signal.getsignal(one) for one in wanted if signal.getsignal(one) is not signal.SIG_IGN}  # nohup
    try:
        for one in before:
            signal.signal(one, stop)
        yield
    finally:
        for one, kept in before.items():
            signal.signal(one, kept)


def _theme(gr: Any) -> Any:
    """Look quiet, in light and dark, with the fonts that the visitor's machine has: nothing is fetched from elsewhere."""
    font = ["system-ui", "Segoe UI", "Helvetica", "sans-serif"]
    theme = gr.themes.Soft(
        primary_hue="orange", neutral_hue="slate", font=font, font_mono=["ui-monospace", "monospace"]
    )
    both = {
        "block_title_background_fill": "none",
        "block_title_text_color": "*body_text_color",
        "block_label_text_color": "*body_text_color",
        "block_label_background_fill": "*background_fill_secondary",
        "button_primary_background_fill": "*primary_700",  # of lighter ones white letters are hard to read
        "button_primary_background_fill_hover": "*primary_800",
        "checkbox_label_background_fill_selected": "*primary_700",
        "checkbox_label_text_color_selected": "white",
        "slider_color": "*primary_700",
    }
    quiet = ("body_text_color_subdued", "block_info_text_color", "input_placeholder_color")
    light = dict.fromkeys(quiet, "*neutral_600") | {"color_accent": "*primary_700", "block_title_padding": "0"}
    dark = {f"{name}_dark": "*neutral_300" for name in quiet}
    return theme.set(**both, **{f"{name}_dark": value for name, value in both.items()}, **light, **dark)
