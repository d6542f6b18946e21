"""What it takes to carry out a plan: network, data, methods and metrics, ready."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, final

from torch import Tensor

from bitlens.core.passes import rows_at_once
from bitlens.evaluation.case import Case, CaseOf, TextCase
from bitlens.evaluation.in_domain_scoring import DELETIONS
from bitlens.evaluation.judges import Judges
from bitlens.evaluation.learning import Learner, Told
from bitlens.evaluation.measures import metric_settings, ready_metric
from bitlens.evaluation.plan import Plan
from bitlens.evaluation.scored import Scored
from bitlens.explaining.photo import Photo, fingerprint, read_photo
from bitlens.explaining.text import Text, read_text, text_fingerprint
from bitlens.explaining.wanted import with_output
from bitlens.methods import entry_of
from bitlens.methods.building import grey_photo, layer_for, method_settings
from bitlens.methods.labels import check_reading, labels_for, with_classes
from bitlens.methods.lessons import Collect
from bitlens.methods.specs import Spec
from bitlens.methods.teaching import Source
from bitlens.metrics.randomisation import cascade, cascade_steps
from bitlens.models.load import load_model
from bitlens.models.loaded import Loaded
from bitlens.probe import Network
from bitlens.probe.fingerprint import weights_hash


@dataclass(frozen=True)
class Context(ABC):
    """Parts that a plan needs, ready, for photos or for texts.

    Attributes:
        plan: the plan.
        loaded: the network.
        samples: the data set.
        learner: builds methods on other networks, too.
        methods: by label, ready to explain.
        metrics: by label, ready to measure.
        maps: the folder where maps are kept, if they are.
    """

    plan: Plan
    loaded: Loaded
    samples: Sequence[Any]
    learner: Learner
    methods: Mapping[str, Any]
    metrics: Mapping[str, Callable[[Any], Scored | None]]
    maps: Path | None = None
    _networks: dict[tuple[str, str], list[Loaded]] = field(default_factory=dict, init=False)
    _randomised: dict[tuple[str, str, str], list[Any]] = field(default_factory=dict, init=False)
    _seeded: dict[tuple[str, int], Any] = field(default_factory=dict, init=False)

    noun: ClassVar[str]
    """What many samples are called."""

    @abstractmethod
    def read(self, sample: Any) -> Photo | Text:
        """Read a sample of the data set as the network sees it, and ask the network about it."""

    @abstractmethod
    def fingerprint(self, sample: Any) -> str:
        """Tell a sample's content apart from others."""

    @abstractmethod
    def case(self, subject: Any, method: str, known: Tensor | None = None) -> CaseOf:
        """Bring one sample and one method together; `known` is its map without the first axis if it is there already."""

    @abstractmethod
    def own_settings(self) -> dict[str, Any]:
        """Return what of this kind decides the rows, as plain values."""

    @cached_property
    def network(self) -> Network:
        """The network as the probe holds it."""
        return Network(self.loaded.model, output=self.loaded.output)

    @cached_property
    def judges(self) -> Judges:
        """Copies of the network that know deletions."""
        return self.learner.judges(self.loaded)

    def settings(self) -> dict[str, Any]:
        """Return everything that decides the rows, as plain values."""
        plan, own = self.plan, self.own_settings()
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
            if spec.name in DELETIONS:
                self.judges.knowing(DELETIONS[spec.name](settings), settings["epochs"])
            if "layers" in settings:
                for label, method in self.plan.methods.items():
                    if entry_of(method.name, self.loaded.kind).lesson is not None:
                        self._on_random_networks(label, settings["layers"], settings["initialiser"])

    def _on_random_networks(self, method: str, layers: str, initialiser: str) -> list[Any]:
        """Return the method on networks that are randomised step by step; they are kept, one for each step."""
        key = (layers, initialiser)
        if key not in self._networks:
            made = cascade(
                self.loaded.model,
                grey_photo(self.loaded),
                _names(layers),
                initialiser=initialiser,
                seed=self.plan.seed,
            )
            self._networks[key] = [replace(self.loaded, model=network) for _, network in made]
        mine = (method, layers, initialiser)
        if mine not in self._randomised:
            spec, trained = self.plan.methods[method], self.methods[method]
            self._randomised[mine] = [self.learner.ready(spec, loaded, trained) for loaded in self._networks[key]]
        return self._randomised[mine]

    def _with_other_seeds(self, method: str, count: int) -> list[Any]:
        """Return the method with the seeds that follow its own; they are kept."""
        trained = self.methods[method]
        for seed in range(trained.seed + 1, trained.seed + 1 + count):
            if (method, seed) not in self._seeded:
                self._seeded[method, seed] = self.learner.reseeded(
                    self.plan.methods[method], self.loaded, trained, seed
                )
        return [self._seeded[method, seed] for seed in range(trained.seed + 1, trained.seed + 1 + count)]

    def _metric_settings(self, spec: Spec) -> dict[str, Any]:
        settings = metric_settings(spec)
        if "layers" in settings:  # which ones there are by default, only the network can tell
            steps = cascade_steps(self.loaded.model, grey_photo(self.loaded), _names(settings["layers"]))
            settings["layers"] = "+".join(step.layer for step in steps)
        if settings.get("layer") == "":
            settings["layer"] = self._layer
        return settings

    @cached_property
    def _layer(self) -> str:
        """The layer at which bits are counted, whichever method made the map."""
        return self.plan.layer or layer_for(self.loaded)

    @cached_property
    def _weights(self) -> str:
        return weights_hash(self.loaded.model)


