"""One photo after the other, explained by one method or several; each attribution is on disk before the next begins."""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from bitlens.core.attribution import Attribution
from bitlens.data.datasets import Sample
from bitlens.data.images import read_image
from bitlens.errors import BitlensError, DataError, InputError, LayerError, SettingError, TargetError
from bitlens.explaining.photo import Photo, read_photo
from bitlens.methods import entry_of
from bitlens.methods.building import method_settings
from bitlens.methods.specs import Spec
from bitlens.models.loaded import Loaded
from bitlens.probe import Network
from bitlens.probe.fingerprint import weights_hash


@dataclass(frozen=True)
class Ready:
    """A method that has learnt what it must.

    Attributes:
        label: what it is called in results: `iba`, `iba[beta=100]`.
        spec: its name and what was set.
        method: the method.
        alone: whether no other methods were asked for: then files are called after the photo alone.
    """

    label: str
    spec: Spec
    method: Any
    alone: bool = True

    @property
    def endings(self) -> tuple[str, str]:
        """What its files are called after the photo's name, and what a run with more or fewer methods would call them."""
        own = "." + re.sub(r"[^\w.=]+", "-", self.label).strip("-")
        return ("", own) if self.alone else (own, "")

    @property
    def signed(self) -> bool:
        """Whether the sign of its scores means something."""
        return entry_of(self.spec.name).signed

    def settings(self) -> dict[str, Any]:
        """Everything that decides what its maps look like, as plain values."""
        return method_settings(self.spec, self.method)


@dataclass(frozen=True)
class Found:
    """What one method says of one photo.

    Attributes:
        ready: the method.
        attribution: of this photo alone.
        repeated: whether an earlier run had done the same already.
    """

    ready: Ready
    attribution: Attribution
    repeated: bool


@dataclass(frozen=True)
class Explained:
    """One photo, explained.

    Attributes:
        photo: its file.
        stem: what the files written for it are called.
        shown: (3, H, W) in [0, 1], the photo as the network sees it.
        name: of the target.
        probability: of the target; of a regression the value.
        found: by each method.
        measure: what `probability` is: "probability" or "score".
    """

    photo: Path
    stem: str
    shown: Tensor
    name: str
    probability: float
    found: tuple[Found, ...]
    measure: str = "probability"

    @property
    def seen(self) -> str:
        """What the file is called that holds the photo as the network sees it."""
        return f"{self.stem}.seen.jpg"

    def rows(self) -> list[dict[str, Any]]:
        """Plain values for the summary, one mapping for each method."""
        return [
            {
                "photo": str(self.photo),
                "name": self.name,
                "files": f"{self.stem}{one.ready.endings[0]}",
                "seen": self.seen,
                f"{self.measure}_before": self.probability,
                **one.attribution.summary()[0],
                "method": one.ready.label,
            }
            for one in self.found
        ]


def class_index(wanted: str, classes: Sequence[str] | None) -> int | None:
    """The class that a person means: "auto" (None: the predicted one), an index, or a name.

    Raises:
        TargetError: if no class is called so, or several are.
    """
    if wanted == "auto":
        return None
    if wanted.isascii() and wanted.isdigit():
        return int(wanted)
    if classes is None:
        raise TargetError(
            f"target {wanted!r}: the class names of this model are not known; give an index, or --classes FILE"
        )
    names = [[part.strip().lower() for part in name.split(",")] for name in classes]
    found = [i for i, parts in enumerate(names) if wanted.lower() in parts or wanted.lower() == ", ".join(parts)]
    if len(found) == 1:
        return found[0]
    likely = found or [i for i, parts in enumerate(names) if any(wanted.lower() in part for part in parts)]
    hint = "; ".join(f"{i} {classes[i]}" for i in likely[:6]) or "give an index"
    raise TargetError(f"target {wanted!r} names {'several classes' if found else 'no class'}: {hint}")


def class_name(target: str, classes: Sequence[str] | None) -> str:
    """How a target is called in pictures: the class's name, or "class 7"."""
    if not target.isdigit():
        return target
    index = int(target)
    return classes[index] if classes is not None and index < len(classes) else f"class {index}"


