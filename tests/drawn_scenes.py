"""Scenes that several files of tests look at, drawn once."""

from bitlens.data.scenes import Scene, Split, scene

_DRAWN: dict[tuple[Split, int], Scene] = {}


def drawn_scenes(split: Split, count: int) -> list[Scene]:
    """The first scenes of a split, to be looked at only."""
    for index in range(count):
        if (split, index) not in _DRAWN:
            _DRAWN[split, index] = scene(index, split=split)
    return [_DRAWN[split, index] for index in range(count)]
