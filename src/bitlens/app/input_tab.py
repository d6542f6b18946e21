"""The tab for photos, and that for signals: what can be chosen, what is shown, and what happens when something changes."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from typing_extensions import override

from bitlens.app.answers import Answers, Question
from bitlens.app.evidence import answer_of
from bitlens.app.files import Folders
from bitlens.app.kinds import InputKind
from bitlens.app.offers import Desk, Shelf
from bitlens.app.remarks import message_html, working_html
from bitlens.app.tab import (
    MOST_SECONDS,
    Step,
    Tab,
    bounded_exponent,
    bounded_share,
    chosen_layer,
    chosen_methods,
    number_in,
    price_choice,
    target_choice,
)
from bitlens.app.takeaway import FILES, drawn, finished
from bitlens.core.outputs import OutputChoice
from bitlens.core.targets import Target
from bitlens.errors import SettingError
from bitlens.explaining.wanted import read_target
from bitlens.methods.naming import KEEP
from bitlens.models.classes import OUTPUT_WORDS, PLACE_WORDS

_QUALITIES = ("fast", "paper", "best")


class InputTab(Tab):
    """Contents of a tab, but for its place on the page.

    Args:
        kind: what it takes.
        shelf: the networks that are offered.
        folders: where files for visitors are put.
        seconds: that a question may take.
    """

    def __init__(self, kind: InputKind, shelf: Shelf, folders: Folders, seconds: float = MOST_SECONDS) -> None:
        super().__init__(kind.name, FILES, shelf, folders, seconds)
        self.kind = kind
        self._answers: dict[str, Answers] = {}

    @property
    def waiting(self) -> str:
        """Invite a visitor."""
        return f"Drop a {self.name}, or take one of the examples. The map appears here."

    def build(self) -> None:
        """Put the tab on the page that is being built."""
        gr, first = self.gradio, self.shelf[self.shelf.labels[0]]
        with gr.Row():
            with self.asking():
                given = self.kind.upload(gr, self.folders)
                pictures, names, files = zip(*self.kind.bundled(self.folders.uploads / "examples"), strict=True)
                self.examples("Or take a bundled one:", list(zip(pictures, names, strict=True)), files, given)
                self.buttons()
                with self.settings():
                    with gr.Row():
                        network = self.networks()
                        target = gr.Dropdown(**target_choice(first), min_width=180)
                    methods = self.methods("image", "iba")
                    layer = gr.Dropdown(**self._layer_choice(first), elem_id=f"{self.name}-layer")
                    keep, priced, beta = self.aim(self.kind.prices, first.beta)
                    curve, signed = self.curve(), self.against()
                    quality = gr.Radio(
                        list(_QUALITIES),
                        value="paper",
                        label="Work for a map",
                        info="“fast” to look around, “best” for the fewest bits.",
                    )
            outputs = self.results(self.waiting)
        inputs = [given, network, methods, layer, beta, target, quality, keep, priced, curve, signed]
        self.answering(inputs, network, [layer, beta, target], outputs, [given.change])

    @override
    def choices(self, desk: Desk) -> Sequence[dict[str, Any]]:
        return self._layer_choice(desk), price_choice(desk.beta), target_choice(desk)

    def _layer_choice(self, desk: Desk) -> dict[str, Any]:
        grids = {name: " · " + "×".join(map(str, grid)) if grid else "" for name, grid in desk.layers.items()}
        return {
            "choices": [(f"{name}{grid}", name) for name, grid in grids.items()],
            "value": desk.layer,
            "label": "Layer",
            "info": "From shallow to deep, each with its grid over the input.",
        }

    @override
    def explain(
        self,
        given: str | None,
        network: str,
        methods: list[str],
        layer: str,
        exponent: float,
        target: str,
        quality: str,
        keep: float,
        priced: bool,
        curve: bool,
        signed: bool,
    ) -> Iterator[Step]:
        if given is None:
            yield message_html(self.waiting), ()
            return
        yield working_html(f"{network} looks at the {self.name} …", None), ()
        desk = self.shelf[network]
        more = {"priced": priced, "curve": curve, "signed": signed}
        question = _question(given, desk, methods, layer, exponent, target, quality, keep, **more)
        answer = partial(self._answers.setdefault(network, Answers(desk)).answer, question)
        shown = yield from self.working(network, self.name, answer)
        folder = self.folders.new()
        page = answer_of(shown, drawn(shown, network, folder)).html()
        yield page, ()
        yield page, finished(shown, folder)


def _question(
    given: str,
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
    signed: Any = False,
) -> Question:
    """Take what a visitor chose; a form keeps nobody from sending something else.

    Raises:
        SettingError: if it cannot be chosen.
        TargetError: if there is no such target.
    """
    named = chosen_methods(methods, "image")
    if quality not in _QUALITIES:
        raise SettingError(f"the work for a map is {' or '.join(_QUALITIES)}")
    output, asked = _target(target, desk)
    beta, share = float(f"{10 ** bounded_exponent(exponent):.3g}"), bounded_share(keep)
    return Question(
        photo=Path(given),
        name=Path(given).name,
        methods=named,
        layer=chosen_layer(layer, desk),
        beta=beta if priced is True else None,
        quality=quality,
        target=asked,
        output=output,
        keep=share,
        curve=curve is True,
        signed=signed is True,
    )


def _target(text: str | None, desk: Desk) -> tuple[OutputChoice, int | Target | None]:
    """Read what a visitor says of the output, if anything, and the index that is asked about."""
    if (number := number_in(text)) is not None:
        return None, number
    if (text or "").partition(":")[0].strip() not in (*OUTPUT_WORDS, *PLACE_WORDS):
        return None, None
    loaded, index = read_target((text or "").strip(), desk.loaded, desk.classes)
    return loaded.output, index
