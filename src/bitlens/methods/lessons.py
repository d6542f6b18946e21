"""What methods must learn on other inputs before they explain any: statistics, patterns, the weights of a readout.

A lesson may have parts, each kept in a file of its own: the statistics of several layers. Learning is dispatched here and
nowhere else; `teaching.py` says where what was learnt is kept.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from bitlens.baselines.patterns import Patterns
from bitlens.bottlenecks.readout.weights import ReadoutWeights
from bitlens.bottlenecks.token_statistics import TokenStatistics, collect_token_statistics
from bitlens.core.statistics import FeatureStatistics, Granularity, Provenance, warn_if_few
from bitlens.data.batches import tensor_batches
from bitlens.data.datasets import Sample
from bitlens.data.kinds import Kind
from bitlens.data.preprocessing import Preprocessing
from bitlens.data.texts import TextSample
from bitlens.data.tokenizing import TokenBatch
from bitlens.errors import SettingError, StatisticsError
from bitlens.models.loaded import Loaded
from bitlens.probe.collecting import summarise, summarise_layers
from bitlens.probe.fingerprint import weights_hash
from bitlens.training.examples import Photos
from bitlens.training.settings import TrainingSettings
from bitlens.version import __version__

_BATCH = 16
OnSeen = Callable[[int], None]
"""Told how many samples were seen so far."""

Collect = Callable[[Any, Sequence[Sample], Preprocessing, Granularity, OnSeen], FeatureStatistics]
"""Makes statistics of a bottleneck's layer over photos; what cannot be read is left out with a warning."""

B = TypeVar("B", Tensor, TokenBatch)


@dataclass(frozen=True)
class How:
    """Settings of learning a lesson.

    Attributes:
        per: of statistics over photos: "channel" or "element".
        collect: runs photos through a network for statistics; None for this process.
    """

    per: Granularity = "channel"
    collect: Collect | None = None


@dataclass(frozen=True)
class Class:
    """Methods on one network that are given a lesson, and the samples that were chosen for it.

    Attributes:
        loaded: the network.
        source: the name of the data set.
        samples: photos or texts.
        how: the rest.
    """

    loaded: Loaded
    source: str
    samples: Sequence[Any]
    how: How

    @property
    def data(self) -> str:
        """Return what is written down of where the samples come from."""
        return f"{self.source} ({len(self.samples)} {'photos' if self.loaded.kind == 'image' else 'texts'})"

    @property
    def reader(self) -> str:
        """Return what is written down of how they were prepared."""
        return self.loaded.preprocess.description if self.loaded.kind == "image" else ""


class Lesson(ABC):
    """One thing to learn.

    Attributes:
        name: what it is called in messages and options.
        setting: the keyword that gives it to a method's constructor, and the attribute that holds it.
        option: of the command line, that names a file of it.
        command: of the command line, that makes such a file.
        holds: what a file of it holds.
    """

    name: str
    setting: str
    option: str
    command: str
    holds: Any

    def parts(self, method: Any) -> tuple[str, ...]:
        """Name what is kept in files of their own."""
        return (method.probe.name,)

    def knows(self, method: Any) -> bool:
        """Say whether a method has learnt it."""
        try:
            return getattr(method, self.setting) is not None
        except StatisticsError:
            return False

    def take(self, method: Any) -> dict[str, Any]:
        """Return what a method has learnt, by part."""
        return {part: getattr(method, self.setting) for part in self.parts(method)}

    def give(self, method: Any, learnt: Mapping[str, Any]) -> None:
        """Hand a method what it must know; it checks that it belongs to its network."""
        (one,) = learnt.values()
        setattr(method, self.setting, one)

    def load(self, path: Path) -> Any:
        """Read one part from its file (DataError where that is damaged)."""
        return self.holds.load(path)

    def label(self, method: Any, part: str) -> str:  # noqa: ARG002
        """Name a part's file in a folder of results."""
        return f"{self.name}-{part}"

    @abstractmethod
    def key(self, method: Any, part: str, how: How) -> list[Any]:
        """Tell apart, by plain values, what is learnt from the same samples by the same network."""

    @abstractmethod
    def learn(self, wanted: Sequence[tuple[Any, str]], given: Class, progress: OnSeen) -> list[Any]:
        """Learn parts of methods on one network, each sample passing it as few times as can be.

        Args:
            wanted: methods and parts.
            given: network, samples, and how.
            progress: told of the samples seen.

        Returns:
            What was learnt, in the order of `wanted`.
        """

    def fit(self, method: Any, batches: Iterable[Any], count: int) -> None:
        """Teach a method from batches of tensors, at most `count` samples of them."""
        getattr(method, f"fit_{self.name}")(batches, count)

    def follow(self, method: Any, trained: Any, same_features: Callable[[], bool]) -> Any:  # noqa: ARG002
        """Return what a method may take over from the same method on another network of the same architecture.

        Args:
            method: on this network.
            trained: on the other.
            same_features: says whether both networks put out the very same at the method's layer.

        Returns:
            By part, as `take`; None if nothing.
        """
        return None


