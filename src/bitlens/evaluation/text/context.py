"""What it takes to carry out a plan for texts: network, data, methods and metrics, ready."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from bitlens.core.passes import rows_at_once
from bitlens.data.texts import TextSample, open_texts
from bitlens.evaluation.learning import Progress
from bitlens.evaluation.measures import metric_settings, ready_metric
from bitlens.evaluation.scored import Scored
from bitlens.evaluation.text.case import Text, TextCase, read_text, text_fingerprint
from bitlens.evaluation.text.learning import ready_method
from bitlens.evaluation.text.plan import TextPlan
from bitlens.methods.building import map_alone
from bitlens.models.load_text import LoadedText, load_text_model
from bitlens.probe import Network
from bitlens.probe.fingerprint import weights_hash

__all__ = ["TextContext", "open_text_context"]


@dataclass(frozen=True)
class TextContext:
    """What a plan needs, ready.

    Attributes:
        plan: the plan.
        loaded: the network and its tokenizer.
        network: the same, with what it has learnt about inputs.
        samples: the data set.
        methods: by label, ready to explain.
        metrics: by label, ready to measure.
        maps: the folder where maps are kept, if they are.
    """

    plan: TextPlan
    loaded: LoadedText
    network: Network
    samples: Sequence[TextSample]
    methods: Mapping[str, Any]
    metrics: Mapping[str, Callable[[TextCase], Scored | None]]
    maps: Path | None = None

    def settings(self) -> dict[str, Any]:
        """Everything that decides the rows, as plain values."""
        plan = self.plan
        return {
            "model": _without_folder(plan.model),
            "weights": self._weights,
            "tokenizer": type(self.loaded.tokenizer).__name__,
            "max_tokens": plan.max_tokens,
            "asked": plan.asked,
            "data": _without_folder(plan.data),
            "samples": len(self.samples),
            "seed": plan.seed,
            "statistics": {"from": _without_folder(plan.learns_from), "count": plan.statistics_count},
            "methods": {
                label: _method_settings(spec.name, self.methods[label]) for label, spec in plan.methods.items()
            },
            "metrics": {label: metric_settings(spec) for label, spec in plan.metrics.items()},
        }

    def read(self, sample: TextSample) -> Text:
        """A text of the data set as the network sees it; see `read_text`."""
        return read_text(sample, self.loaded, self.plan.max_tokens, predicted=self.plan.asked == "predicted")

    def fingerprint(self, sample: TextSample) -> str:
        """Of a text of the data set."""
        return text_fingerprint(sample)

    def case(self, text: Text, method: str, known: Tensor | None = None) -> TextCase:
        """One text and one method; `known` is the map (T,) if it is there already."""
        ready = self.methods[method]
        rows = rows_at_once(self.network.bytes_per_row(self.network.prepared(text.batch.inputs)), self.network.device)
        return TextCase(text, self.loaded, ready, self.plan.seed, rows=rows, options=map_alone(ready), known=known)

    @cached_property
    def _weights(self) -> str:
        return weights_hash(self.loaded.model)


def open_text_context(
    plan: TextPlan, folder: Path, device: str, progress: Progress, *, keep_maps: bool = False
) -> TextContext:
    """Load the network and the data set, build the methods and let them learn what they must.

    Args:
        plan: what is to be evaluated.
        folder: of the results.
        device: where the network runs.
        progress: told of learning.
        keep_maps: whether maps are kept in the folder, and used again.
    """
    loaded, samples = load_text_model(plan.model, plan.weights, device), open_texts(plan.data)
    methods = {
        label: ready_method(spec, plan, loaded, samples, folder / "learned", progress)
        for label, spec in plan.methods.items()
    }
    metrics = {label: ready_metric(spec) for label, spec in plan.metrics.items()}
    return TextContext(
        plan, loaded, Network(loaded.model), samples, methods, metrics, folder / "maps" if keep_maps else None
    )


def _method_settings(name: str, method: Any) -> dict[str, Any]:
    """Everything that decides what a method's maps look like, as plain values."""
    if hasattr(method, "all_settings"):
        return {"name": name, "layers": list(method.layers), **method.all_settings()}
    return {"name": name, **method.settings(), "seed": method.seed}


def _without_folder(name: str) -> str:
    """`jsonl:/somewhere/test.jsonl` as `jsonl:test.jsonl`, and a network likewise; elsewhere it may lie elsewhere."""
    kind, colon, place = name.partition(":")
    if colon and kind.endswith(".py"):
        return f"{Path(kind).name}:{place}"
    if kind in ("jsonl", "tsv"):
        return f"{kind}:{Path(place).name}"
    return Path(name).resolve().name if Path(name).expanduser().is_dir() else name