def explain_photos(
    photos: Sequence[Path],
    loaded: Loaded,
    methods: Sequence[Ready],
    target: int | None,
    out: Path,
    classes: Sequence[str] | None,
    *,
    unreadable: Callable[[Path, BitlensError], None] | None = None,
    refused: Callable[[str, BitlensError], None] | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Iterator[Explained]:
    """Explain photos one after the other, each by all methods.

    An attribution that lies in `out` already, made of the same photo by the same network with the same settings, is not
    made again.

    Args:
        photos: files.
        loaded: the network and its preprocessing.
        methods: at least one.
        target: class index, the same for all methods; None for the predicted class.
        out: folder.
        classes: names of the classes, if they are known.
        unreadable: what to do with a photo that cannot be read or prepared, instead of raising; it is left out.
        refused: what to do with a method (its label) that cannot be used on this network, instead of raising; it is left
            out from this photo on.
        advance: called for each photo and method.

    Raises:
        DataError: if a photo cannot be read, or `out` cannot be written.
        InputError: if the preprocessing fails on a photo.
        TargetError: if there is no such class.
        LayerError, SettingError: if a method cannot be used on this network, or none is left.
    """
    explaining = Explaining(loaded, methods, target, out, classes, refused)
    for path, stem in zip(photos, file_stems(photos), strict=True):
        try:
            photo = explaining.read(path)
        except (DataError, InputError) as error:
            if unreadable is None:
                raise
            unreadable(path, error)
            continue
        yield explaining.explain(photo, path, stem, advance)


class Explaining:
    """One photo after the other, by the same methods; for arguments and errors see `explain_photos`."""

    def __init__(
        self,
        loaded: Loaded,
        methods: Sequence[Ready],
        target: int | None,
        out: Path,
        classes: Sequence[str] | None,
        refused: Callable[[str, BitlensError], None] | None = None,
    ) -> None:
        self.loaded, self.target, self.out, self.classes, self.refused = loaded, target, out, classes, refused
        self._network, self._left, self._all = Network(loaded.model, output=loaded.output), list(methods), len(methods)
        self._made_by = {
            "model": loaded.name,
            "weights": weights_hash(loaded.model),
            "preprocessing": loaded.preprocess.description,
        }

    def read(self, path: Path) -> Photo:
        """Read a photo and ask the network about it."""
        sample = Sample(str(path), partial(read_image, path), self.target, path=path)
        return read_photo(sample, self._network, self.loaded.preprocess)

    def explain(self, photo: Photo, path: Path, stem: str, advance: Callable[[], None] = lambda: None) -> Explained:
        """Explain a photo that was read; its files are called after `stem`."""
        identity = {**self._made_by, "photo": path.name, "photo_hash": photo.fingerprint}
        found = []
        for ready in tuple(self._left):
            try:
                found.append(_explained(ready, photo, identity, self.out / stem))
            except (LayerError, SettingError) as error:
                if self.refused is None:
                    raise
                self.refused(ready.label, error)
                self._left.remove(ready)
            advance()
        if not self._left:
            raise SettingError(f"none of the {self._all} methods can be used on {self.loaded.name}: choose others")
        shown = self.loaded.preprocess.display(photo.image[0].cpu())
        name = class_name(photo.asked, self.classes)
        return Explained(path, stem, shown, name, photo.probability, tuple(found), photo.measure)


def file_stems(photos: Sequence[Path]) -> list[str]:
    """One name for each photo's files, no two alike."""
    stems: dict[str, None] = {}  # a set that keeps its order
    for photo in photos:
        tried = (photo.stem if number == 1 else f"{photo.stem}-{number}" for number in itertools.count(1))
        stems[next(stem for stem in tried if stem not in stems)] = None
    return list(stems)


def _explained(ready: Ready, photo: Photo, identity: Mapping[str, Any], stem: Path) -> Found:
    """By one method, from an earlier run if that has made the very same."""
    settings = {**ready.settings(), **identity}
    places = [Path(f"{stem}{ending}.safetensors") for ending in ready.endings]
    for place in places:
        known = _known(place, settings, photo.asked)
        if known is not None:
            if place != places[0]:
                known.save(places[0])
            return Found(ready, known, repeated=True)
    made: Attribution = ready.method.explain(photo.image, photo.target)
    if made.map.dim() != 3:
        raise LayerError(
            f"layer {made.layer!r} gives {made.unit.removeprefix('bits/')}s, not a grid over the photo: choose a layer whose "
            "output has height and width"
        )
    attribution = replace(made, settings=settings)
    attribution.save(places[0])
    return Found(ready, attribution, repeated=False)


def _known(place: Path, settings: Mapping[str, Any], target: str) -> Attribution | None:
    if not place.is_file():
        return None
    try:
        found = Attribution.load(place)
    except DataError:
        return None  # not ours, or damaged: it is made again
    same = found.settings == json.loads(json.dumps(settings)) and found.targets == (target,)
    return found if same else None
