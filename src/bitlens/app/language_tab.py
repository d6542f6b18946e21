"""The tab for answers of language models: a prompt, an answer or the model's own; choosing a part shades what it used."""

import json
from collections.abc import Callable, Iterator, Sequence
from html import escape
from textwrap import shorten
from typing import Any

from typing_extensions import override

from bitlens.app.files import Folders
from bitlens.app.offers import Desk, Shelf
from bitlens.app.remarks import message_html, working_html
from bitlens.app.tab import MOST_SECONDS, Step, Tab, bounded_exponent, bounded_share, price_choice
from bitlens.data.passages import Group
from bitlens.data.recall import questions
from bitlens.errors import one_of_literal
from bitlens.explaining.answers import AnswerExplainer, Each, ExplainedAnswer
from bitlens.system.files import write_text

_LONGEST = 20_000  # characters
_TOKENS = 64  # of the model's own answer
_EXAMPLES, _SHOWN = 3, 90
_FILES = {"answer-page": "Page (html)", "answer-values": "Values (json)"}
_WAITING = "Paste what a language model reads, or take one of the questions. What its answer used is shaded here."


class LanguageTab(Tab):
    """Contents of the tab, but for its place on the page."""

    def __init__(self, shelf: Shelf, folders: Folders, seconds: float = MOST_SECONDS) -> None:
        super().__init__("answer", _FILES, shelf, folders, seconds)

    def build(self) -> None:
        """Put the tab on the page that is being built."""
        gr, first = self.gradio, self.shelf[self.shelf.labels[0]]
        with gr.Row():
            with self.asking():
                prompt = gr.Textbox(
                    label="Prompt",
                    info="Everything that the model reads: documents, instructions, the question.",
                    lines=7,
                    max_length=_LONGEST,
                    elem_id="answer-prompt",
                )
                samples = [one.prompt for one in questions(_EXAMPLES)]
                shown = [(escape(one), one) for one in (shorten(one, _SHOWN, placeholder=" …") for one in samples)]
                taken = self.examples("Or take a question to the bundled model:", shown, samples, prompt)
                said = gr.Textbox(
                    label="Answer",
                    info="As it stands behind the prompt, its first space included; empty: what the model itself says.",
                    lines=2,
                    max_length=_LONGEST,
                    elem_id="answer-said",
                )
                self.buttons()
                with self.settings():
                    network = self.networks()
                    with gr.Row():
                        each = gr.Radio(
                            ["answer", "sentence", "word"],
                            value="sentence",
                            label="Ask about each",
                            info="Each has bits of its own; choose one in the answer.",
                            min_width=180,
                        )
                        group = gr.Dropdown(
                            ["word", "sentence", "paragraph"],
                            value="word",
                            label="Add bits up to",
                            info="What of the prompt is shaded as one.",
                            min_width=140,
                        )
                    keep, priced, beta = self.aim((-3, 3), first.beta)
                    signed = self.against()
            outputs = self.results(_WAITING)
        inputs = [prompt, said, network, each, group, beta, keep, priced, signed]
        self.answering(inputs, network, [beta], outputs, [prompt.submit, said.submit, taken.then])

    @override
    def choices(self, desk: Desk) -> Sequence[dict[str, Any]]:
        return (price_choice(desk.beta),)

    @override
    def explain(
        self,
        prompt: str,
        said: str,
        network: str,
        each: Each,
        group: Group,
        exponent: float,
        keep: float,
        priced: bool,
        signed: bool,
    ) -> Iterator[Step]:
        if not prompt.strip():
            yield message_html(_WAITING), ()
            return
        yield working_html(f"{network} reads the prompt …", None), ()
        desk = self.shelf[network]
        asked, grouped = one_of_literal("each", each, Each), one_of_literal("group", group, Group)
        price, share = float(f"{10 ** bounded_exponent(exponent):.3g}"), bounded_share(keep)
        aim: dict[str, Any] = {"beta": price} if priced is True else {"keep": share}
        explainer = AnswerExplainer(desk.loaded, **aim, signed=signed is True)

        def answer(tell: Callable[[str], None], _: object) -> ExplainedAnswer:
            with desk.lock:
                return explainer(
                    prompt[:_LONGEST],
                    said[:_LONGEST] if said.strip() else None,
                    each=asked,
                    max_new_tokens=_TOKENS,
                    progress=lambda done: tell(f"explained: {done}"),
                )

        found = yield from self.working(network, "prompt", answer)
        shown = f'<div class="bitlens-shown">{found.fragment(grouped, behaviour=False)}</div>'
        yield shown, ()
        folder = self.folders.new()
        files = [folder / "answer.html", folder / "answer.json"]
        write_text(files[0], found.html(f"What {network} used", grouped))
        write_text(files[1], json.dumps(found.as_dict(None if grouped == "word" else grouped), ensure_ascii=False))
        yield shown, files
