"""What it takes to carry out a plan: network, data, methods and metrics, ready."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bitlens.evaluation.learning import Learner, Told
from bitlens.evaluation.measures import metric_settings, ready_metric
from bitlens.evaluation.plan import Plan
from bitlens.evaluation.scored import Scored
from bitlens.evaluation.sides import Side, side_of
from bitlens.evaluation.subject import CaseOf, Subject
from bitlens.explaining.asked import with_output
from bitlens.methods import entry_of
from bitlens.methods.building import map_alone, method_settings
from bitlens.methods.lessons import Collect
from bitlens.methods.specs import Spec
from bitlens.methods.teaching import Source
from bitlens.models.load import load_model
from bitlens.models.loaded import Loaded
from bitlens.probe.fingerprint import weights_hash


@dataclass(frozen=True)
class Context:
    """What a plan needs, ready.

    Attributes:
        plan: the plan.
        side: the network, and what is particular to photos or to texts.
        samples: the data set.
        learner: builds methods on other networks, too.
        methods: by label, ready to explain.
        metrics: by label, ready to measure.
        maps: the folder where maps are kept, if they are.
    """

    plan: Plan
    side: Side
    samples: Sequence[Any]
    learner: Learner
    methods: Mapping[str, Any]
    metrics: Mapping[str, Callable[[Any], Scored | None]]
    maps: Path | None = None
    _networks: dict[tuple[str, str], list[Loaded]] = field(default_factory=dict, init=False)
    _randomised: dict[tuple[str, str, str], list[Any]] = field(default_factory=dict, init=False)

    @property
    def loaded(self) -> Loaded:
        """The network."""
        return self.side.loaded

    @property
    def noun(self) -> str:
        """What many samples are called."""
        return self.side.noun

    def settings(self) -> dict[str, Any]:
        """Return everything that decides the rows, as plain values."""
        plan, own = self.plan, self.side.settings()
        statistics = {"from": _without_folder(plan.learns_from), "count": plan.statistics_count}
        return {
            "model": _without_folder(plan.model),
            "weights": self._weights,
            "data": _without_folder(plan.data),
            "samples": len(self.samples),
            "seed": plan.seed,
            **own,
            "statistics": {**statistics, **own.get("statistics", {})},
            "methods": {label: method_settings(spec, self.methods[label]) for label, spec in plan.methods.items()},
            "metrics": {label: self._metric_settings(spec) for label, spec in plan.metrics.items()},
        }

    def learn_all(self) -> None:
        """Learn now what the evaluation would learn on its way, so that what is kept is all there is to learn."""
        for spec in self.plan.metrics.values():
            settings = metric_settings(spec)
            if "layers" in settings:
                for label, method in self.plan.methods.items():
                    if entry_of(method.name, self.loaded.kind).lesson is not None:
                        self._on_random_networks(label, settings["layers"], settings["initialiser"])

    def read(self, sample: Any) -> Subject:
        """Read a sample of the data set as the network sees it."""
        return self.side.read(sample)

    def fingerprint(self, sample: Any) -> str:
        """Tell a sample's content apart from others."""
        return self.side.fingerprint(sample)

    def case(self, subject: Any, method: str, known: Any = None) -> CaseOf:
        """Bring one sample and one method together; `known` is its map without the first axis if it is there already."""
        ready = self.methods[method]
        return self.side.case(
            subject,
            ready,
            map_alone(ready),
            known,
            lambda layers, initialiser: self._on_random_networks(method, layers, initialiser),
        )

    def _on_random_networks(self, method: str, layers: str, initialiser: str) -> list[Any]:
        """The method on networks that are randomised step by step; they are kept, one copy of the network for each step."""
        key = (layers, initialiser)
        if key not in self._networks:
            self._networks[key] = self.side.random_networks(_names(layers), initialiser)
        mine = (method, layers, initialiser)
        if mine not in self._randomised:
            spec, trained = self.plan.methods[method], self.methods[method]
            self._randomised[mine] = [
                self.learner.ready(spec, loaded, (trained, self.side)) for loaded in self._networks[key]
            ]
        return self._randomised[mine]

    def _metric_settings(self, spec: Spec) -> dict[str, Any]:
        settings = metric_settings(spec)
        if "layers" in settings:  # which ones there are by default, only the network can tell
            settings["layers"] = "+".join(self.side.random_layers(_names(settings["layers"])))
        return settings

    @cached_property
    def _weights(self) -> str:
        return weights_hash(self.loaded.model)


def open_context(
    plan: Plan,
    folder: Path,
    device: str,
    told: Told,
    *,
    keep_maps: bool = False,
    collect: Collect | None = None,
) -> Context:
    """Load the network and the data set, build the methods and let them learn what they must.

    Args:
        plan: what is to be evaluated.
        folder: of the results.
        device: where the network runs.
        told: of learning.
        keep_maps: whether maps are kept in the folder, and used again.
        collect: runs photos through a network for statistics; by default this process.
    """
    named = [spec.settings for spec in plan.methods.values()]
    loaded = with_output(load_model(plan.model, plan.weights, device, kind=plan.kind), named)
    samples = Source.open(plan.data, loaded.kind, 0).samples
    learner = Learner(plan, folder / "learned", samples, told, collect)
    return make_context(plan, loaded, samples, learner, folder / "maps" if keep_maps else None)


def make_context(plan: Plan, loaded: Loaded, samples: Sequence[Any], learner: Learner, maps: Path | None) -> Context:
    """Build the methods and let them learn what they must; see `Context`."""
    return Context(
        plan,
        side_of(plan, loaded),
        samples,
        learner,
        {label: learner.ready(spec, loaded) for label, spec in plan.methods.items()},
        {label: ready_metric(spec) for label, spec in plan.metrics.items()},
        maps,
    )


def _names(layers: str) -> list[str] | None:
    return layers.split("+") if layers else None


def _without_folder(name: str) -> str:
    """`csv:/somewhere/val.csv` as `csv:val.csv`, `/somewhere/net.py:build` as `net.py:build`; elsewhere it may lie elsewhere."""
    kind, colon, place = name.partition(":")
    if colon and kind.endswith(".py"):
        return f"{Path(kind).name}:{place}"
    if colon and kind in ("folder", "csv", "imagenet", "jsonl", "tsv"):
        return f"{kind}:{Path(place).expanduser().resolve().name}"
    is_model = (Path(name).expanduser() / "config.json").is_file()
    return Path(name).expanduser().resolve().name if is_model else name
