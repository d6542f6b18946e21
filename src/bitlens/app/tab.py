"""What the tabs have in common: networks of a shelf, a price, examples, files to take home, refusals in one sentence."""

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from html import escape
from math import log10
from pathlib import Path
from typing import Any, TypeVar

from bitlens.app.answers import Watch
from bitlens.app.files import Folders
from bitlens.app.offers import Desk, Shelf
from bitlens.app.remarks import message_html, refusal_html, working_html
from bitlens.app.turns import Lines
from bitlens.app.work import Work
from bitlens.data.kinds import Kind
from bitlens.errors import BitlensError, ModelError, SettingError
from bitlens.methods import METHODS
from bitlens.methods.naming import KEEP
from bitlens.system.console import Debugging
from bitlens.system.optional import need

PREDICTED = "as predicted"
MOST_SECONDS = 300.0
"""That a question may take, with what must be learnt for it."""

_MOST_METHODS = 6
_WORKERS = 24  # questions that are answered or wait at once; those to one network wait for each other
T = TypeVar("T")
Step = tuple[str, Sequence[Path]]
"""What the page shows, as HTML, and the files to take home, none while they are not ready."""


class Tab(ABC):
    """The parts of a tab.

    Args:
        name: what its parts are called on the page: "photo".
        files: what can be taken home, and what its button says.
        shelf: the networks that are offered.
        folders: where files for visitors are put.
        seconds: that a question may take.
    """

    def __init__(
        self, name: str, files: dict[str, str], shelf: Shelf, folders: Folders, seconds: float = MOST_SECONDS
    ) -> None:
        self.name, self.files, self.shelf, self.folders, self.seconds = name, files, shelf, folders, seconds
        self.lines = Lines()
        self.gradio = need("gradio", "app")

    @abstractmethod
    def choices(self, desk: Desk) -> Sequence[dict[str, Any]]:
        """Say what can be chosen at a network: one for each of the controls that follow it (`answering`)."""

    @abstractmethod
    def explain(self, *asked: Any) -> Iterator[Step]:
        """Say what is being done, then the answer; without an input, an invitation.

        Raises:
            BitlensError: why there is no answer.
        """

    def choose(self, label: str) -> tuple[Any, ...]:
        """Show what can be chosen at another network; nothing new if it cannot be used."""
        try:
            desk = self.shelf[label]
        except BitlensError:  # the answer that is asked for next says why
            return (self.gradio.skip(),) * self.following
        return tuple(self.gradio.update(**choice) for choice in self.choices(desk))

    def answered(self, *asked: Any) -> Iterator[tuple[Any, ...]]:
        """Answer step by step; where that cannot be done, say why in the place of the answer."""
        try:
            for html, files in self.explain(*asked):
                yield html, *self._handed(files)
        except BitlensError as error:
            if Debugging.wanted:
                traceback.print_exc()
            yield refusal_html(str(error)), *self._handed(())

    def answering(
        self, inputs: list[Any], network: Any, follow: list[Any], outputs: list[Any], starts: list[Any]
    ) -> None:
        """Explain when that is asked for, mark the answer when something else is chosen, and follow the network that is.

        Args:
            inputs: everything that `explain` takes.
            network: of these, what a network is chosen with.
            follow: of these, the controls that `choices` is about.
            outputs: what an answer fills: those of `results`.
            starts: what an answer follows at once, besides the button; other changes are followed after a moment.
        """
        self.following = len(follow)
        call, private = self._called, {"api_visibility": "private"}
        asked = {"fn": self.answered, "inputs": inputs, "outputs": outputs, "js": call("ask", inputs), **private}
        asked |= {"show_progress": "hidden", "concurrency_id": self.name, "concurrency_limit": _WORKERS}
        events = [start(**asked, trigger_mode="always_last") for start in [self.go.click, *starts]]
        events.append(network.change(self.choose, [network], follow, **private).then(**asked))
        for event in events:
            event.then(None, inputs, None, js=call("mark", inputs), **private)
        for control in inputs:
            waits = "false" if control is network else "true"
            control.change(None, inputs, None, js=call("mark", inputs, waits), **private)
        nothing = (message_html("Stopped."), *self._handed(()))
        self.stop.click(lambda: nothing, None, outputs, cancels=events, **private)

    def _called(self, what: str, inputs: list[Any], *more: str) -> str:
        """Call a function of page.js with what is chosen; what an event fills is given as well, and left out."""
        values = ", ".join([f"'{self.name}'", f"all.slice(0, {len(inputs)})", *more])
        return f"(...all) => bitlens.{what}({values})"

    def working(
        self, network: str, what: str, answer: Callable[[Callable[[str], None], Watch], T]
    ) -> Generator[Step, None, T]:
        """Answer a question when it is its turn, and say meanwhile what is being done.

        Args:
            network: that is asked.
            what: is explained: "photo".
            answer: takes what it tells its doings to, and what it shows its maps to.

        Returns:
            The answer.

        Raises:
            BitlensError: why there is none.
        """
        place, work = self.lines[network].join(), None
        try:
            while number := place.ahead(1.0):
                yield working_html(f"waiting: {number} to {network} before yours …", None), ()
            work = Work(answer, place.leave)
            for text, frame in work.news(self.seconds):
                yield working_html(text, frame), ()
            return work.result()
        except BitlensError:
            raise
        except Exception as error:
            raise ModelError(f"the network {network} failed on this {what}: {type(error).__name__}: {error}") from error
        finally:
            place.leave() if work is None else work.stop()

    def buttons(self) -> None:
        """Place what begins and ends an explanation."""
        with self.gradio.Row(elem_classes="bitlens-buttons"):
            self.go = self.gradio.Button("Explain", variant="primary", elem_id=f"{self.name}-explain", min_width=120)
            self.stop = self.gradio.Button("Stop", elem_id=f"{self.name}-stop", min_width=80, scale=0)

    def examples(self, heading: str, inside: Sequence[tuple[str, str]], values: Sequence[str], taker: Any) -> Any:
        """Place examples to take, and return the event of one that was taken.

        Args:
            heading: said above them.
            inside: what each shows, as HTML, and what it is called.
            values: what each puts into `taker`.
            taker: the component that takes one.
        """
        gr = self.gradio
        buttons = "".join(
            f'<button type="button" data-number="{number}" aria-label="{escape(name)}" title="{escape(name)}">{html}</button>'
            for number, (html, name) in enumerate(inside)
        )
        click = "const one = event.target.closest('button'); if (one) trigger('click', {number: +one.dataset.number});"
        shown = gr.HTML(
            f"<p>{escape(heading)}</p><div>{buttons}</div>",
            elem_classes="bitlens-examples",
            elem_id=f"{self.name}-examples",
            js_on_load=f"element.addEventListener('click', event => {{ {click} }});",
        )

        def taken(event: gr.EventData) -> str:  # type: ignore[name-defined]  # gradio is looked for when a page is made
            number = getattr(event, "number", None)
            if type(number) is not int or not 0 <= number < len(values):
                raise gr.Error("there is no such example", print_exception=False)
            return values[number]

        return shown.click(taken, None, [taker], api_visibility="private", show_progress="hidden")

    def results(self, invitation: str) -> list[Any]:
        """Place what an answer fills: what is seen, and a button for each file."""
        gr = self.gradio
        with gr.Column(scale=7, min_width=320, elem_id=f"{self.name}-result", elem_classes="bitlens-result"):
            gr.HTML('<p role="status">Out of date</p>', elem_classes="bitlens-stale")
            seen = gr.HTML(message_html(invitation), elem_id=f"{self.name}-answer")
            with gr.Row(elem_classes="bitlens-downloads"):
                files = [
                    gr.DownloadButton(
                        text, interactive=False, size="sm", min_width=110, elem_id=f"{self.name}-download-{kind}"
                    )
                    for kind, text in self.files.items()
                ]
        return [seen, *files]

    def settings(self) -> Any:
        """Place what can be chosen: beside the answer, and below it where there is no room."""
        return self.gradio.Column(elem_classes="bitlens-settings")

    def asking(self) -> Any:
        """Place what is asked: an input, examples, buttons, `settings`."""
        return self.gradio.Column(scale=4, min_width=300, elem_classes="bitlens-asking")

    def networks(self) -> Any:
        """Place what a network is chosen with."""
        return self.gradio.Dropdown(
            list(self.shelf.labels), value=self.shelf.labels[0], label="Network", info="What is asked.", min_width=180
        )

    def methods(self, kind: Kind, first: str) -> Any:
        """Place what methods are chosen with, those for inputs of a kind; one is chosen already."""
        return self.gradio.Dropdown(
            list(METHODS[kind]),
            value=[first],
            multiselect=True,
            max_choices=_MOST_METHODS,
            label="Methods",
            info=f"Up to {_MOST_METHODS}, shown side by side.",
            elem_id=f"{self.name}-methods",
        )

    def aim(self, ends: tuple[float, float], beta: float) -> tuple[Any, Any, Any]:
        """Place what says how much passes: the share that is held; in place of it a price, as in the papers."""
        gr = self.gradio
        keep = gr.Slider(
            50,
            99,
            value=round(100 * KEEP),
            step=1,
            label="Hold so much of the decision, in %",
            info="The map holds at least this share, with as few bits as the search finds.",
            elem_id=f"{self.name}-keep",
        )
        with gr.Accordion("As in the papers: a price in place of it", open=False, elem_id=f"{self.name}-papers"):
            priced = gr.Checkbox(
                False,
                label="A price decides how much passes",
                info="Then nothing is held on purpose: see what the numbers say.",
                elem_id=f"{self.name}-priced",
            )
            price = gr.Slider(
                *ends,
                **price_choice(beta),
                step=0.25,
                info="Of one bit, against the network's loss. Further right, less passes.",
                elem_id=f"{self.name}-beta",
                elem_classes="bitlens-beta",
            )
        named: Callable[[float], Any] = lambda exponent: gr.update(label=_price_label(10**exponent))  # noqa: E731
        price.change(named, [price], [price], api_visibility="private", show_progress="hidden")
        return keep, priced, price

    def curve(self) -> Any:
        """Place what asks for the curve of a decision."""
        return self.gradio.Checkbox(
            True,
            label="How few bits until the decision goes?",
            info="A curve of maps that hold less and less; of bottlenecks.",
            elem_id=f"{self.name}-curve",
        )

    def against(self) -> Any:
        """Place what asks for the bits against an answer as well."""
        return self.gradio.Checkbox(
            False,
            label="And what speaks against it?",
            info="Bits for the answer less bits against it, in two colours; of bottlenecks, twice the work.",
            elem_id=f"{self.name}-signed",
        )

    def _handed(self, files: Sequence[Path]) -> list[Any]:
        """Put files behind the buttons; without files there is nothing to take."""
        if not files:
            return [self.gradio.update(value=None, interactive=False)] * len(self.files)
        return [self.gradio.update(value=str(file), interactive=True) for file in files]


