"""The tab for photos: what can be chosen, what is shown, and what happens when something changes."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from typing_extensions import override

from bitlens.app.answers import Answers, Question, Shown
from bitlens.app.evidence import curve_html, evidence_html, message_html
from bitlens.app.files import Folders
from bitlens.app.offers import Desk, Shelf
from bitlens.app.tab import MOST_SECONDS, PREDICTED, Tab, bounded_exponent, bounded_share
from bitlens.app.work import Frame
from bitlens.core.outputs import OutputChoice
from bitlens.data.datasets import open_dataset
from bitlens.errors import BitlensError, InputError, SettingError
from bitlens.explaining.pictures import write_picture
from bitlens.explaining.summary import write_summary
from bitlens.explaining.wanted import read_target
from bitlens.methods import METHODS
from bitlens.methods.naming import KEEP
from bitlens.models.classes import OUTPUT_WORDS
from bitlens.reports import write_report
from bitlens.system.console import Debugging

_SCENES = 8
_MOST_METHODS = 6
_QUALITIES = ("fast", "paper", "best")
_WAITING = "Drop a photo, or take one of the examples below. The map appears here."
_FILES = {
    "picture": "Picture (png)",
    "report": "Report (html)",
    "map": "Map (npy)",
    "full": "Attribution (safetensors)",
}


class PhotoTab(Tab):
    """Contents of the tab, but for its place on the page."""

    def __init__(self, shelf: Shelf, folders: Folders, seconds: float = MOST_SECONDS) -> None:
        super().__init__(shelf, folders, seconds)
        self._answers: dict[str, Answers] = {}

    def build(self) -> None:
        """Put the tab on the page that is being built."""
        gr, first = self.gradio, self.network(self.shelf.labels[0])
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                photo = _upload(gr, self.folders)
                network = self.networks()
                methods = gr.Dropdown(
                    list(METHODS["image"]),
                    value=["iba"],
                    multiselect=True,
                    max_choices=_MOST_METHODS,
                    label="Methods, side by side",
                )
                layer = gr.Slider(**self.layer_choice(first), step=1, elem_id="layer")
                target = gr.Dropdown(**self.target_choice(first))
                keep, priced, beta = self.aim((-1, 3), first.beta, "beta")
                curve = gr.Checkbox(
                    True, label="How few bits until the decision goes? (of bottlenecks)", elem_id="curve"
                )
                quality = gr.Radio(list(_QUALITIES), value="paper", label="Work for a map")
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
                curves = gr.HTML("", elem_id="curves")
                downloads = self.downloads(_FILES)
        gr.Examples(self._scenes(), inputs=[photo], label="Bundled scenes", cache_examples=False)
        inputs = [photo, network, methods, layer, beta, target, quality, keep, priced, curve]
        outputs = [evidence, picture, curves, *downloads]
        triggers = [go.click, photo.change, methods.input, beta.release, layer.release, target.input, quality.input]
        triggers += [keep.release, priced.input, curve.input]
        events = self.answering(self.explain, inputs, outputs, picture, "networks", triggers)
        stop.click(None, cancels=events, api_visibility="private")
        layer.change(self._name_layer, [layer, network], [layer], api_visibility="private")

    @override
    def layer_choice(self, desk: Desk) -> dict[str, Any]:
        place = desk.layers.index(desk.layer) + 1
        return {"minimum": 1, "maximum": max(2, len(desk.layers)), "value": place, "label": _layer_label(desk, place)}

    @override
    def target_choice(self, desk: Desk) -> dict[str, Any]:
        names = [f"{i}: {name}" for i, name in enumerate(desk.classes or ())]
        return {
            "choices": [PREDICTED, *names],
            "value": PREDICTED,
            "label": "Class" if names else "Class (or its number; or: binary, regression, multi-label:2)",
            "allow_custom_value": not names,
        }

    def explain(
        self,
        photo: str | None,
        network: str,
        methods: list[str],
        layer: int,
        exponent: float,
        target: str,
        quality: str,
        keep: float,
        priced: bool,
        curve: bool,
    ) -> Iterator[tuple[Any, ...]]:
        """Say what is being done, then the answer; without a photo, an invitation."""
        gr = self.gradio
        if photo is None:
            yield message_html(_WAITING), None, "", *[gr.update(interactive=False, value=None)] * 4
            return
        desk = self.network(network)
        try:
            question = _question(
                photo, desk, methods, layer, exponent, target, quality, keep, priced=priced, curve=curve
            )
        except BitlensError as error:
            raise gr.Error(str(error), title="This cannot be asked", print_exception=Debugging.wanted) from error
        yield message_html(f"{network} looks at the photo …"), *[gr.skip()] * 6

        def told(text: str, frame: Frame | None) -> tuple[Any, ...]:
            return message_html(text), gr.skip() if frame is None else frame, *[gr.skip()] * 5

        answer = partial(self._answers.setdefault(network, Answers(desk)).answer, question)
        shown = yield from self.working(network, "photo", answer, told)
        yield self._presented(shown, network)

    def _presented(self, shown: Shown, network: str) -> tuple[Any, ...]:
        folder, explained = self.folders.new(), shown.explained
        write_picture(explained, folder, "png")
        for one in explained.found:
            one.attribution.save(folder / f"{explained.stem}{one.ready.endings[0]}.safetensors")
        methods = {one.ready.label: one.ready.settings() for one in explained.found}
        write_summary(explained.rows(), {"model": network, "methods": methods}, folder / "summary.json")
        write_report([folder], folder / "report.html")
        stem = f"{explained.stem}{explained.found[0].ready.endings[0]}"
        names = (f"{explained.stem}.png", "report.html", f"{stem}.npy", f"{stem}.safetensors")
        files = self.handed([folder / name for name in names])
        return evidence_html(shown), str(folder / names[0]), curve_html(shown), *files

    def _name_layer(self, place: int, network: str) -> Any:
        desk = self.network(network)
        return self.gradio.update(label=_layer_label(desk, int(place)))

    def _scenes(self) -> list[list[str]]:
        samples, files = open_dataset("builtin:scenes"), []
        for i in range(_SCENES):
            file = self.folders.root / f"{samples[i].name.replace(' ', '-')}.png"
            samples[i].image.save(file)
            files.append([str(file)])
        return files


def _upload(gr: Any, folders: Folders) -> Any:
    """Make a place for a photo. What gradio would do to the file first, we do later: what is no photo then gets a sentence."""
    photo = gr.Image(label="Photo", type="filepath", image_mode=None, sources=["upload", "clipboard"], height=260)

    def checked(payload: Any) -> str | None:
        try:
            return None if payload is None else str(folders.uploaded(payload.path))
        except InputError as error:  # the gate has asked before; nothing here relies on it
            raise gr.Error(str(error), title="This cannot be explained", print_exception=Debugging.wanted) from error

    photo.preprocess = checked
    return photo


def _question(
    photo: str,
    desk: Desk,
    methods: Any,
    layer: Any,
    exponent: Any,
    target: str | None,
    quality: Any,
    keep: Any = 100 * KEEP,
    *,
    priced: Any = False,
    curve: Any = False,
) -> Question:
    """Take what a visitor chose; a form keeps nobody from sending something else.

    Raises:
        SettingError: if it cannot be chosen.
        TargetError: if there is no such target.
    """
    if not isinstance(methods, list) or not all(isinstance(name, str) and name in METHODS["image"] for name in methods):
        raise SettingError("a method is not offered here: choose among those of the list")
    if len(methods) > _MOST_METHODS:
        raise SettingError(f"{len(methods)} methods were chosen: at most {_MOST_METHODS} are compared at once")
    if isinstance(layer, bool) or not isinstance(layer, int | float) or not 1 <= layer < 10_000:
        raise SettingError("there is no such layer: choose another")
    if quality not in _QUALITIES:
        raise SettingError(f"the work for a map is {' or '.join(_QUALITIES)}")
    output, asked = _target(target, desk)
    beta, share = float(f"{10 ** bounded_exponent(exponent):.3g}"), bounded_share(keep)
    return Question(
        photo=Path(photo),
        name=Path(photo).name,
        methods=tuple(dict.fromkeys(methods)),
        layer=desk.layers[min(int(layer), len(desk.layers)) - 1],
        beta=beta if priced is True else None,
        quality=quality,
        target=asked,
        output=output,
        keep=share,
        curve=curve is True,
    )


def _layer_label(desk: Desk, place: int) -> str:
    return f"Layer: {desk.layers[min(place, len(desk.layers)) - 1]} (left: fine, right: what the network understands)"


def _target(text: str | None, desk: Desk) -> tuple[OutputChoice, int | None]:
    """Read what a visitor says of the output, if anything, and the index that is asked about."""
    number = (text or "").partition(":")[0].strip()
    if number.isascii() and number.isdigit() and len(number) <= 9:
        return None, int(number)
    if number not in OUTPUT_WORDS:
        return None, None
    loaded, index = read_target((text or "").strip(), desk.loaded, desk.classes)
    return loaded.output, index
