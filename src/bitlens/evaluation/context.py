"""What it takes to carry out a plan: network, data, methods and metrics, ready."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bitlens.data.datasets import Sample, open_dataset
from bitlens.evaluation.case import Case
from bitlens.evaluation.learning import Learner, Progress
from bitlens.evaluation.measures import metric_settings, ready_metric
from bitlens.evaluation.plan import Plan
from bitlens.evaluation.scored import Scored
from bitlens.explaining.photo import Photo, fingerprint, read_photo
from bitlens.methods import METHODS
from bitlens.methods.building import grey_photo, map_alone, method_settings
from bitlens.methods.cache import Collect
from bitlens.methods.specs import Spec
from bitlens.metrics.randomisation import cascade, cascade_steps
from bitlens.models.load import LoadedModel, load_model
from bitlens.probe import Network
from bitlens.probe.fingerprint import weights_hash

__all__ = ["Context", "make_context", "open_context"]


@dataclass(frozen=True)
class Context:
    """What a plan needs, ready.

    Attributes:
        plan: the plan.
        loaded: the network.
        network: the same, with what it has learnt about inputs.
        samples: the data set.
        learner: builds methods on other networks, too.
        methods: by label, ready to explain.
        metrics: by label, ready to measure.
        maps: the folder where maps are kept, if they are.
    """

    plan: Plan
    loaded: LoadedModel
    network: Network
    samples: Sequence[Sample]
    learner: Learner
    methods: Mapping[str, Any]
    metrics: Mapping[str, Callable[[Case], Scored | None]]
    maps: Path | None = None
    _networks: dict[tuple[str, str], list[LoadedModel]] = field(default_factory=dict, init=False)
    _randomised: dict[tuple[str, str, str], list[Any]] = field(default_factory=dict, init=False)

    def settings(self) -> dict[str, Any]:
        """Everything that decides the rows, as plain values."""
        plan = self.plan
        return {
            "model": _without_folder(plan.model),
            "weights": self._weights,
            "preprocessing": self.loaded.preprocess.description,
            "data": _without_folder(plan.data),
            "samples": len(self.samples),
            "seed": plan.seed,
            "statistics": {
                "from": _without_folder(plan.learns_from),
                "count": plan.statistics_count,
                "per": plan.statistics_per,
            },
            "methods": {label: method_settings(spec, self.methods[label]) for label, spec in plan.methods.items()},
            "metrics": {label: self._metric_settings(spec) for label, spec in plan.metrics.items()},
        }

    def learn_all(self) -> None:
        """Learn now what the evaluation would learn on its way, so that what is kept is all there is to learn."""
        for spec in self.plan.metrics.values():
            settings = metric_settings(spec)
            if "layers" in settings:
                for label, method in self.plan.methods.items():
                    if METHODS[method.name].learns:
                        self._on_random_networks(label, settings["layers"], settings["initialiser"])

    def read(self, sample: Sample) -> Photo:
        """A photo of the data set as the network sees it; see `read_photo`."""
        return read_photo(sample, self.network, self.loaded.preprocess)

    def fingerprint(self, sample: Sample) -> str:
        """Of a photo of the data set."""
        return fingerprint(sample)

    def case(self, photo: Photo, method: str, known: Any = None) -> Case:
        """One photo and one method; `known` is the map (H, W) if it is there already."""
        ready = self.methods[method]
        return Case(
            photo,
            self.network,
            ready,
            self.plan.seed,
            options=map_alone(ready),
            known=known,
            randomised=lambda layers, initialiser: self._on_random_networks(method, layers, initialiser),
        )

    def _on_random_networks(self, method: str, layers: str, initialiser: str) -> list[Any]:
        """The method on networks that are randomised step by step; they are kept, one copy of the network for each step."""
        key = (layers, initialiser)
        if key not in self._networks:
            networks = cascade(
                self.loaded.model, grey_photo(self.loaded), _names(layers), initialiser=initialiser, seed=self.plan.seed
            )
            self._networks[key] = [replace(self.loaded, model=network) for _, network in networks]
        mine = (method, layers, initialiser)
        if mine not in self._randomised:
            spec, trained = self.plan.methods[method], self.methods[method]
            self._randomised[mine] = [self.learner.ready(spec, loaded, trained) for loaded in self._networks[key]]
        return self._randomised[mine]

    def _metric_settings(self, spec: Spec) -> dict[str, Any]:
        settings = metric_settings(spec)
        if "layers" in settings:  # which ones there are by default, only the network can tell
            steps = cascade_steps(self.loaded.model, grey_photo(self.loaded), _names(settings["layers"]))
            settings["layers"] = "+".join(step.layer for step in steps)
        return settings

    @cached_property
    def _weights(self) -> str:
        return weights_hash(self.loaded.model)


def open_context(
    plan: Plan,
    folder: Path,
    device: str,
    progress: Progress,
    *,
    keep_maps: bool = False,
    collect: Collect | None = None,
) -> Context:
    """Load the network and the data set, build the methods and let them learn what they must.

    Args:
        plan: what is to be evaluated.
        folder: of the results.
        device: where the network runs.
        progress: told of learning.
        keep_maps: whether maps are kept in the folder, and used again.
        collect: runs photos through a network for statistics; by default this process.
    """
    loaded, samples = load_model(plan.model, plan.weights, device), open_dataset(plan.data)
    learner = Learner(plan, folder / "learned", samples, progress, collect)
    return make_context(plan, loaded, samples, learner, folder / "maps" if keep_maps else None)


def make_context(
    plan: Plan, loaded: LoadedModel, samples: Sequence[Sample], learner: Learner, maps: Path | None
) -> Context:
    """Build the methods and let them learn what they must; see `Context`."""
    return Context(
        plan,
        loaded,
        Network(loaded.model),
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
    if kind in ("folder", "csv", "imagenet"):
        return f"{kind}:{Path(place).expanduser().resolve().name}"
    return f"{Path(kind).name}:{place}" if colon and kind.endswith(".py") else name
