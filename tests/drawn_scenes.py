"""Scenes are drawn once for all tests: the first that asks draws them, and nobody changes their pixels."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bitlens.data import datasets
from bitlens.data.scenes import Scene, Scenes, Split, scene

_DRAWN: dict[tuple[Split, int], Scene] = {}


def drawn_scene(split: Split, index: int) -> Scene:
    """A scene as `scene` draws it."""
    if (split, index) not in _DRAWN:
        _DRAWN[split, index] = scene(index, split=split)
    return _DRAWN[split, index]


def drawn_scenes(split: Split, count: int) -> list[Scene]:
    """The first scenes of a split."""
    return [drawn_scene(split, index) for index in range(count)]


class DrawnScenes(Scenes):
    """Scenes of which each is drawn once."""

    def __getitem__(self, index: int) -> Scene:
        return drawn_scene(self.split, range(len(self))[index])

    def __reduce__(self) -> tuple[type[Scenes], tuple[Split, int, int, int]]:
        """Another process draws its own."""
        return Scenes, (self.split, len(self), self.seed, self.size)


@contextmanager
def drawn_once() -> Iterator[None]:
    """The data sets `builtin:scenes` are drawn once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "Scenes", DrawnScenes)
        yield
