"""The tab for texts: a text, a network, a method; words shaded by bits."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import log10
from pathlib import Path
from typing import Any

from bitlens.app.evidence import message_html
from bitlens.app.files import Folders
from bitlens.data.texts import open_texts
from bitlens.errors import BitlensError
from bitlens.explaining.explainer import Explainer, Explanation, page
from bitlens.methods import METHODS, entry_of
from bitlens.methods.specs import settings_of_callable
from bitlens.methods.teaching import Source, Teacher
from bitlens.models.builtin import BUILTIN_TEXT
from bitlens.models.load import load_model
from bitlens.models.load_text import text_layers
from bitlens.models.loaded import Loaded
from bitlens.system.files import write_text
from bitlens.system.optional import need

_LONGEST = 5000  # characters
_EXAMPLES = 4
_LEARNT_FROM = 500  # texts
_PREDICTED = "what the network says"
_WAITING = "Paste a text, or take one of the examples below. The words it uses are shaded here."


@dataclass(frozen=True)
class TextOffer:
    """A network for texts that visitors may ask.

    Attributes:
        spec: as `bitlens text explain --model` takes it.
        learns_from: texts that statistics are made from; not needed by bundled networks.
    """

    spec: str
    learns_from: str = ""

    @property
    def label(self) -> str:
        """What visitors see: no folders of this machine."""
        return self.spec if self.spec.startswith(("builtin/", "hf/")) else Path(self.spec).name


def builtin_text_offers() -> list[TextOffer]:
    """The networks for texts that come with bitlens."""
    return [TextOffer(f"builtin/{name}") for name in BUILTIN_TEXT]


class TextTab:
    """Everything of the tab but its place on the page.

    Args:
        offers: the networks, at least one.
        device: where they run.
        folders: where files for visitors are put.
    """

    def __init__(self, offers: list[TextOffer], device: str, folders: Folders) -> None:
        self._offers: Mapping[str, TextOffer] = {offer.label: offer for offer in offers}
        self._device, self._folders = device, folders
        self._loaded: dict[str, Loaded] = {}
        self._lock = threading.RLock()  # one question at a time
        self._gradio = need("gradio", "app")

    def build(self) -> None:
        """Put the tab on the page that is being built."""
        gr, first = self._gradio, next(iter(self._offers))
        loaded = self._network(first)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                text = gr.Textbox(label="Text", lines=6, max_length=_LONGEST, elem_id="text")
                network = gr.Dropdown(list(self._offers), value=first, label="Network")
                method = gr.Dropdown(list(METHODS["text"]), value="iba", label="Method")
                layer = gr.Dropdown(**_layer_choice(loaded))
                beta = gr.Slider(
                    -3, 3, value=_exponent(loaded), step=0.25, label=_beta_label(_exponent(loaded)), elem_id="text-beta"
                )
                target = gr.Dropdown(**_target_choice(loaded))
                go = gr.Button("Explain", variant="primary", elem_id="explain-text")
            with gr.Column(scale=3, min_width=340):
                shaded = gr.HTML(message_html(_WAITING), elem_id="shaded")
                with gr.Row():
                    downloads = [
                        gr.DownloadButton(words, interactive=False, elem_id=f"download-{kind}")
                        for kind, words in (("page", "Page (html)"), ("tokens", "Attribution (safetensors)"))
                    ]
        samples = open_texts("builtin:reviews")
        gr.Examples(
            [[samples[i].text] for i in range(_EXAMPLES)], inputs=[text], label="Bundled reviews", cache_examples=False
        )
        asked = {
            "inputs": [text, network, method, layer, beta, target],
            "outputs": [shaded, *downloads],
            "api_visibility": "private",
            "concurrency_id": "texts",
            "concurrency_limit": 1,
            "show_progress_on": [shaded],
        }
        for trigger in (go.click, text.submit, method.input, layer.input, beta.release, target.input):
            trigger(self.explain, **asked, trigger_mode="always_last")
        network.change(self.choose, [network], [layer, beta, target], api_visibility="private").then(
            self.explain, **asked
        )
        beta.change(lambda exponent: gr.update(label=_beta_label(exponent)), [beta], [beta], api_visibility="private")

    def choose(self, network: str) -> tuple[Any, Any, Any]:
        """What can be chosen at another network."""
        gr, loaded = self._gradio, self._network(network)
        return (
            gr.update(**_layer_choice(loaded)),
            gr.update(value=_exponent(loaded)),
            gr.update(**_target_choice(loaded)),
        )

    def explain(
        self, text: str, network: str, method: str, layer: str, exponent: float, target: str
    ) -> Iterator[tuple[Any, ...]]:
        """First what is being done, then the answer; without a text, an invitation."""
        gr = self._gradio
        if not text.strip():
            yield message_html(_WAITING), *[gr.update(interactive=False, value=None)] * 2
            return
        yield message_html(f"{network} reads the text …"), *[gr.skip()] * 2
        try:
            with self._lock:
                found = self._explained(text[:_LONGEST], network, method, layer, 10**exponent, target)
        except BitlensError as error:
            raise gr.Error(str(error), title="This cannot be explained") from error
        except Exception as error:
            raise gr.Error(
                f"the network {network} failed on this text: {type(error).__name__}: {error}",
                title="The network failed",
            ) from error
        folder = self._folders.new()
        files = [folder / "text.html", folder / "text.safetensors"]
        write_text(files[0], page([found], "bitlens"))
        found.attribution.save(files[1])
        yield found.html(), *[gr.update(value=str(file), interactive=True) for file in files]

    def _explained(self, text: str, network: str, method: str, layer: str, beta: float, target: str) -> Explanation:
        loaded, offer, entry = self._network(network), self._offers[network], entry_of(method, "text")
        known = settings_of_callable(entry.build)
        chosen: dict[str, Any] = {"layer": layer, "beta": float(f"{beta:.3g}")}
        explainer = Explainer(loaded, method=method, **{name: value for name, value in chosen.items() if name in known})
        if entry.lesson is not None and not explainer.ready:
            samples = Source.open(offer.learns_from or "builtin:reviews", "text", _LEARNT_FROM)
            Teacher(loaded, samples).teach(entry.lesson, explainer.method)
        return explainer(text, target=None if target == _PREDICTED else target)

    def _network(self, label: str) -> Loaded:
        with self._lock:
            if label not in self._loaded:
                try:
                    self._loaded[label] = load_model(self._offers[label].spec, None, self._device, kind="text")
                except BitlensError as error:
                    raise self._gradio.Error(str(error), title="This network cannot be used") from error
            return self._loaded[label]


def _layer_choice(loaded: Loaded) -> dict[str, Any]:
    layers = list(dict.fromkeys([loaded.embedding, *text_layers(loaded.model)]))
    if loaded.layer is not None and loaded.layer not in layers:
        layers.insert(0, loaded.layer)
    return {"choices": layers, "value": loaded.layer, "label": "Layer (of the bottlenecks)"}


def _target_choice(loaded: Loaded) -> dict[str, Any]:
    return {
        "choices": [_PREDICTED, *(loaded.classes or ())],
        "value": _PREDICTED,
        "label": "Class" if loaded.classes else "Class (its number; or: binary, regression, multi-label:2)",
        "allow_custom_value": not loaded.classes,
    }


def _exponent(loaded: Loaded) -> float:
    return round(log10(1.0 if loaded.beta is None else loaded.beta) * 4) / 4


def _beta_label(exponent: float) -> str:
    return f"Price of a bit: β = {10**exponent:.3g} (right: keep less)"