class _StatisticsLesson(Lesson):
    """Statistics of a layer's features over photos."""

    name = setting = option = command = "statistics"
    holds = FeatureStatistics

    def key(self, method: Any, part: str, how: How) -> list[Any]:
        return [part, str(method.probe.call), str(method.layout), how.per]

    def learn(self, wanted: Sequence[tuple[Any, str]], given: Class, progress: OnSeen) -> list[Any]:
        methods, preprocess, per = [method for method, _ in wanted], given.loaded.preprocess, given.how.per
        if len(methods) > 1:
            batches = _told(_image_batches(given.samples, preprocess, methods[0].probe.device), progress)
            probes, layouts = [method.probe for method in methods], [method.layout for method in methods]
            count = len(given.samples)
            made = summarise_layers(probes, batches, max_samples=count, granularity=per, layouts=layouts)
        else:
            made = [(given.how.collect or collect_here)(methods[0], given.samples, preprocess, per, progress)]
        for statistics in made:
            warn_if_few(statistics)
        return [
            replace(statistics, provenance=_provenance(method, given))
            for method, statistics in zip(methods, made, strict=True)
        ]

    def fit(self, method: Any, batches: Iterable[Any], count: int) -> None:
        method.fit_statistics(batches, count, granularity="channel")

    def follow(self, method: Any, trained: Any, same_features: Callable[[], bool]) -> Any:
        if not same_features():
            return None
        known = trained.statistics
        provenance = replace(known.provenance, weights=weights_hash(method.model))
        return {method.probe.name: replace(known, provenance=provenance)}


class _PatternsLesson(Lesson):
    """Patterns of a network's neurons over photos."""

    name = setting = option = command = "patterns"
    holds = Patterns

    def parts(self, method: Any) -> tuple[str, ...]:  # noqa: ARG002
        return ("",)

    def label(self, method: Any, part: str) -> str:  # noqa: ARG002
        return "patterns"

    def key(self, method: Any, part: str, how: How) -> list[Any]:  # noqa: ARG002
        return []

    def learn(self, wanted: Sequence[tuple[Any, str]], given: Class, progress: OnSeen) -> list[Any]:
        preprocess, found = given.loaded.preprocess, []
        for method, _ in wanted:
            batches = tensor_batches(given.samples, preprocess, _BATCH, on_error="skip")
            count = len(given.samples)
            method.fit_patterns(batches, count, data=given.data, preprocessing=given.reader, progress=progress)
            found.append(method.patterns)
        return found


