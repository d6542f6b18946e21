"""The tab for texts: a text, a network, methods; words shaded by bits."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape
from textwrap import shorten
from typing import Any, TypeAlias

from typing_extensions import override

from bitlens.app.evidence import warnings_of
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
    number_in,
    price_choice,
    target_choice,
)
from bitlens.data.texts import open_texts
from bitlens.explaining.besides import able
from bitlens.explaining.explainer import Explainer
from bitlens.explaining.explanation import Explanation
from bitlens.explaining.left_out import by_each
from bitlens.explaining.text_page import compared_page, shaded_alike
from bitlens.methods import entry_of
from bitlens.methods.specs import settings_of_callable
from bitlens.methods.teaching import Source, Teacher
from bitlens.models.classes import likeliest
from bitlens.system.files import write_text
from bitlens.view.answer import Answer
from bitlens.view.page_answer import PageAnswer
from bitlens.view.shaded import ShadedText

_LONGEST = 5000  # characters
_EXAMPLES, _BEGINNING = 4, 90
_LEARNT_FROM = 500  # texts
_FILES = {"page": "Page (html)", "tokens": "Attribution (safetensors)"}
_WAITING = "Paste a text, or take one of the examples. The words it uses are shaded here."


_Found: TypeAlias = tuple[dict[str, Explanation], dict[str, str]]
"""Explanations of one text by method, and which methods cannot be used on the network, and why."""


class TextTab(Tab):
    """Contents of the tab, but for its place on the page."""

    def __init__(self, shelf: Shelf, folders: Folders, seconds: float = MOST_SECONDS) -> None:
        super().__init__("text", _FILES, shelf, folders, seconds)

    def build(self) -> None:
        """Put the tab on the page that is being built."""
        gr, first = self.gradio, self.shelf[self.shelf.labels[0]]
        with gr.Row():
            with self.asking():
                text = gr.Textbox(
                    label="Text", info="In the language of the network.", lines=5, max_length=_LONGEST, elem_id="text"
                )
                reviews = open_texts("builtin:reviews")
                samples = [reviews[i].text for i in range(_EXAMPLES)]
                shown = [(escape(one), one) for one in (shorten(one, _BEGINNING, placeholder=" …") for one in samples)]
                taken = self.examples("Or take a bundled review:", shown, samples, text)
                self.buttons()
                with self.settings():
                    with gr.Row():
                        network = self.networks()
                        target = gr.Dropdown(**target_choice(first), min_width=180)
                    methods = self.methods("text", "token-iba")
                    layer = gr.Dropdown(**self._layer_choice(first))
                    keep, priced, beta = self.aim((-3, 3), first.beta)
                    curve, signed = self.curve(), self.against()
            outputs = self.results(_WAITING)
        inputs = [text, network, methods, layer, beta, target, keep, priced, curve, signed]
        self.answering(inputs, network, [layer, beta, target], outputs, [text.submit, taken.then])

    @override
    def choices(self, desk: Desk) -> Sequence[dict[str, Any]]:
        return self._layer_choice(desk), price_choice(desk.beta), target_choice(desk)

    def _layer_choice(self, desk: Desk) -> dict[str, Any]:
        return {
            "choices": list(desk.layers),
            "value": desk.layer or next(iter(desk.layers)),
            "label": "Layer",
            "info": "Where the bottlenecks hold it.",
        }

    @override
    def explain(
        self,
        text: str,
        network: str,
        methods: list[str],
        layer: str,
        exponent: float,
        target: str,
        keep: float,
        priced: bool,
        curve: bool,
        signed: bool,
    ) -> Iterator[Step]:
        if not text.strip():
            yield message_html(_WAITING), ()
            return
        yield working_html(f"{network} reads the text …", None), ()
        desk = self.shelf[network]
        named, place = chosen_methods(methods, "text"), chosen_layer(layer, desk)
        price, share = float(f"{10 ** bounded_exponent(exponent):.3g}"), bounded_share(keep)
        aim = {"layer": place, "signed": signed is True, **({"beta": price} if priced is True else {"keep": share})}
        number = number_in(target)
        asked = number if number is not None else None if target == PREDICTED else target

        def answer(tell: Callable[[str], None], _: object) -> _Found:
            def explain(name: str) -> Explanation:
                tell(f"{name} …")
                explainer = _by(name, desk, aim)
                more = able(explainer.method, {"curve": True} if curve is True else {})
                found: Explanation = explainer(text[:_LONGEST], target=asked, **more)
                return found

            with desk.lock:
                return by_each(named, explain)

        found, refused = yield from self.working(network, "text", answer)
        shown, first = _answer(found, refused, desk).html(), next(iter(found.values()))
        yield shown, ()
        folder = self.folders.new()
        files = [folder / "text.html", folder / "text.safetensors"]
        write_text(files[0], compared_page({name: [one] for name, one in found.items()}, f"What {network} uses"))
        first.attribution.save(files[1])
        yield shown, files


def _shaded(found: Mapping[str, Explanation]) -> list[ShadedText]:
    """Shade a text by each method, titled by it: what the network says stands above all."""
    texts = shaded_alike({name: [one] for name, one in found.items()})
    return [replace(shown, title=name) for name, ((shown, *_),) in texts.items()]


def _answer(found: Mapping[str, Explanation], refused: Mapping[str, str], desk: Desk) -> PageAnswer:
    one = next(iter(found.values()))
    shares = dict(likeliest(one.said, desk.classes, len(one.said)))
    return PageAnswer(
        Answer(one.target, shares.get(one.target), one.prediction, one.probability),
        texts=_shaded(found),
        said=likeliest(one.said, desk.classes),
        warnings=warnings_of(refused),
    )


def _by(method: str, desk: Desk, chosen: Mapping[str, Any]) -> Explainer:
    """Make an explainer by a method, which takes what it can of what was chosen and learns what it must."""
    entry = entry_of(method, "text")
    known = settings_of_callable(entry.build)
    explainer = Explainer(
        desk.loaded, method=method, **{name: value for name, value in chosen.items() if name in known}
    )
    if entry.lesson is not None and not explainer.ready and desk.offer.learns_from:
        samples = Source.open(desk.offer.learns_from, "text", _LEARNT_FROM)
        Teacher(desk.loaded, samples).teach(entry.lesson, explainer.method)
    return explainer
