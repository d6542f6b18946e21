"""One photo after the other, explained by one method or several; each attribution is on disk before the next begins."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from bitlens.core.attribution import Attribution
from bitlens.core.targets import Target
from bitlens.data.datasets import Sample
from bitlens.data.number_files import split_row
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import BitlensError, DataError, InputError, LayerError, SettingError
from bitlens.explaining.besides import able
from bitlens.explaining.file_names import file_stems
from bitlens.explaining.photo import Photo, read_photo
from bitlens.explaining.shown import Shown, shown_of
from bitlens.explaining.summary import PICTURE, VALUES
from bitlens.methods import entry_of
from bitlens.methods.building import method_settings
from bitlens.methods.specs import Spec
from bitlens.models.classes import class_name
from bitlens.models.loaded import Loaded
from bitlens.probe import Network
from bitlens.probe.fingerprint import weights_hash
from bitlens.system.files import kept
from bitlens.view.scales import Ends

Unreadable = Callable[[Path, BitlensError], None]


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
        """Say what its files are called after the photo's name, and what a run with more or fewer methods would call them."""
        own = "." + re.sub(r"[^\w.=]+", "-", self.label).strip("-")
        return ("", own) if self.alone else (own, "")

    @property
    def signed(self) -> bool:
        """Say whether the sign of its scores means something."""
        return entry_of(self.spec.name).signed

    def settings(self) -> dict[str, Any]:
        """Give everything that decides what its maps look like, as plain values."""
        return method_settings(self.spec, self.method)


@dataclass(frozen=True)
class Found:
    """Map of one method for one photo.

    Attributes:
        ready: the method.
        attribution: of this photo alone.
        repeated: whether an earlier run had done the same already.
    """

    ready: Ready
    attribution: Attribution
    repeated: bool

    @property
    def signed(self) -> bool:
        """Say whether the sign of its values means something."""
        return self.ready.signed or self.attribution.signed


@dataclass(frozen=True)
class Explained:
    """One photo, explained.

    Attributes:
        photo: its file.
        stem: what the files written for it are called.
        shown: the photo (3, H, W) in [0, 1], or another input, as the network sees it.
        name: of the target.
        probability: of the target; of a regression the value.
        found: by each method.
        measure: what `probability` is: "probability" or "score".
        predicted: class that the network names; empty where it names none, or that is not known.
        confidence: probability of that class.
        label: class that the photo is of; empty where that is not known.
    """

    photo: Path
    stem: str
    shown: Shown
    name: str
    probability: float
    found: tuple[Found, ...]
    measure: str = "probability"
    predicted: str = ""
    confidence: float | None = None
    label: str = ""

    @property
    def seen(self) -> str:
        """Name the file that holds the input as the network sees it."""
        return f"{self.stem}{PICTURE if isinstance(self.shown, Tensor) else VALUES}"

    @property
    def pixels(self) -> Tensor:
        """Return the photo; InputError of what is none."""
        if not isinstance(self.shown, Tensor):
            raise InputError(f"{self.photo.name} is no photo: what was asked for draws photos alone, leave it out")
        return self.shown

    def rows(self) -> list[dict[str, Any]]:
        """Return plain values for the summary, one mapping for each method."""
        said = {"predicted": self.predicted, "predicted_probability": self.confidence, "label": self.label}
        return [
            {
                "photo": str(self.photo),
                "name": self.name,
                "files": f"{self.stem}{one.ready.endings[0]}",
                "seen": self.seen,
                f"{self.measure}_before": self.probability,
                **{name: value for name, value in said.items() if value not in ("", None)},
                **one.attribution.summary()[0],
                "method": one.ready.label,
            }
            for one in self.found
        ]


@dataclass(frozen=True)
class Request:
    """Request to explain: the network, the methods, and the folder for what they find.

    Attributes:
        loaded: the network and its preprocessing.
        methods: at least one.
        target: class index or another question, the same for all methods; None for the predicted class.
        classes: names of the classes, if they are known.
        out: folder.
        suffix: of the pictures: "png", "svg" or "pdf".
        same_scale: whether all maps share scales, those in scores by method; None for maps in bits only.
        more: what `explain` is to find besides, of methods that can: `{"curve": True}`, `{"spread": 4}`.
        taken: names of files in the folder that belong to other photos, and of which: see `file_stems`.
        labels: classes that photos are of, by their files in full, where somebody said so.
    """

    loaded: Loaded
    methods: Sequence[Ready]
    target: int | Target | None
    classes: Sequence[str] | None
    out: Path
    suffix: str = "png"
    same_scale: bool | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    taken: Mapping[str, Path] = field(default_factory=dict)
    labels: Mapping[Path, int] = field(default_factory=dict)

    def ends(self, tops: Mapping[str, float]) -> Ends:
        """Return where colours end, by how far the maps that share a scale reach."""
        return Ends(self.same_scale, dict(tops))


