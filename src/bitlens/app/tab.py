"""What the tabs have in common: networks of a shelf, a price, files to take home, and refusals in one sentence."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from math import log10
from pathlib import Path
from typing import Any, TypeVar

from bitlens.app.answers import Watch
from bitlens.app.files import Folders
from bitlens.app.offers import Desk, Shelf
from bitlens.app.turns import Lines
from bitlens.app.work import Frame, Work
from bitlens.errors import BitlensError, SettingError
from bitlens.methods.naming import KEEP
from bitlens.system.console import Debugging
from bitlens.system.optional import need

PREDICTED = "what the network says"
MOST_SECONDS = 300.0
"""That a question may take, with what must be learnt for it."""

_WORKERS = 24  # questions that are answered or wait at once; those to one network wait for each other
T = TypeVar("T")


class Tab(ABC):
    """The parts of a tab.

    Args:
        shelf: the networks that are offered.
        folders: where files for visitors are put.
        seconds: that a question may take.
    """

    def __init__(self, shelf: Shelf, folders: Folders, seconds: float = MOST_SECONDS) -> None:
        self.shelf, self.folders, self.seconds = shelf, folders, seconds
        self.lines = Lines()
        self.gradio = need("gradio", "app")

    def network(self, label: str) -> Desk:
        """Take a network from the shelf; visitors see why it cannot be used."""
        try:
            return self.shelf[label]
        except BitlensError as error:
            raise self.gradio.Error(
                str(error), title="This network cannot be used", print_exception=Debugging.wanted
            ) from error

    def choose(self, label: str) -> tuple[Any, ...]:
        """Show what can be chosen at another network: layer, price, target."""
        desk = self.network(label)
        choices = (self.layer_choice(desk), price_choice(desk.beta), self.target_choice(desk))
        return tuple(self.gradio.update(**choice) for choice in choices)

    @abstractmethod
    def layer_choice(self, desk: Desk) -> dict[str, Any]:
        """Say which layers there are."""

    @abstractmethod
    def target_choice(self, desk: Desk) -> dict[str, Any]:
        """Say what can be asked about."""

    def answering(
        self,
        explain: Callable[..., Any],
        inputs: list[Any],
        outputs: list[Any],
        shown: Any,
        queue: str,
        triggers: list[Any],
    ) -> list[Any]:
        """Explain whenever something is chosen, and offer other choices at another network.

        Args:
            explain: gives an answer, step by step.
            inputs: what was given, the network, the method, the layer, the price, the target, and whatever else is asked.
            outputs: what an answer fills.
            shown: the one of them over which progress is shown.
            queue: the name of all that is answered so.
            triggers: what an answer follows.
        """
        places = {"inputs": inputs, "outputs": outputs, "show_progress_on": [shown]}
        asked = {**places, "api_visibility": "private", "concurrency_id": queue, "concurrency_limit": _WORKERS}
        _, network, _, *chosen = inputs
        network.change(self.choose, [network], chosen[:3], api_visibility="private").then(explain, **asked)
        return [trigger(explain, **asked, trigger_mode="always_last") for trigger in triggers]

    def working(
        self,
        network: str,
        what: str,
        answer: Callable[[Callable[[str], None], Watch], T],
        told: Callable[[str, Frame | None], tuple[Any, ...]],
    ) -> Generator[tuple[Any, ...], None, T]:
        """Answer a question when it is its turn, and say meanwhile what is being done.

        Args:
            network: that is asked.
            what: is explained: "photo".
            answer: takes what it tells its doings to, and what it shows its maps to.
            told: makes what the page shows of a remark and a picture.

        Returns:
            The answer. Refusals are shown to the visitor.
        """
        with self.refusing(network, what):
            place, work = self.lines[network].join(), None
            try:
                while number := place.ahead(1.0):
                    yield told(f"waiting: {number} to {network} before yours …", None)
                work = Work(answer, place.leave)
                for text, frame in work.news(self.seconds):
                    yield told(text, frame)
                return work.result()
            finally:
                place.leave() if work is None else work.stop()

    @contextmanager
    def refusing(self, network: str, what: str) -> Iterator[None]:
        """Let visitors see why `what` cannot be explained."""
        try:
            yield
        except BitlensError as error:
            raise self.gradio.Error(
                str(error), title="This cannot be explained", print_exception=Debugging.wanted
            ) from error
        except Exception as error:
            raise self.gradio.Error(
                f"the network {network} failed on this {what}: {type(error).__name__}: {error}",
                title="The network failed",
                print_exception=Debugging.wanted,
            ) from error

    def networks(self) -> Any:
        """Place what a network is chosen with."""
        return self.gradio.Dropdown(list(self.shelf.labels), value=self.shelf.labels[0], label="Network")

    def price(self, ends: tuple[float, float], beta: float, name: str) -> Any:
        """Place what a price is chosen with; its label follows."""
        gr = self.gradio
        slider = gr.Slider(*ends, **price_choice(beta), step=0.25, elem_id=name)
        slider.change(
            lambda exponent: gr.update(label=_price_label(10**exponent)), [slider], [slider], api_visibility="private"
        )
        return slider

    def aim(self, ends: tuple[float, float], beta: float, name: str) -> tuple[Any, Any, Any]:
        """Place what says how much passes: the share that is held; in place of it a price, as in the papers."""
        gr = self.gradio
        keep = gr.Slider(
            50, 99, value=round(100 * KEEP), step=1, label="Hold so much of the decision, in %", elem_id=f"{name}-keep"
        )
        with gr.Accordion("As in the papers: a price in place of it", open=False, elem_id=f"{name}-papers"):
            priced = gr.Checkbox(False, label="A price decides how much passes", elem_id=f"{name}-priced")
            price = self.price(ends, beta, name)
        return keep, priced, price

    def downloads(self, words: dict[str, str]) -> list[Any]:
        """Place a button for each file, by its kind."""
        gr = self.gradio
        with gr.Row():
            return [gr.DownloadButton(text, interactive=False, elem_id=f"download-{k}") for k, text in words.items()]

    def handed(self, files: Sequence[Path]) -> list[Any]:
        """Put files behind the buttons."""
        return [self.gradio.update(value=str(file), interactive=True) for file in files]


def price_choice(beta: float) -> dict[str, Any]:
    """Say where a price stands, and how it is called."""
    return {"value": round(log10(beta) * 4) / 4, "label": _price_label(beta)}


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


def _price_label(beta: float) -> str:
    return f"Price of a bit: β = {beta:.3g} (right: keep less)"
