"""What a person asks about, in a word: a class, or what the network's output is and which of its columns."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from bitlens.core.outputs import OutputChoice, OutputForm
from bitlens.core.targets import Binary, Box, Keypoint, MultiLabel, Region, Regression, Target
from bitlens.errors import SettingError, TargetError
from bitlens.models.classes import OUTPUT_WORDS, PLACE_WORDS, class_index
from bitlens.models.loaded import Loaded


def read_target(wanted: str, loaded: Loaded, classes: Sequence[str] | None) -> tuple[Loaded, int | Target | None]:
    """Return the network, with what is said of its output, and the index of what is asked about; None for what it answers itself.

    A part of what a network for photos says of places is a question of its own, no index.

    Args:
        wanted: "auto", an index, the name of a class; or "regression", "binary", "binary-probability" or "multi-label", each by
            itself or with an index or a name behind a colon ("multi-label:smiling", "regression:2"); or "region:CLASS",
            "keypoint:NAME", "box:INDEX".
        loaded: the network.
        classes: names of its outputs, if they are known.

    Raises:
        TargetError: if no class is called so, or several are, or a network for texts is asked about places.
    """
    kind, colon, which = wanted.partition(":")
    named = {part.strip().lower() for name in classes or () for part in (name, *name.split(","))}
    if kind in PLACE_WORDS and wanted.lower() not in named:
        return loaded, _at_places(wanted, loaded, classes)
    if kind not in OUTPUT_WORDS or wanted.lower() in named:
        return loaded, class_index(wanted, classes)
    if colon and not which:
        raise TargetError(f"target {wanted!r} ends with a colon: name what is asked about behind it, or leave it out")
    part = OutputForm.chosen(loaded.output)[0].part
    said: OutputChoice = OUTPUT_WORDS[kind] if part is None else (part, OUTPUT_WORDS[kind])
    return replace(loaded, output=said), class_index(which, classes) if which else None


def words_of(target: int | Target | None) -> str:
    """Say what is asked about in words that `read_target` reads, without names of classes."""
    match target:
        case Region():
            return f"region:{int(target.classes[0])}"
        case Keypoint():
            return f"keypoint:{int(target.classes[0])}"
        case Box():
            return f"box:{target.index}"
    return "auto" if target is None else str(target)


def _at_places(wanted: str, loaded: Loaded, classes: Sequence[str] | None) -> Target:
    kind, _, which = wanted.partition(":")
    if loaded.kind == "text":
        raise TargetError(f"target {wanted!r} is for networks that answer at places: {loaded.name} reads texts")
    index = class_index(which, None if kind == "box" else classes) if which else None
    if index is None:
        raise TargetError(f"target {wanted!r} names nothing: expected region:CLASS, keypoint:NAME or box:INDEX")
    if kind == "box":
        return Box(index)
    return Region(index) if kind == "region" else Keypoint(index)


def target_of(output: OutputChoice, index: int | None, count: int) -> Target:
    """Return the question about this index of an output that is said to be values, labels or two classes."""
    numbers = OutputForm.chosen(output)[0].numbers
    if numbers == "regression":
        return Regression(column=index)
    indices = None if index is None else torch.full((count,), index)
    return MultiLabel(indices) if numbers.startswith("multi-label") else Binary(indices)


def with_output(loaded: Loaded, settings: Sequence[Mapping[str, Any]]) -> Loaded:
    """Return the network, with what the settings of the methods say of its output: they are of one network.

    Raises:
        SettingError: if they say different things.
    """
    said = list(dict.fromkeys(given["output"] for given in settings if given.get("output") is not None))
    if len(said) > 1:
        raise SettingError(
            f"output is {' and '.join(map(repr, said))} in different methods: one network has one output"
        )
    return replace(loaded, output=said[0]) if said else loaded
