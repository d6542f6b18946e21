"""Methods on a network, built from what a person typed, and what they must learn on photos first.

What an evaluation learns is learnt once and kept beside its results.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any
from warnings import warn

import torch

from bitlens.baselines.patterns import Patterns
from bitlens.bottlenecks.per_sample import IBA
from bitlens.bottlenecks.readout.readout import ReadoutIBA
from bitlens.bottlenecks.readout.weights import ReadoutWeights
from bitlens.core.statistics import FeatureStatistics
from bitlens.data.datasets import Sample, open_dataset
from bitlens.errors import BitlensWarning, DataError
from bitlens.evaluation.plan import Plan
from bitlens.methods import METHODS
from bitlens.methods.building import build_method, grey_photo
from bitlens.methods.cache import Collect, patterns_from, statistics_from, weights_from
from bitlens.methods.specs import Spec
from bitlens.models.load import LoadedModel
from bitlens.probe.fingerprint import weights_hash

__all__ = ["Learner", "Progress"]

Progress = Callable[[str, int, int], None]
"""What is learnt, how many photos were seen, of how many."""


class Learner:
    """Builds methods and gives them what they must learn.

    What is learnt is kept in a folder: a run that goes on elsewhere, where the same sums may round otherwise, uses the
    very same.

    Args:
        plan: says from which photos, and the seed.
        folder: where it is kept.
        samples: the data set that is evaluated.
        progress: told of learning.
        collect: runs photos through a network for statistics; by default this process.
    """

    def __init__(
        self, plan: Plan, folder: Path, samples: Sequence[Sample], progress: Progress, collect: Collect | None = None
    ) -> None:
        self.plan, self.folder, self.progress, self._evaluated = plan, folder, progress, samples
        self._collect = collect

    def ready(self, spec: Spec, loaded: LoadedModel, trained: Any = None) -> Any:
        """A method on a network, ready to explain.

        Args:
            spec: the method.
            loaded: the network.
            trained: the same method on another network of the same architecture. If both networks put out the very same at
                the layer, its statistics are taken over.
        """
        learns = METHODS[spec.name].learns
        if learns == "weights" and trained is not None:
            return trained.on(loaded.model)  # the papers do not train it again for random networks
        method = build_method(spec, loaded, seed=self.plan.seed, layer=self.plan.layer)
        if learns == "statistics":
            self._give_statistics(method, loaded, trained)
        elif learns == "patterns" and not spec.settings.get("patterns"):
            self._give_patterns(method, loaded)
        elif learns == "weights" and not method.is_trained:
            self._give_weights(method, loaded)
        return method

    @cached_property
    def _chosen(self) -> list[Sample]:
        """What is learnt from, spread over the whole set; what cannot be read is left out with a warning."""
        name = self.plan.learns_from
        samples = self._evaluated if name == self.plan.data else open_dataset(name)
        count = min(self.plan.statistics_count, len(samples))
        chosen = []
        for place in range(count):
            try:
                chosen.append(samples[place * len(samples) // count])
            except DataError as error:
                warn(f"skipped: {error}", BitlensWarning, stacklevel=2)
        return chosen

    def _give_statistics(self, method: IBA, loaded: LoadedModel, trained: IBA | None) -> None:
        place = self._place(f"statistics-{method.probe.name}", loaded)
        if place.is_file():
            method.statistics = FeatureStatistics.load(place)
        elif trained is not None and _same_features(method, trained, loaded):
            known = trained.statistics
            weights = weights_hash(loaded.model)
            method.statistics = replace(known, provenance=replace(known.provenance, weights=weights))
        else:
            chosen = self._chosen
            made, _ = statistics_from(
                chosen,
                self.plan.learns_from,
                loaded,
                method,
                len(chosen),
                self.plan.statistics_per,
                progress=lambda seen: self.progress(f"statistics of {method.probe.name}", seen, len(chosen)),
                collect=self._collect,
            )
            made.save(place)

    def _give_patterns(self, method: Any, loaded: LoadedModel) -> None:
        place = self._place("patterns", loaded)
        if place.is_file():
            method.patterns = Patterns.load(place)
            return
        chosen = self._chosen
        made, _ = patterns_from(
            chosen,
            self.plan.learns_from,
            loaded,
            method,
            len(chosen),
            keep=False,
            progress=lambda seen: self.progress("patterns", seen, len(chosen)),
        )
        made.save(place)

    def _give_weights(self, method: ReadoutIBA, loaded: LoadedModel) -> None:
        label = "-".join(f"{name}={value}" for name, value in method.choices.items() if value is not None)
        place = self._place(f"readout-{method.probe.name}-{label}", loaded)
        if place.is_file():
            method.weights = ReadoutWeights.load(place)
            return
        chosen = self._chosen
        made, _ = weights_from(
            chosen,
            self.plan.learns_from,
            loaded,
            method,
            len(chosen),
            self.plan.statistics_per,
            keep=False,
            progress=lambda seen: self.progress("training of the readout", seen, len(chosen)),
        )
        made.save(place)

    def _place(self, what: str, loaded: LoadedModel) -> Path:
        return self.folder / f"{re.sub(r'[^-.a-zA-Z0-9_]', '_', what)}-{weights_hash(loaded.model)}.safetensors"


def _same_features(one: IBA, other: IBA, loaded: LoadedModel) -> bool:
    """Whether two networks agree up to the layer: on noise, where every weight counts."""
    grey = grey_photo(loaded)
    noise = torch.randn(grey.shape, generator=torch.Generator().manual_seed(0)).to(grey)
    return torch.equal(one.probe.features(noise), other.probe.features(noise))