class _WeightsLesson(Lesson):
    """Weights of a readout, trained with usual settings; a photo that cannot be read raises."""

    name, setting, option, command = "weights", "weights", "readout", "readout train"
    holds = ReadoutWeights

    def knows(self, method: Any) -> bool:
        return bool(method.is_trained)

    def label(self, method: Any, part: str) -> str:
        chosen = "-".join(f"{name}={value}" for name, value in method.choices.items() if value is not None)
        return f"readout-{part}-{chosen}"

    def key(self, method: Any, part: str, how: How) -> list[Any]:
        return [part, how.per, json.dumps(method.choices)]

    def learn(self, wanted: Sequence[tuple[Any, str]], given: Class, progress: OnSeen) -> list[Any]:
        samples, preprocess, found = given.samples, given.loaded.preprocess, []
        settings = TrainingSettings(batch=min(16, max(1, len(samples) // 2)))
        how = {"data": given.data, "preprocessing": given.reader}
        for readout, _ in wanted:
            batches = (images for images, _ in tensor_batches(samples, preprocess, _BATCH))
            readout.fit_statistics(batches, len(samples), granularity=given.how.per, **how)

            def told(now: Any) -> None:
                done, whole = (now.epoch - 1) * now.steps + now.step, now.steps * settings.epochs
                progress(done * len(samples) // whole)

            readout.fit_weights(Photos(samples, preprocess), settings, progress=told, **how)
            found.append(readout.weights)
        return found

    def fit(self, method: Any, batches: Iterable[Any], count: int) -> None:  # noqa: ARG002
        raise SettingError(
            f"{method.method} needs weights for every network: a training of its own, which is not done here"
        )


class _TokenStatisticsLesson(Lesson):
    """Statistics of layers' features over the tokens of texts."""

    name = setting = option = command = "statistics"
    holds = TokenStatistics

    def parts(self, method: Any) -> tuple[str, ...]:
        return tuple(method.layers)

    def take(self, method: Any) -> dict[str, Any]:
        if isinstance(method.statistics, Mapping):
            return dict(method.statistics)
        return {part: method.statistics_of(part) for part in method.layers}

    def give(self, method: Any, learnt: Mapping[str, Any]) -> None:
        method.statistics = learnt

    def key(self, method: Any, part: str, how: How) -> list[Any]:  # noqa: ARG002
        return [part, method.probe.call]

    def learn(self, wanted: Sequence[tuple[Any, str]], given: Class, progress: OnSeen) -> list[Any]:
        method, parts = wanted[0][0], [part for _, part in wanted]
        texts = sorted(given.samples, key=lambda sample: len(sample.text))  # texts of like length share a batch
        found = collect_token_statistics(
            given.loaded.model,
            parts,
            _told(token_batches(texts, given.loaded), progress),
            max_samples=len(texts),
            call=method.probe.call,
            data=given.data,
        )
        return [found[part] for part in parts]


STATISTICS, PATTERNS, WEIGHTS, TOKEN_STATISTICS = (
    _StatisticsLesson(),
    _PatternsLesson(),
    _WeightsLesson(),
    _TokenStatisticsLesson(),
)
LESSONS: Mapping[tuple[Kind, str], Lesson] = {
    **{("image", lesson.name): lesson for lesson in (STATISTICS, PATTERNS, WEIGHTS)},
    ("text", TOKEN_STATISTICS.name): TOKEN_STATISTICS,
}


def collect_here(
    iba: Any, samples: Sequence[Sample], preprocess: Preprocessing, granularity: Granularity, progress: OnSeen
) -> FeatureStatistics:
    """Make statistics of a bottleneck's layer over photos, in this process; see `Collect`."""
    batches = _told(_image_batches(samples, preprocess, iba.probe.device), progress)
    return summarise(iba.probe, batches, max_samples=len(samples), granularity=granularity, layout=iba.layout)


def _image_batches(samples: Sequence[Sample], preprocess: Preprocessing, device: torch.device) -> Iterator[Tensor]:
    """Prepare photos, a few at once; what cannot be read is left out with a warning."""
    return (images.to(device) for images, _ in tensor_batches(samples, preprocess, _BATCH, on_error="skip"))


def token_batches(samples: Sequence[TextSample], loaded: Loaded, size: int = _BATCH) -> Iterator[TokenBatch]:
    """Cut texts into tokens, at most `size` at once, in their order; a batch has pairs where its first text has one."""
    for start in range(0, len(samples), size):
        some = samples[start : start + size]
        pairs = [sample.pair or "" for sample in some] if some[0].pair is not None else None
        yield loaded.tokenizer([sample.text for sample in some], pairs)


def _told(batches: Iterable[B], progress: OnSeen) -> Iterator[B]:
    seen = 0
    for batch in batches:
        seen += len(batch)
        progress(seen)
        yield batch


def _provenance(method: Any, given: Class) -> Provenance:
    model, layer = given.loaded.name, method.probe.name
    return Provenance(model, weights_hash(method.model), layer, given.data, given.reader, __version__)