class Explaining:
    """Explains one photo after the other by the same methods.

    An attribution that lies in the folder already, made of the same photo by the same network with the same settings, is not
    made again.

    Args:
        request: what is asked for.
        refused: what to do with a method (its label) that cannot be used on this network, instead of raising; it is left
            out from this photo on.
    """

    def __init__(self, request: Request, refused: Callable[[str, BitlensError], None] | None = None) -> None:
        self.request, self.refused, self._left = request, refused, list(request.methods)
        self._network = Network(request.loaded.model, output=request.loaded.output)
        self.made_by = {
            "model": request.loaded.name,
            "weights": weights_hash(request.loaded.model),
            "preprocessing": request.loaded.preprocess.description,
        }

    def each(
        self, photos: Sequence[Path], unreadable: Unreadable | None = None, advance: Callable[[], None] = lambda: None
    ) -> Iterator[Explained]:
        """Explain photos one after the other, each by all methods.

        Args:
            photos: files.
            unreadable: what to do with a photo that cannot be read or prepared, instead of raising; it is left out.
            advance: called for each photo and method.

        Raises:
            DataError: if a photo cannot be read, or the folder cannot be written.
            InputError: if the preprocessing fails on a photo.
            TargetError: if there is no such class.
            LayerError, SettingError: if a method cannot be used on this network, or none is left.
        """
        for path, stem in zip(photos, file_stems(photos, self.request.taken), strict=True):
            made = self.one(path, stem, unreadable, advance)
            if made is not None:
                yield made

    def one(
        self, path: Path, stem: str, unreadable: Unreadable | None = None, advance: Callable[[], None] = lambda: None
    ) -> Explained | None:
        """Explain one photo; its files are called after `stem`. For other arguments and errors see `each`."""
        loaded, found = self.request.loaded, []
        photo = read_file(path, self._network, loaded.preprocess, self.request.target, unreadable)
        if photo is None:
            return None
        identity = {**self.made_by, "photo": path.name, "photo_hash": photo.fingerprint}
        for ready in tuple(self._left):
            try:
                found.append(_explained(ready, photo, identity, self.request.out / stem, self.request.more))
            except (LayerError, SettingError) as error:
                if self.refused is None:
                    raise
                self.refused(ready.label, error)
                self._left.remove(ready)
            advance()
        if not self._left:
            raise SettingError(
                f"none of the {len(self.request.methods)} methods can be used on {loaded.name}: choose others"
            )
        shown = shown_of(photo)
        name = class_name(photo.asked, self.request.classes)
        classes, label = self.request.classes, self.request.labels.get(path.resolve())
        names = photo.measure == "probability" and len(photo.said) > 0
        return Explained(
            path, stem, shown, name, photo.probability, tuple(found), photo.measure,
            predicted=class_name(str(photo.predicted), classes) if names else "",
            confidence=photo.confidence if names else None,
            label=class_name(str(label), classes) if label is not None else "",
        )  # fmt: skip


def sample_of(path: Path, preprocess: Preprocessing) -> Sample:
    """Return a file as a sample that a network reads; a row of a table is known by its numbers, not by its file."""
    return Sample(str(path), partial(preprocess.read, path), path=path if split_row(path)[1] is None else None)


def read_file(
    path: Path,
    network: Network,
    preprocess: Preprocessing,
    target: int | Target | None,
    unreadable: Unreadable | None = None,
) -> Photo | None:
    """Read a photo and ask the network about it; None where it cannot be read or prepared and `unreadable` was told why."""
    try:
        return read_photo(sample_of(path, preprocess), network, preprocess, asked=target)
    except (DataError, InputError) as error:
        if unreadable is None:
            raise
        unreadable(path, error)
        return None


def _explained(ready: Ready, photo: Photo, identity: Mapping[str, Any], stem: Path, more: Mapping[str, Any]) -> Found:
    """Explain by one method, or take it from an earlier run if that has made the very same."""
    settings = {**ready.settings(), **identity}
    places = [Path(f"{stem}{ending}.safetensors") for ending in ready.endings]
    wanted = able(ready.method, more)
    for place in places:
        known = _known(place, settings, photo.asked, wanted)
        if known is not None:
            if place != places[0]:
                known.save(places[0])
            return Found(ready, known, repeated=True)
    made: Attribution = over_input(ready.method.explain(photo.image, photo.target, **wanted), photo)
    attribution = replace(made, settings=settings)
    attribution.save(places[0])
    return Found(ready, attribution, repeated=False)


def over_input(made: Attribution, photo: Photo) -> Attribution:
    """Pass on an attribution that has a number for each place of an input, or a grid over a photo; LayerError for any other."""
    if photo.image.dim() == 4:
        return over_photo(made)
    if tuple(made.map.shape[1:]) != photo.places:
        where = f"layer {made.layer!r}" if made.layer else made.method
        raise LayerError(
            f"{where} gives a map of {tuple(made.map.shape[1:])}, not one over the places {photo.places} of the input: choose a "
            "layer whose output has them"
        )
    return made


def over_photo(made: Attribution) -> Attribution:
    """Pass on an attribution that has a grid over the photo; LayerError for any other."""
    if made.map.dim() != 3:
        raise LayerError(
            f"layer {made.layer!r} gives {made.unit.removeprefix('bits/')}s, not a grid over the photo: choose a layer whose "
            "output has height and width"
        )
    return made


def _known(place: Path, settings: Mapping[str, Any], target: str, more: Mapping[str, Any]) -> Attribution | None:
    found = kept(place, Attribution.load)
    wanted = json.loads(json.dumps(settings)), (target,)
    if found is None or (found.settings, found.targets) != wanted or ("curve" in more and found.curve is None):
        return None
    seeds = found.spread.seeds if found.spread is not None else 0
    return found if more.get("spread", seeds) == seeds else None