@final
class PhotoContext(Context):
    """Parts that a plan for photos needs."""

    noun = "photos"

    def read(self, sample: Any) -> Photo:
        """Read and prepare a photo."""
        return read_photo(sample, self.network, self.loaded.preprocess, predicted=self.plan.asked == "predicted")

    def fingerprint(self, sample: Any) -> str:
        """Return that of its file or pixels."""
        return fingerprint(sample)

    def case(self, subject: Any, method: str, known: Tensor | None = None) -> Case:
        """Bring one photo and one method together."""
        others = (
            partial(self._on_random_networks, method),
            partial(self._with_other_seeds, method),
            self.judges.knowing,
        )
        return Case(
            subject, self.network, self.methods[method], self.plan.seed, known, *others, layer=lambda: self._layer
        )

    def own_settings(self) -> dict[str, Any]:
        """Return how photos are prepared, how statistics are made of them, and what is asked about."""
        return {
            "preprocessing": self.loaded.preprocess.description,
            "statistics": {"per": self.plan.statistics_per},
            "asked": self.plan.asked,
        }


@final
class TextContext(Context):
    """Parts that a plan for texts needs."""

    noun = "texts"

    def read(self, sample: Any) -> Text:
        """Cut a text into tokens."""
        return read_text(sample, self.loaded, self.plan.max_tokens, predicted=self.plan.asked == "predicted")

    def fingerprint(self, sample: Any) -> str:
        """Return that of its characters."""
        return text_fingerprint(sample)

    def case(self, subject: Any, method: str, known: Tensor | None = None) -> TextCase:
        """Bring one text and one method together."""
        inputs = self.network.prepared(subject.batch.inputs)
        rows = rows_at_once(self.network.bytes_per_row(inputs), self.network.device)
        reseeded = partial(self._with_other_seeds, method)
        return TextCase(subject, self.loaded, self.methods[method], self.plan.seed, known, reseeded, rows=rows)

    def own_settings(self) -> dict[str, Any]:
        """Return how texts are read, and what is asked about them."""
        tokenizer = type(self.loaded.tokenizer).__name__
        return {"tokenizer": tokenizer, "max_tokens": self.plan.max_tokens, "asked": self.plan.asked}


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
    loaded = load_model(plan.model, plan.weights, device, kind=plan.kind)
    loaded = with_output(loaded, [spec.settings for spec in plan.methods.values()])
    check_reading(loaded)
    loaded = with_classes(loaded, plan.classes)
    asked = labels_for(loaded) if plan.asked == "label" else None
    samples = Source.open(plan.data, loaded.kind, 0, asked).samples
    learner = Learner(plan, folder / "learned", samples, told, collect)
    return make_context(plan, loaded, samples, learner, folder / "maps" if keep_maps else None)


def make_context(plan: Plan, loaded: Loaded, samples: Sequence[Any], learner: Learner, maps: Path | None) -> Context:
    """Build the methods and let them learn what they must; see `Context`."""
    kind = PhotoContext if loaded.kind == "image" else TextContext
    return kind(
        plan,
        loaded,
        samples,
        learner,
        {label: learner.ready(spec, loaded) for label, spec in plan.methods.items()},
        {label: ready_metric(spec) for label, spec in plan.metrics.items()},
        maps,
    )


def _names(layers: str) -> list[str] | None:
    return layers.split("+") if layers else None


def _without_folder(name: str) -> str:
    """Write `csv:/somewhere/val.csv` as `csv:val.csv`, `/x/net.py:build` as `net.py:build`: elsewhere it may lie elsewhere."""
    kind, colon, place = name.partition(":")
    if colon and kind.endswith(".py"):
        return f"{Path(kind).name}:{place}"
    if colon and kind in ("folder", "csv", "table", "imagenet", "jsonl", "tsv"):
        return f"{kind}:{Path(place).expanduser().resolve().name}"
    is_model = (Path(name).expanduser() / "config.json").is_file()
    return Path(name).expanduser().resolve().name if is_model else name
