"""Methods on a network, built from what a person typed, with what they must learn first; kept beside the results.

A run that goes on elsewhere, where the same sums may round otherwise, uses the very same.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from bitlens.evaluation.judges import Judges
from bitlens.evaluation.plan import Plan
from bitlens.methods import entry_of
from bitlens.methods.building import build_method, grey_photo
from bitlens.methods.lessons import WEIGHTS, Collect, How, Lesson
from bitlens.methods.specs import Spec
from bitlens.methods.teaching import Source, Teacher
from bitlens.models.loaded import Loaded

Told = Callable[[str, int, int], None]
"""Told what is learnt, how many samples were seen, and of how many."""


class Learner:
    """Builds methods and gives them what they must learn.

    Args:
        plan: says from which samples, and the seed.
        folder: where what is learnt is kept, besides the user's cache.
        samples: the data set that is evaluated.
        told: of learning.
        collect: runs photos through a network for statistics; by default this process.
    """

    def __init__(
        self, plan: Plan, folder: Path, samples: Sequence[Any], told: Told, collect: Collect | None = None
    ) -> None:
        self.plan, self.folder, self.told, self._evaluated = plan, folder, told, samples
        self._how = How(plan.statistics_per, collect)

    def ready(self, spec: Spec, loaded: Loaded, trained: Any | None = None) -> Any:
        """Return a method on a network, ready to explain.

        Args:
            spec: the method.
            loaded: the network.
            trained: the same method on another network of the same architecture: what it learnt is taken over where it holds.
        """
        lesson = entry_of(spec.name, loaded.kind).lesson
        if lesson is WEIGHTS and trained is not None:
            return trained.on(loaded.model)  # the papers do not train it again for random networks
        method = build_method(spec, loaded, seed=self.plan.seed, layer=self.plan.layer)
        if lesson is not None and not self._comes_with(lesson, method):
            self._teach(lesson, method, loaded, trained)
        return method

    def reseeded(self, spec: Spec, loaded: Loaded, trained: Any, seed: int) -> Any:
        """Return a method as it is but for its seed, with all that it has learnt."""
        other = Spec(spec.name, {**spec.settings, "seed": seed})
        method = build_method(other, loaded, layer=self.plan.layer)
        lesson = entry_of(spec.name, loaded.kind).lesson
        if lesson is not None and lesson.knows(trained):
            lesson.give(method, lesson.take(trained))
        return method

    def judges(self, loaded: Loaded) -> Judges:
        """Return copies of a network that are fine-tuned on what methods learn from."""
        return Judges(loaded, self._source, self.folder, self.told, self.plan.seed)

    def _comes_with(self, lesson: Lesson, method: Any) -> bool:
        """Return whether a method knows what it must, and nobody wants it to learn from elsewhere."""
        return lesson.knows(method) and (self.plan.kind == "image" or self.plan.statistics_from is None)

    def _teach(self, lesson: Lesson, method: Any, loaded: Loaded, trained: Any | None) -> None:
        what = f"{lesson.name} of {', '.join(part for part in lesson.parts(method) if part) or loaded.name}"
        teacher = Teacher(
            loaded,
            self._source,
            self._how,
            beside=self.folder,
            cached=trained is None,  # networks that were randomised for one metric are of no use to others
            progress=lambda seen: self.told(what, seen, self._source.total),
        )
        if trained is not None and not teacher.has(lesson, method):
            learnt = lesson.follow(method, trained, lambda: _same_features(method, trained, loaded))
            if learnt is not None:
                lesson.give(method, learnt)
                return
        teacher.teach(lesson, method)

    @cached_property
    def _source(self) -> Source:
        """Return what is learnt from."""
        name, count = self.plan.learns_from, self.plan.statistics_count
        if name == self.plan.data:
            return Source(name, self._evaluated, count)
        return Source.open(name, self.plan.kind, count)


def _same_features(one: Any, other: Any, loaded: Loaded) -> bool:
    """Return whether two networks for photos agree up to the layer: on noise, where every weight counts."""
    grey = grey_photo(loaded)
    noise = torch.randn(grey.shape, dtype=torch.float32, generator=torch.Generator().manual_seed(0)).to(grey)
    return torch.equal(one.probe.features(noise), other.probe.features(noise))
