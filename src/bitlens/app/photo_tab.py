"""The tab for photos: what can be chosen, what is shown, and what happens when something changes."""

from collections.abc import Iterator
from functools import partial
from math import log10
from pathlib import Path
from typing import Any

from bitlens.app.answers import Answers, Question, Shown
from bitlens.app.evidence import evidence_html, message_html
from bitlens.app.files import Folders
from bitlens.app.offers import Desk, Shelf
from bitlens.app.work import Work
from bitlens.core.outputs import OutputChoice
from bitlens.data.datasets import open_dataset
from bitlens.errors import BitlensError, InputError
from bitlens.explaining.asked import OUTPUT_WORDS, read_target
from bitlens.explaining.pictures import write_picture, write_summary
from bitlens.methods import METHODS
from bitlens.reports import write_report
from bitlens.system.optional import need

_PREDICTED = "what the network says"
_SCENES = 8
_WAITING = "Drop a photo, or take one of the examples below. The map appears here."
_EXPONENTS = (-1.0, 3.0)


class PhotoTab:
    """Everything of the tab but its place on the page.

    Args:
        shelf: the networks that are offered.
        folders: where files for visitors are put.
    """

    def __init__(self, shelf: Shelf, folders: Folders) -> None:
        self._shelf, self._folders = shelf, folders
        self._answers: dict[str, Answers] = {}
        self._gradio = need("gradio", "app")

    def build(self) -> None:
        """Put the tab on the page that is being built."""
        gr, first = self._gradio, self._shelf.desk(self._shelf.labels[0])
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                photo = _upload(gr, self._folders)
                network = gr.Dropdown(list(self._shelf.labels), value=self._shelf.labels[0], label="Network")
                methods = gr.Dropdown(
                    list(METHODS["image"]),
                    value=["iba"],
                    multiselect=True,
                    max_choices=6,
                    label="Methods, side by side",
                )
                layer = gr.Slider(**_layer_choice(first), step=1, elem_id="layer")
                beta = gr.Slider(
                    *_EXPONENTS, value=_exponent(first.beta), step=0.25, label=_beta_label(first.beta), elem_id="beta"
                )
                target = gr.Dropdown(**_target_choice(first))
                quality = gr.Radio(["fast", "paper", "best"], value="fast", label="Work for a map")
                with gr.Row():
                    go = gr.Button("Explain", variant="primary", elem_id="explain")
                    stop = gr.Button("Stop", elem_id="stop")
            with gr.Column(scale=3, min_width=340):
                evidence = gr.HTML(message_html(_WAITING), elem_id="evidence")
                picture = gr.Image(
                    label="Map",
                    type="filepath",
                    interactive=False,
                    buttons=["download", "fullscreen"],
                    format="png",
                    elem_id="map",
                )
                with gr.Row():
                    downloads = [
                        gr.DownloadButton(text, interactive=False, elem_id=f"download-{kind}")
                        for kind, text in (
                            ("picture", "Picture (png)"),
                            ("report", "Report (html)"),
                            ("map", "Map (npy)"),
                            ("full", "Attribution (safetensors)"),
                        )
                    ]
        gr.Examples(self._scenes(), inputs=[photo], label="Bundled scenes", cache_examples=False)
        inputs = [photo, network, methods, layer, beta, target, quality]
        outputs = [evidence, picture, *downloads]
        asked = {"inputs": inputs, "outputs": outputs, "api_visibility": "private", "concurrency_id": "networks"}
        events = [
            trigger(self.explain, **asked, concurrency_limit=1, show_progress_on=[picture], trigger_mode="always_last")
            for trigger in (
                go.click,
                photo.change,
                methods.input,
                beta.release,
                layer.release,
                target.input,
                quality.input,
            )
        ]
        stop.click(None, cancels=events, api_visibility="private")
        network.change(
            self.choose, [network], [layer, beta, target], api_visibility="private", concurrency_limit=1
        ).then(self.explain, **asked, concurrency_limit=1, show_progress_on=[picture])
        beta.change(
            lambda exponent: gr.update(label=_beta_label(10**exponent)), [beta], [beta], api_visibility="private"
        )
        layer.change(self._name_layer, [layer, network], [layer], api_visibility="private")

    def choose(self, network: str) -> tuple[Any, Any, Any]:
        """What can be chosen at another network."""
        gr = self._gradio
        desk = self._desk(network)
        return (
            gr.update(**_layer_choice(desk)),
            gr.update(value=_exponent(desk.beta), label=_beta_label(desk.beta)),
            gr.update(**_target_choice(desk)),
        )

    def explain(
        self,
        photo: str | None,
        network: str,
        methods: list[str],
        layer: int,
        exponent: float,
        target: str,
        quality: str,
    ) -> Iterator[tuple[Any, ...]]:
        """First what is being done, then the answer; without a photo, an invitation."""
        gr = self._gradio
        if photo is None:
            yield message_html(_WAITING), None, *[gr.update(interactive=False, value=None)] * 4
            return
        desk = self._desk(network)
        try:
            output, asked = _target(target, desk)
        except BitlensError as error:
            raise gr.Error(str(error), title="This cannot be asked") from error
        yield message_html(f"{network} looks at the photo …"), *[gr.skip()] * 5
        question = Question(
            photo=Path(photo),
            name=Path(photo).name,
            methods=tuple(methods),
            layer=desk.layers[min(int(layer), len(desk.layers)) - 1],
            beta=float(f"{10**exponent:.3g}"),
            quality=quality,
            target=asked,
            output=output,
        )
        work = Work(partial(self._answers[network].answer, question))
        try:
            for text, frame in work.news():
                yield message_html(text), gr.skip() if frame is None else frame, *[gr.skip()] * 4
            shown = work.result()
        except BitlensError as error:
            raise gr.Error(str(error), title="This cannot be explained") from error
        except Exception as error:
            raise gr.Error(
                f"the network {network} failed on this photo: {type(error).__name__}: {error}",
                title="The network failed",
            ) from error
        finally:
            work.stop()
        yield self._presented(shown, network)

    def _presented(self, shown: Shown, network: str) -> tuple[Any, ...]:
        gr, folder, explained = self._gradio, self._folders.new(), shown.explained
        write_picture(explained, folder, "png")
        for one in explained.found:
            one.attribution.save(folder / f"{explained.stem}{one.ready.endings[0]}.safetensors")
        methods = {one.ready.label: one.ready.settings() for one in explained.found}
        write_summary(explained.rows(), {"model": network, "methods": methods}, folder / "summary.json")
        write_report([folder], folder / "report.html")
        stem = f"{explained.stem}{explained.found[0].ready.endings[0]}"
        names = (f"{explained.stem}.png", "report.html", f"{stem}.npy", f"{stem}.safetensors")
        files = [gr.update(value=str(folder / name), interactive=True) for name in names]
        return evidence_html(shown), str(folder / names[0]), *files

    def _desk(self, network: str) -> Desk:
        try:
            desk = self._shelf.desk(network)
        except BitlensError as error:
            raise self._gradio.Error(str(error), title="This network cannot be used") from error
        self._answers.setdefault(network, Answers(desk))
        return desk

    def _name_layer(self, place: int, network: str) -> Any:
        desk = self._desk(network)
        return self._gradio.update(label=_layer_label(desk, int(place)))

    def _scenes(self) -> list[list[str]]:
        samples, files = open_dataset("builtin:scenes"), []
        for i in range(_SCENES):
            file = self._folders.root / f"{samples[i].name.replace(' ', '-')}.png"
            samples[i].image.save(file)
            files.append([str(file)])
        return files


