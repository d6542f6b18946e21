"""What the tabs have in common: networks of a shelf, a price, files to take home, and refusals in one sentence."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import log10
from pathlib import Path
from typing import Any

from bitlens.app.files import Folders
from bitlens.app.offers import Desk, Shelf
from bitlens.errors import BitlensError
from bitlens.system.console import Debugging
from bitlens.system.optional import need

PREDICTED = "what the network says"


class Tab(ABC):
    """The parts of a tab.

    Args:
        shelf: the networks that are offered.
        folders: where files for visitors are put.
    """

    def __init__(self, shelf: Shelf, folders: Folders) -> None:
        self.shelf, self.folders = shelf, folders
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
            queue: questions of one queue wait for each other.
            triggers: what an answer follows.
        """
        places = {"inputs": inputs, "outputs": outputs, "show_progress_on": [shown]}
        asked = {**places, "api_visibility": "private", "concurrency_id": queue, "concurrency_limit": 1}
        _, network, _, *chosen = inputs
        network.change(self.choose, [network], chosen[:3], api_visibility="private").then(explain, **asked)
        return [trigger(explain, **asked, trigger_mode="always_last") for trigger in triggers]

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


def _price_label(beta: float) -> str:
    return f"Price of a bit: β = {beta:.3g} (right: keep less)"
