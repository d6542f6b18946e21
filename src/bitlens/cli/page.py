"""`bitlens app`: the web page."""

from dataclasses import replace
from typing import Annotated

import typer

from bitlens.cli import early, options
from bitlens.errors import SettingError
from bitlens.system.console import note
from bitlens.system.optional import refuse_without

_HERE = ("127.0.0.1", "localhost", "::1")


def app(
    model: Annotated[
        list[str] | None, typer.Option("--model", help="A network to offer besides the bundled ones; can be repeated.")
    ] = None,
    statistics_from: Annotated[
        str | None,
        typer.Option(
            "--statistics-from",
            help="Photos that methods learn from, of your network: folder:DIR, ... (default: each photo's own places).",
        ),
    ] = None,
    text_model: Annotated[
        list[str] | None, typer.Option("--text-model", help="A network for texts to offer besides the bundled ones.")
    ] = None,
    text_statistics_from: Annotated[
        str | None,
        typer.Option(
            "--text-statistics-from",
            help="Texts for its statistics: jsonl:FILE or tsv:FILE (default: none are needed).",
        ),
    ] = None,
    language_model: Annotated[
        list[str] | None,
        typer.Option("--language-model", help="A language model whose answers are explained, besides the bundled one."),
    ] = None,
    weights: options.Weights = None,
    classes: options.Classes = None,
    host: Annotated[str, typer.Option("--host", help="Where to listen; by default this machine alone.")] = _HERE[0],
    port: Annotated[int | None, typer.Option("--port", help="By default the first free one from 7860 on.")] = None,
    max_upload: Annotated[str, typer.Option("--max-upload", help="The largest file that is taken.")] = "20mb",
    max_seconds: Annotated[
        float, typer.Option("--max-seconds", min=1, help="That a question may take, with what is learnt for it.")
    ] = 300.0,
    open_browser: Annotated[bool, typer.Option("--open", help="Show it in the browser at once.")] = False,
    device: options.Device = "auto",
) -> None:
    """Explain photos, signals, texts and answers of language models in a browser, on this machine."""
    models = model or []
    if len(models) > 1 and (weights or classes):
        raise SettingError("--weights and --classes go with one --model; start the page once for each")
    from bitlens.models.listing import check_language_model

    refuse_without("gradio", "app")
    early.check(*models, data=[statistics_from], files={"--weights": weights, "--classes": classes}, loads="")
    for spec in language_model or []:
        check_language_model(spec)
    early.check(*text_model or [], kind="text", data=[text_statistics_from], loads="torch and gradio")
    from bitlens.app import Offer, Offers, serve

    own_texts = [Offer(spec, text_statistics_from or "") for spec in text_model or []]
    own = [Offer(spec, statistics_from or "", weights, classes) for spec in models]
    if host not in _HERE:
        note(f"the page listens on {host}: whoever reaches this machine can use it; there is no password")
    bundled = Offers.bundled()
    serve(
        replace(
            bundled,
            photos=[*own, *bundled.photos],
            texts=[*own_texts, *bundled.texts],
            languages=[*map(Offer, language_model or []), *bundled.languages],
        ),
        options.device_name(device),
        host=host,
        port=port,
        max_upload=max_upload,
        open_browser=open_browser,
        seconds=max_seconds,
    )
