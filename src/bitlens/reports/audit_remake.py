"""A run made again: its network, and its methods with what they had learnt, from the settings that lie beside the maps."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bitlens.core.effort import HOLDING, IMPLIED, QUALITY
from bitlens.core.targets import Target
from bitlens.data.datasets import Sample, open_dataset
from bitlens.data.images import find_images, read_image
from bitlens.data.kinds import Kind
from bitlens.data.labels import Labels
from bitlens.errors import BitlensError, DataError, SettingError
from bitlens.explaining.photo import fingerprint
from bitlens.explaining.photos import Ready
from bitlens.explaining.wanted import read_target, with_output, words_of
from bitlens.methods import entry_of
from bitlens.methods.building import build_method
from bitlens.methods.lessons import WEIGHTS, Lesson
from bitlens.methods.naming import HOLDERS
from bitlens.methods.specs import Spec, settings_of_callable
from bitlens.methods.teaching import Source, Teacher, enough
from bitlens.models.classes import OUTPUT_WORDS, read_classes
from bitlens.models.load import load_model
from bitlens.models.loaded import Loaded
from bitlens.reports.recipe import given_option

_KINDS = ("builtin:", "csv:", "folder:", "imagenet:")
Learned = Mapping[str, Mapping[str, Path]]
"""Files of what methods learnt, by label and part."""


@dataclass(frozen=True)
class Remade:
    """A network with the methods that explained photos.

    Attributes:
        loaded: the network.
        target: that was asked about; None for what the network says.
        settings: of the run, as its summary tells them.
        methods: by label.
    """

    loaded: Loaded
    target: int | Target | None
    settings: Mapping[str, Any]
    methods: Mapping[str, Ready]

    @property
    def source(self) -> tuple[str | None, int]:
        """Return where methods learn, and from how many photos."""
        command = _command(self.settings)
        count = given_option(command, "--statistics-count")
        source = given_option(command, "--statistics-from") or self.loaded.learns_from
        return source, int(count or enough(self.loaded.form))

    def another(self, label: str, *, seed: int | None = None, loaded: Loaded | None = None) -> Any:
        """Build a method with another seed, or on another network, where it learns anew.

        Raises:
            SettingError: if it would have to be trained for that.
        """
        ready = self.methods[label]
        entry = entry_of(ready.spec.name)
        chosen = {**ready.spec.settings}
        if seed is not None and "seed" in settings_of_callable(entry.build):
            chosen["seed"] = seed
        if loaded is not None and entry.lesson is WEIGHTS:
            raise SettingError(f"{label} would have to be trained for another network")
        method = build_method(Spec(ready.spec.name, chosen), loaded or self.loaded, seed=seed or 0)
        if entry.lesson is not None and loaded is not None:
            _teach(entry.lesson, method, loaded, self.source, cached=False)
        elif entry.lesson is not None and entry.lesson.knows(ready.method):
            entry.lesson.give(method, entry.lesson.take(ready.method))
        return method


def open_network(
    settings: Mapping[str, Any], model: str | None, weights: Path | None, device: str, target: str | None = None
) -> tuple[Loaded, int | Target | None]:
    """Load the network of a run of explain.

    Args:
        settings: of its summary.
        model: the network; None for the one that is named there.
        weights: its weights, if they lie in a file of their own.
        device: where it runs.
        target: what was asked about, as `asked_words` says it; None to believe the run about it, and about the files of weights
            and classes that it names.

    Returns:
        The network, and the index of what is asked about; None for what it answers itself.
    """
    command = _command(settings) if target is None else []
    kept = given_option(command, "--weights") if model is None else None
    loaded = load_model(model or str(settings["model"]), weights or (Path(kept) if kept else None), device)
    classes = given_option(command, "--classes")
    names = read_classes(Path(classes)) if classes and Path(classes).is_file() else loaded.classes
    loaded = with_output(loaded, list(settings["methods"].values()))
    return read_target(target or given_option(command, "--target") or "auto", loaded, names)


def remake(
    settings: Mapping[str, Any], loaded: Loaded, target: int | Target | None, learned: Learned | None = None
) -> Remade:
    """Build the methods of a run of explain.

    Args:
        settings: of its summary.
        loaded: its network.
        target: what is asked about; None for what the network answers itself.
        learned: what the methods had learnt; None to take it from where the run took it.

    Raises:
        DataError, SettingError, LayerError: if that is not possible; says what is missing.
    """
    methods = {}
    known = settings if learned is None else {}
    for label, one in settings["methods"].items():
        spec = Spec(one["name"], _chosen(one["name"], one))
        files = (learned or {}).get(label, {})
        if entry_of(spec.name).lesson is WEIGHTS:
            spec = Spec(spec.name, _weights_of(files, _command(known)))
        method = build_method(spec, loaded, seed=settings["seed"])
        _learn(method, spec, loaded, files, known)
        methods[label] = Ready(label, spec, method, alone=len(settings["methods"]) == 1)
    return Remade(loaded, target, settings, methods)


def asked_words(made: Remade) -> str:
    """Return what a run asked about, told without the names of classes: `auto`, `3`, `binary:1`."""
    kind = (given_option(_command(made.settings), "--target") or "auto").partition(":")[0]
    index = "" if made.target is None else words_of(made.target)
    if made.loaded.output is not None and kind in OUTPUT_WORDS:
        return f"{kind}:{index}" if index else kind
    return index or "auto"


def different_settings(ready: Ready, recorded: Mapping[str, Any]) -> list[str]:
    """Name the settings in which a method that was made again differs from the one that made the maps.

    Maps are made again from the bits alone; what was promised of so many bits is about other inputs.
    """
    now = json.loads(json.dumps(ready.settings()))
    return [
        f"{name} was {recorded.get(name)!r}, is now {now.get(name)!r}"
        for name in sorted((now.keys() | recorded.keys()) - {"guaranteed"})
        if now.get(name) != recorded.get(name)
    ]


def samples_by_hash(data: str, wanted: set[str]) -> dict[str, Sample]:
    """Find photos by the fingerprints of their files.

    Args:
        data: a folder, a file, a pattern, or a data set by name.
        wanted: fingerprints; the search ends when all are found.
    """
    found: dict[str, Sample] = {}
    if data.startswith(_KINDS):
        samples: Any = open_dataset(data, Labels(needed=False))
    else:
        samples = [Sample(path.name, partial(read_image, path), None, path=path) for path in find_images([data])]
    for number in range(len(samples)):
        if len(found) == len(wanted):
            break
        try:
            sample = samples[number]
            mark = fingerprint(sample)
        except DataError:  # it cannot have been explained, either
            continue
        if mark in wanted:
            found.setdefault(mark, replace(sample, label=None))
    return found


def _command(settings: Mapping[str, Any]) -> list[str]:
    words = settings.get("command")
    return [str(word) for word in words] if isinstance(words, list) else []


def _chosen(name: str, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a method is built with, from what it tells of itself."""
    taken = settings_of_callable(entry_of(name).build)
    lesson = entry_of(name).lesson
    learnt = {lesson.setting} if lesson is not None else set()
    chosen = {key: value for key, value in recorded.items() if key in taken and key not in learnt and value is not None}
    preset = _preset_of(recorded) if "quality" in taken else {}
    return {key: value for key, value in chosen.items() if not preset or key not in IMPLIED} | preset


