"""The tab for texts: a text, a network, a method; words shaded by bits."""

from collections.abc import Callable, Iterator
from typing import Any

from typing_extensions import override

from bitlens.app.evidence import message_html
from bitlens.app.offers import Desk
from bitlens.app.tab import PREDICTED, Tab, bounded_exponent, bounded_share
from bitlens.data.texts import open_texts
from bitlens.explaining.explainer import Explainer, Explanation, page
from bitlens.methods import METHODS, entry_of
from bitlens.methods.specs import settings_of_callable
from bitlens.methods.teaching import Source, Teacher
from bitlens.system.files import write_text

_LONGEST = 5000  # characters
_EXAMPLES = 4
_LEARNT_FROM = 500  # texts
_WAITING = "Paste a text, or take one of the examples below. The words it uses are shaded here."


class TextTab(Tab):
    """Contents of the tab, but for its place on the page."""

    def build(self) -> None:
        """Put the tab on the page that is being built."""
        gr, first = self.gradio, self.network(self.shelf.labels[0])
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                text = gr.Textbox(label="Text", lines=6, max_length=_LONGEST, elem_id="text")
                network = self.networks()
                method = gr.Dropdown(list(METHODS["text"]), value="token-iba", label="Method")
                layer = gr.Dropdown(**self.layer_choice(first))
                target = gr.Dropdown(**self.target_choice(first))
                keep, priced, beta = self.aim((-3, 3), first.beta, "text-beta")
                go = gr.Button("Explain", variant="primary", elem_id="explain-text")
            with gr.Column(scale=3, min_width=340):
                shaded = gr.HTML(message_html(_WAITING), elem_id="shaded")
                downloads = self.downloads({"page": "Page (html)", "tokens": "Attribution (safetensors)"})
        samples = open_texts("builtin:reviews")
        gr.Examples(
            [[samples[i].text] for i in range(_EXAMPLES)], inputs=[text], label="Bundled reviews", cache_examples=False
        )
        triggers = [go.click, text.submit, method.input, layer.input, beta.release, target.input]
        triggers += [keep.release, priced.input]
        inputs, outputs = [text, network, method, layer, beta, target, keep, priced], [shaded, *downloads]
        self.answering(self.explain, inputs, outputs, shaded, "texts", triggers)

    @override
    def layer_choice(self, desk: Desk) -> dict[str, Any]:
        return {"choices": list(desk.layers), "value": desk.layer or None, "label": "Layer (of the bottlenecks)"}

    @override
    def target_choice(self, desk: Desk) -> dict[str, Any]:
        return {
            "choices": [PREDICTED, *(desk.classes or ())],
            "value": PREDICTED,
            "label": "Class" if desk.classes else "Class (its number; or: binary, regression, multi-label:2)",
            "allow_custom_value": not desk.classes,
        }

    def explain(
        self,
        text: str,
        network: str,
        method: str,
        layer: str,
        exponent: float,
        target: str,
        keep: float,
        priced: bool,
    ) -> Iterator[tuple[Any, ...]]:
        """Say what is being done, then the answer; without a text, an invitation."""
        gr = self.gradio
        if not text.strip():
            yield message_html(_WAITING), *[gr.update(interactive=False, value=None)] * 2
            return
        yield message_html(f"{network} reads the text …"), *[gr.skip()] * 2
        desk = self.network(network)

        def answer(*_: object) -> Explanation:
            with desk.lock:
                price, share = float(f"{10 ** bounded_exponent(exponent):.3g}"), bounded_share(keep)
                aim = {"beta": price} if priced is True else {"keep": share}
                return self._explained(text[:_LONGEST], desk, method, layer, aim, target)

        told: Callable[..., tuple[Any, ...]] = lambda remark, _: (message_html(remark), *[gr.skip()] * 2)  # noqa: E731
        found = yield from self.working(network, "text", answer, told)
        folder = self.folders.new()
        files = [folder / "text.html", folder / "text.safetensors"]
        write_text(files[0], page([found], "bitlens"))
        found.attribution.save(files[1])
        yield found.html(), *self.handed(files)

    @staticmethod
    def _explained(text: str, desk: Desk, method: str, layer: str, aim: dict[str, float], target: str) -> Explanation:
        loaded, entry = desk.loaded, entry_of(method, "text")
        known = settings_of_callable(entry.build)
        chosen: dict[str, Any] = {"layer": layer, **aim}
        explainer = Explainer(loaded, method=method, **{name: value for name, value in chosen.items() if name in known})
        if entry.lesson is not None and not explainer.ready and desk.offer.learns_from:
            samples = Source.open(desk.offer.learns_from, "text", _LEARNT_FROM)
            Teacher(loaded, samples).teach(entry.lesson, explainer.method)
        return explainer(text, target=None if target == PREDICTED else target)