def _upload(gr: Any, folders: Folders) -> Any:
    """A place for a photo. What gradio would do to the file first, we do later: what is no photo then gets a sentence."""
    photo = gr.Image(label="Photo", type="filepath", image_mode=None, sources=["upload", "clipboard"], height=260)

    def checked(payload: Any) -> str | None:
        try:
            return None if payload is None else str(folders.uploaded(payload.path))
        except InputError as error:  # the gate has asked before; nothing here relies on it
            raise gr.Error(str(error), title="This cannot be explained") from error

    photo.preprocess = checked
    return photo


def _layer_label(desk: Desk, place: int) -> str:
    return f"Layer: {desk.layers[min(place, len(desk.layers)) - 1]} (left: fine, right: what the network understands)"


def _layer_choice(desk: Desk) -> dict[str, Any]:
    place = desk.layers.index(desk.layer) + 1
    return {"minimum": 1, "maximum": max(2, len(desk.layers)), "value": place, "label": _layer_label(desk, place)}


def _target_choice(desk: Desk) -> dict[str, Any]:
    names = [f"{i}: {name}" for i, name in enumerate(desk.classes or ())]
    return {
        "choices": [_PREDICTED, *names],
        "value": _PREDICTED,
        "label": "Class" if names else "Class (or its number; or: binary, regression, multi-label:2)",
        "allow_custom_value": not names,
    }


def _target(text: str | None, desk: Desk) -> tuple[OutputChoice, int | None]:
    """What a visitor says of the output, if anything, and the index that is asked about."""
    number = (text or "").partition(":")[0].strip()
    if number.isascii() and number.isdigit():
        return None, int(number)
    if number not in OUTPUT_WORDS:
        return None, None
    loaded, index = read_target((text or "").strip(), desk.loaded, desk.classes)
    return loaded.output, index


def _beta_label(beta: float) -> str:
    return f"Price of a bit: β = {beta:.3g} (right: keep less)"


def _exponent(beta: float) -> float:
    return round(log10(beta) * 4) / 4
