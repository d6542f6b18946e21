"""From a visitor's question to maps: methods are built once, and what was asked before is not computed again."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import get_args

from torch import Tensor

from bitlens.app.offers import Desk
from bitlens.bottlenecks.per_sample import IBA
from bitlens.core.attribution import Attribution
from bitlens.core.outputs import OutputChoice
from bitlens.core.targets import Target
from bitlens.errors import BitlensError, InputError, SettingError
from bitlens.explaining.besides import able
from bitlens.explaining.left_out import by_each
from bitlens.explaining.photo import Photo, read_photo
from bitlens.explaining.photos import Explained, Found, Ready, over_input, sample_of
from bitlens.explaining.shown import shown_of
from bitlens.methods import entry_of
from bitlens.methods.building import build_method
from bitlens.methods.lessons import STATISTICS
from bitlens.methods.naming import KEEP, holding
from bitlens.methods.specs import Spec, settings_of_callable
from bitlens.methods.teaching import Source, Teacher, enough
from bitlens.models.classes import class_name, likeliest
from bitlens.models.loaded import Loaded
from bitlens.probe import Network

_REMEMBERED = 128  # maps
Watch = Callable[[int, Tensor, Tensor], None]
"""Steps done, the photo as the network sees it (3, H, W), and the map so far (H, W)."""


@dataclass(frozen=True)
class Question:
    """Question of a visitor.

    Attributes:
        photo: a file that was uploaded.
        name: what the photo is called.
        methods: names, at least one.
        layer: of methods that need one.
        beta: price of information, of methods that have one; None where what is kept decides.
        quality: how much work, of methods that ask.
        target: class index or another question; None for the predicted class.
        output: what the network's output is, if the visitor says it.
        keep: the share of the decision that maps of bottlenecks must hold, where there is no price.
        curve: whether bits against the share that is held are wanted, of methods that can tell.
        signed: whether bits against the answer are wanted as well, of methods that can tell.
    """

    photo: Path
    name: str
    methods: tuple[str, ...]
    layer: str
    beta: float | None
    quality: str
    target: int | Target | None
    output: OutputChoice = None
    keep: float = KEEP
    curve: bool = False
    signed: bool = False


@dataclass(frozen=True)
class Shown:
    """An answer.

    Attributes:
        explained: what was found.
        said: the classes that the network finds likeliest, with their probabilities; none of values.
        refused: which methods cannot be used on this network, and why.
    """

    explained: Explained
    said: tuple[tuple[str, float], ...]
    refused: dict[str, str]


class Answers:
    """Answers questions about one network. Threads wait for each other.

    Args:
        desk: the network.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._ready: dict[str, Ready] = {}
        self._known: OrderedDict[tuple[str, str, str], Attribution] = OrderedDict()

    def answer(
        self, question: Question, progress: Callable[[str], None] = lambda _: None, watch: Watch = lambda *_: None
    ) -> Shown:
        """Explain a photo by every method that was asked for.

        Args:
            question: what to explain and how.
            progress: told what is being done.
            watch: shown the map of a bottleneck while it is being optimised.

        Raises:
            BitlensError: if the photo cannot be read, or none of the methods can be used; says why.
        """
        desk = self.desk
        with desk.lock:
            photo = self._photo(question)
            find = partial(self._found, question=question, photo=photo, progress=progress, watch=watch)
            found, refused = by_each(question.methods, find)
        names = photo.measure == "probability" and len(photo.said) > 0
        explained = Explained(
            photo=Path(question.name),
            stem="explanation",
            shown=shown_of(photo),
            name=class_name(photo.asked, desk.classes),
            probability=photo.probability,
            found=tuple(found.values()),
            measure=photo.measure,
            predicted=class_name(str(photo.predicted), desk.classes) if names else "",
            confidence=photo.confidence if names else None,
        )
        return Shown(explained, likeliest(photo.said.tolist(), desk.classes) if names else (), refused)

    def _photo(self, question: Question) -> Photo:
        network, loaded = self.desk.network, self._loaded(question)
        sample = sample_of(question.photo, loaded.preprocess)
        if loaded is not self.desk.loaded:
            network = Network(loaded.model, output=loaded.output)
        try:
            return read_photo(sample, network, loaded.preprocess, asked=question.target)
        except BitlensError as error:  # visitors know their file by its own name, not by the folder it was put in
            raise InputError(str(error).replace(str(question.photo), question.name)) from error

    def _loaded(self, question: Question) -> Loaded:
        """Return the network, with what the visitor says of its output."""
        return self.desk.loaded if question.output is None else replace(self.desk.loaded, output=question.output)

    def _found(
        self, name: str, question: Question, photo: Photo, progress: Callable[[str], None], watch: Watch
    ) -> Found:
        ready = self._method(name, question, len(question.methods) == 1, progress)
        more = able(ready.method, {"curve": True} if question.curve else {})
        key = (photo.fingerprint, _identity(ready) + repr(more), photo.asked)
        known = self._known.get(key)
        if known is None:
            progress(f"{name} …")
            shown = shown_of(photo)
            live = type(ready.method) is IBA
            options = {"watch": partial(_show, watch, shown)} if live and isinstance(shown, Tensor) else {}
            known = over_input(ready.method.explain(photo.image, photo.target, **options, **more), photo)
            self._known[key] = known
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return Found(ready, known, repeated=False)

    def _method(self, name: str, question: Question, alone: bool, progress: Callable[[str], None]) -> Ready:
        spec = self._spec(name, question)
        key = f"{spec.label} {question.output or ''}"
        if key not in self._ready:
            method = build_method(spec, self._loaded(question), layer=question.layer)
            self._learn(method, spec, progress)
            self._ready[key] = Ready(spec.label, spec, method, alone)
        kept = self._ready[key]
        return Ready(name, kept.spec, kept.method, alone)

    def _spec(self, name: str, question: Question) -> Spec:
        """Set a method as the visitor chose, as far as it takes that."""
        entry = entry_of(name)
        known = settings_of_callable(entry.build)
        signed = question.signed or None
        chosen = {"beta": question.beta, "quality": question.quality, "layer": question.layer, "signed": signed}
        taken = {key: value for key, value in chosen.items() if key in known and value is not None}
        if "keep" in holding(name, taken):
            taken["keep"] = question.keep
        if question.quality not in get_args(known.get("quality")):
            taken.pop("quality", None)  # its own presets differ: then its default
        if not entry.needs_layer:
            taken.pop("layer", None)  # the class activation maps choose the last one, as published
        return Spec(name, taken)

    def _learn(self, method: object, spec: Spec, progress: Callable[[str], None]) -> None:
        lesson = entry_of(spec.name).lesson
        if lesson is None or lesson.knows(method):
            return
        if not self.desk.offer.learns_from:
            if lesson is STATISTICS:
                return  # the photo's own places serve
            raise SettingError(
                f"{spec.name} needs {lesson.name}, which are learnt from other photos: start the page with --statistics-from DIR"
            )
        loaded = self.desk.loaded
        source = Source.open(self.desk.offer.learns_from, loaded.kind, enough(loaded.form))

        def seen(number: int) -> None:
            progress(f"learning {lesson.name} for {spec.name}: {number} of {source.total} photos")

        seen(0)
        Teacher(loaded, source, progress=seen).teach(lesson, method)


def _show(watch: Watch, photo: Tensor, step: int, maps: Tensor) -> None:
    if maps.dim() == 3:
        watch(step, photo, maps[0].cpu())


def _identity(ready: Ready) -> str:
    return hashlib.sha256(repr(sorted(ready.settings().items())).encode()).hexdigest()
