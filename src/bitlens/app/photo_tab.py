"""The tab for photos: what can be chosen, what is shown, and what happens when something changes."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from typing_extensions import override

from bitlens.app.answers import Answers, Question
from bitlens.app.evidence import answer_of
from bitlens.app.files import Folders
from bitlens.app.offers import Desk, Shelf
from bitlens.app.remarks import message_html, working_html
from bitlens.app.tab import (
    MOST_SECONDS,
    PREDICTED,
    Step,
    Tab,
    bounded_exponent,
    bounded_share,
    chosen_layer,
    chosen_methods,
    price_choice,
)
from bitlens.app.takeaway import FILES, drawn, finished
from bitlens.core.outputs import OutputChoice
from bitlens.core.targets import Target
from bitlens.data.datasets import open_dataset
from bitlens.errors import InputError, SettingError
from bitlens.explaining.wanted import read_target
from bitlens.methods import METHODS
from bitlens.methods.naming import KEEP
from bitlens.models.classes import OUTPUT_WORDS, PLACE_WORDS
from bitlens.view.encoding import picture_uri

_SCENES = 8
_MOST_METHODS = 6
_QUALITIES = ("fast", "paper", "best")
_WAITING = "Drop a photo, or take one of the examples. The map appears here."


class PhotoTab(Tab):
    """Contents of the tab, but for its place on the page."""

    def __init__(self, shelf: Shelf, folders: Folders, seconds: float = MOST_SECONDS) -> None:
        super().__init__("photo", FILES, shelf, folders, seconds)
        self._answers: dict[str, Answers] = {}

    def build(self) -> None:
        """Put the tab on the page that is being built."""
        gr, first = self.gradio, self.shelf[self.shelf.labels[0]]
        with gr.Row():
            with gr.Column(scale=4, min_width=300):
                photo = _upload(gr, self.folders)
                self._scenes(photo)
                self.buttons()
                with gr.Row():
                    network = self.networks()
                    target = gr.Dropdown(**self._target_choice(first), min_width=180)
                methods = gr.Dropdown(
                    list(METHODS["image"]),
                    value=["iba"],
                    multiselect=True,
                    max_choices=_MOST_METHODS,
                    label="Methods",
                    info=f"Up to {_MOST_METHODS}, shown side by side.",
                    elem_id="photo-methods",
                )
                layer = gr.Dropdown(**self._layer_choice(first), elem_id="photo-layer")
                keep, priced, beta = self.aim((-1, 3), first.beta)
                curve = gr.Checkbox(
                    True,
                    label="How few bits until the decision goes?",
                    info="A curve of maps that hold less and less; of bottlenecks.",
                    elem_id="photo-curve",
                )
                quality = gr.Radio(
                    list(_QUALITIES),
                    value="paper",
                    label="Work for a map",
                    info="“fast” to look around, “best” for the fewest bits.",
                )
            outputs = self.results(_WAITING)
        inputs = [photo, network, methods, layer, beta, target, quality, keep, priced, curve]
        self.answering(inputs, network, [layer, beta, target], outputs, [photo.change])

    @override
    def choices(self, desk: Desk) -> Sequence[dict[str, Any]]:
        return self._layer_choice(desk), price_choice(desk.beta), self._target_choice(desk)

    def _layer_choice(self, desk: Desk) -> dict[str, Any]:
        grids = {name: " · " + "×".join(map(str, grid)) if grid else "" for name, grid in desk.layers.items()}
        return {
            "choices": [(f"{name}{grid}", name) for name, grid in grids.items()],
            "value": desk.layer,
            "label": "Layer",
            "info": "From shallow to deep, each with its grid over the photo.",
        }

    def _target_choice(self, desk: Desk) -> dict[str, Any]:
        names = [f"{i}: {name}" for i, name in enumerate(desk.classes or ())]
        return {
            "choices": [PREDICTED, *names],
            "value": PREDICTED,
            "label": "Class",
            "info": "What is asked about." if names else "Or its number; or: binary, regression, multi-label:2.",
            "allow_custom_value": not names,
        }

    @override
    def explain(
        self,
        photo: str | None,
        network: str,
        methods: list[str],
        layer: str,
        exponent: float,
        target: str,
        quality: str,
        keep: float,
        priced: bool,
        curve: bool,
    ) -> Iterator[Step]:
        if photo is None:
            yield message_html(_WAITING), ()
            return
        yield working_html(f"{network} looks at the photo …", None), ()
        desk = self.shelf[network]
        question = _question(photo, desk, methods, layer, exponent, target, quality, keep, priced=priced, curve=curve)
        answer = partial(self._answers.setdefault(network, Answers(desk)).answer, question)
        shown = yield from self.working(network, "photo", answer)
        folder = self.folders.new()
        page = answer_of(shown, drawn(shown, network, folder)).html()
        yield page, ()
        yield page, finished(shown, folder)

    def _scenes(self, photo: Any) -> None:
        """Place bundled scenes to take, each a file that everybody may name."""
        samples, pictures, files = open_dataset("builtin:scenes"), [], []
        for i in range(_SCENES):
            file = self.folders.uploads / "examples" / f"{samples[i].name.replace(' ', '-')}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            samples[i].image.save(file)
            files.append(str(file))
            pictures.append((f'<img src="{picture_uri(samples[i].image)}" alt="">', f"Scene with a {samples[i].label}"))
        self.examples("Or take a bundled scene:", pictures, files, photo)


def _upload(gr: Any, folders: Folders) -> Any:
    """Make a place for a photo. What gradio would do to the file first, we do later: what is no photo then gets a sentence."""
    photo = gr.Image(
        label="Photo",
        show_label=False,
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        height=210,
        elem_id="photo",
    )

    def checked(payload: Any) -> str | None:
        try:
            return None if payload is None else str(folders.uploaded(payload.path))
        except InputError as error:  # the gate has asked before; nothing here relies on it
            raise gr.Error(str(error), title="This cannot be explained", print_exception=False) from error

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
    named = chosen_methods(methods, tuple(METHODS["image"]), _MOST_METHODS)
    if quality not in _QUALITIES:
        raise SettingError(f"the work for a map is {' or '.join(_QUALITIES)}")
    output, asked = _target(target, desk)
    beta, share = float(f"{10 ** bounded_exponent(exponent):.3g}"), bounded_share(keep)
    return Question(
        photo=Path(photo),
        name=Path(photo).name,
        methods=named,
        layer=chosen_layer(layer, desk),
        beta=beta if priced is True else None,
        quality=quality,
        target=asked,
        output=output,
        keep=share,
        curve=curve is True,
    )


def _target(text: str | None, desk: Desk) -> tuple[OutputChoice, int | Target | None]:
    """Read what a visitor says of the output, if anything, and the index that is asked about."""
    number = (text or "").partition(":")[0].strip()
    if number.isascii() and number.isdigit() and len(number) <= 9:
        return None, int(number)
    if number not in (*OUTPUT_WORDS, *PLACE_WORDS):
        return None, None
    loaded, index = read_target((text or "").strip(), desk.loaded, desk.classes)
    return loaded.output, index
