"""Methods are taught once: what was learnt is kept beside an evaluation's results and in the user's cache folder.

One rule for statistics, patterns and weights: look into the folder of results if there is one, then into the cache; learn
only what is in neither, and keep it in both.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from warnings import warn

from bitlens.core.statistics import FEW_OBSERVATIONS
from bitlens.data.datasets import open_dataset
from bitlens.data.kinds import Form, Kind
from bitlens.data.labels import Labels
from bitlens.data.texts import open_texts
from bitlens.errors import BitlensWarning, DataError
from bitlens.methods.lessons import Class, How, Lesson, OnSeen
from bitlens.models.loaded import Loaded
from bitlens.probe.fingerprint import weights_hash
from bitlens.system.files import cache_folder, kept

_ENOUGH = 200


def enough(form: Form | None) -> int:
    """Return from how many inputs methods learn unless told: a row of a table gives each feature one value, a photo many."""
    return FEW_OBSERVATIONS if form == "table" else _ENOUGH


@dataclass(frozen=True)
class Source:
    """Samples that methods learn from.

    Attributes:
        name: of the data set.
        samples: photos or texts, all of them.
        count: how many are learnt from at most, spread over the whole set.
    """

    name: str
    samples: Sequence[Any]
    count: int

    @classmethod
    def open(cls, name: str, kind: Kind, count: int, labels: Labels | None = None) -> "Source":
        """Open a data set by name.

        Args:
            name: of the data set.
            kind: what it holds.
            count: how many samples are learnt from at most.
            labels: how labels are read; without, they are not looked at.

        Raises:
            DataError: if there is none, or it cannot be read.
        """
        read: Callable[[str, Labels], Sequence[Any]] = open_dataset if kind == "image" else open_texts
        return cls(name, read(name, labels or Labels(needed=False)), count)

    @property
    def total(self) -> int:
        """Return how many samples are learnt from."""
        return min(self.count, len(self.samples))

    @cached_property
    def chosen(self) -> list[Any]:
        """Choose those samples; what cannot be read is left out with a warning."""
        number, chosen = self.total, []
        for i in range(number):
            try:
                chosen.append(self.samples[i * len(self.samples) // number])
            except DataError as error:
                warn(f"skipped: {error}", BitlensWarning, stacklevel=2)
        return chosen


@dataclass(frozen=True)
class Teacher:
    """Teaches methods of one network and keeps what they learnt.

    Attributes:
        loaded: the network.
        source: what is learnt from.
        how: the rest.
        beside: a folder of results where it is kept too; None for none.
        cached: whether the user's cache is looked into and added to.
        progress: told of the samples seen.
    """

    loaded: Loaded
    source: Source
    how: How = field(default_factory=How)
    beside: Path | None = None
    cached: bool = True
    progress: OnSeen = lambda _: None

    def teach(self, lesson: Lesson, *methods: Any) -> list[Path]:
        """Give methods what they must learn, from where it is kept if the very same was learnt before.

        Args:
            lesson: what the methods learn.
            methods: on the teacher's network, at least one.

        Returns:
            The files in the cache, for each method and part that did not lie beside the results.
        """
        wanted = [(method, part) for method in methods for part in lesson.parts(method)]
        beside = [self._beside(lesson, *one) for one in wanted]
        found: list[Any] = [kept(place, lesson.load) for place in beside]
        away = [i for i, one in enumerate(found) if one is None]
        cached = {i: self._in_cache(lesson, *wanted[i]) for i in away} if self.cached else {}
        found = [one if one is not None else kept(cached.get(i), lesson.load) for i, one in enumerate(found)]
        missing = [i for i in away if found[i] is None]
        if missing:
            given = Class(self.loaded, self.source.name, self.source.chosen, self.how)
            made = lesson.learn([wanted[i] for i in missing], given, self.progress)
            for i, one in zip(missing, made, strict=True):
                found[i] = one
                if i in cached:
                    one.save(cached[i])
        for i in away:
            if (place := beside[i]) is not None:
                found[i].save(place)
        for method in methods:
            own = {part: one for (owner, part), one in zip(wanted, found, strict=True) if owner is method}
            lesson.give(method, own)
        return list(cached.values())

    def has(self, lesson: Lesson, method: Any) -> bool:
        """Say whether everything that a method must learn lies beside the results."""
        places = [self._beside(lesson, method, part) for part in lesson.parts(method)]
        return all(place is not None and place.is_file() for place in places)

    def _beside(self, lesson: Lesson, method: Any, part: str) -> Path | None:
        """Return where a part is kept beside the results."""
        if self.beside is None:
            return None
        label = re.sub(r"[^-.a-zA-Z0-9_]", "_", lesson.label(method, part))
        return self.beside / f"{label}-{self._weights}.safetensors"

    def _in_cache(self, lesson: Lesson, method: Any, part: str) -> Path:
        """Return where it is kept in the cache: learnt from the very same samples, prepared the same way."""
        samples = [sample.fingerprint for sample in self.source.chosen]
        whole = [self._weights, *lesson.key(method, part, self.how), self._reader(), *samples]
        digest = hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:24]
        return cache_folder() / lesson.name / f"{digest}.safetensors"

    @cached_property
    def _weights(self) -> str:
        return weights_hash(self.loaded.model)

    def _reader(self) -> list[Any]:
        """Tell apart how inputs are made of samples."""
        if self.loaded.kind == "image":
            return [self.loaded.preprocess.description]
        return [type(self.loaded.tokenizer).__name__, getattr(self.loaded.tokenizer, "max_length", None)]