def _preset_of(recorded: Mapping[str, Any]) -> dict[str, str]:
    """Name the preset that settings stand for, if it is one."""
    for preset, one in (QUALITY if recorded.get("keep") is None else HOLDING).items():
        if "antithetic" in recorded and all(recorded.get(key, key == "closes") == asdict(one)[key] for key in IMPLIED):
            return {"quality": preset}
    return {}


def aimed(spec: Spec, recorded: Mapping[str, Any], kind: Kind) -> Spec:
    """Return a method of an evaluation with what decided how much passes, which its label need not say."""
    taken = settings_of_callable(entry_of(spec.name, kind).build)
    if spec.name not in HOLDERS:
        return spec
    aim: dict[str, Any] = {name: recorded[name] for name in ("keep", "bits") if recorded.get(name) is not None}
    if not aim and spec.name != "input-iba" and "beta" in recorded:
        aim = {"beta": recorded["beta"]}
    preset = _preset_of(recorded) if "quality" in taken and not spec.settings.keys() & {"quality", *IMPLIED} else {}
    return Spec(spec.name, {**aim, **preset, **spec.settings})


def _weights_of(files: Mapping[str, Path], command: list[str]) -> dict[str, Any]:
    named = given_option(command, "--readout")
    given = [str(path) for path in files.values()] or ([named] if named else [])
    return {"weights": given[0]} if given else {}


def _learn(method: Any, spec: Spec, loaded: Loaded, files: Mapping[str, Path], settings: Mapping[str, Any]) -> None:
    """Give a method what it had learnt: from the audit, from the file that was named, or from where it was learnt."""
    lesson = entry_of(spec.name).lesson
    if lesson is None or (lesson.knows(method) and not files):
        return
    command = _command(settings)
    kept = given_option(command, f"--{lesson.option}")
    if files:
        lesson.give(method, {part: lesson.load(path) for part, path in files.items()})
    elif kept is not None:
        lesson.give(method, {lesson.parts(method)[0]: lesson.load(Path(kept))})
    else:
        _teach(lesson, method, loaded, Remade(loaded, None, settings, {}).source)


def _teach(lesson: Lesson, method: Any, loaded: Loaded, source: tuple[str | None, int], *, cached: bool = True) -> None:
    name, count = source
    if name is None and lesson.name == "statistics":  # its own places serve
        return
    if name is None:
        raise SettingError(
            f"{lesson.name} of the run are not known: name their --statistics-from in a new run of explain"
        )
    try:
        Teacher(loaded, Source.open(name, loaded.kind, count), cached=cached).teach(lesson, method)
    except BitlensError as error:
        raise SettingError(f"{lesson.name} cannot be made again from {name}: {error}") from error