def price_choice(beta: float) -> dict[str, Any]:
    """Say where a price stands, and how it is called."""
    return {"value": round(log10(beta) * 4) / 4, "label": _price_label(beta)}


def target_choice(desk: Desk) -> dict[str, Any]:
    """Say what a network can be asked about."""
    names = [f"{number}: {name}" for number, name in enumerate(desk.classes or ())]
    return {
        "choices": [PREDICTED, *names],
        "value": PREDICTED,
        "label": "Class",
        "info": "What is asked about." if names else "Or its number; or: binary, regression, multi-label:2.",
        "allow_custom_value": not names,
    }


def number_in(target: str | None) -> int | None:
    """Return the number with which a target begins, as `target_choice` writes classes; None of any other."""
    number = (target or "").partition(":")[0].strip()
    return int(number) if number.isascii() and number.isdigit() and len(number) <= 9 else None


def bounded_exponent(exponent: Any) -> float:
    """Take the exponent of a price that a visitor chose, as far as any slider goes.

    Raises:
        SettingError: if it is none.
    """
    if isinstance(exponent, bool) or not isinstance(exponent, int | float) or not -6 <= exponent <= 6:
        raise SettingError("the price of a bit lies between 0.000001 and 1,000,000")
    return float(exponent)


def bounded_share(percent: Any) -> float:
    """Take the share of the decision that a visitor chose, in percent.

    Raises:
        SettingError: if it is none.
    """
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not 1 <= percent <= 99:
        raise SettingError("the share of the decision to hold lies between 1 and 99 %")
    return float(percent) / 100


def chosen_methods(methods: Any, kind: Kind) -> tuple[str, ...]:
    """Take the methods that a visitor chose, each once.

    Raises:
        SettingError: if none was chosen, too many were, or one is not offered.
    """
    if not isinstance(methods, list) or not all(isinstance(name, str) and name in METHODS[kind] for name in methods):
        raise SettingError("a method is not offered here: choose among those of the list")
    if not methods:
        raise SettingError("no method was chosen: choose at least one")
    if len(methods) > _MOST_METHODS:
        raise SettingError(f"{len(methods)} methods were chosen: at most {_MOST_METHODS} are compared at once")
    return tuple(dict.fromkeys(methods))


def chosen_layer(layer: Any, desk: Desk) -> str:
    """Take the layer that a visitor chose.

    Raises:
        SettingError: if the network has no such layer, or it is not offered.
    """
    if not isinstance(layer, str) or layer not in desk.layers:
        raise SettingError("there is no such layer: choose another")
    return layer


def _price_label(beta: float) -> str:
    return f"Price of a bit: β = {beta:.3g}"
