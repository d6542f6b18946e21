"""The networks that the page offers: loaded when they are first asked for, and what can be chosen at each."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bitlens.data.datasets import open_dataset
from bitlens.data.kinds import Form
from bitlens.data.labels import Labels
from bitlens.errors import SettingError
from bitlens.methods.building import grey_photo
from bitlens.methods.labels import with_classes
from bitlens.models.builtin import BUILTIN, BUILTIN_LANGUAGE, BUILTIN_TEXT
from bitlens.models.classes import read_classes
from bitlens.models.default_layer import default_layer
from bitlens.models.load import load_model
from bitlens.models.load_language import load_language_model
from bitlens.models.load_text import text_layers
from bitlens.models.loaded import Loaded
from bitlens.models.stages import Grid, grid_stages
from bitlens.probe import Network

_SPAN_BETA = 3.0
"""The price of information that answers begin with, as `token-iba` has it."""


@dataclass(frozen=True)
class Offer:
    """A network that whoever started the page allows to be asked. Visitors choose among these; they name no files.

    Attributes:
        spec: as `bitlens models` lists it, or as `bitlens text explain --model` takes it, with or without `--prompt`.
        learns_from: the data set that methods learn from; without, statistics are those of each input itself.
        weights: a file of weights, or None.
        classes: a file of class names, or None.
    """

    spec: str
    learns_from: str = ""
    weights: Path | None = None
    classes: Path | None = None

    @property
    def label(self) -> str:
        """Name what visitors see: no folders of this machine."""
        return self.spec if self.spec.startswith(("builtin/", "torchvision/", "timm/", "hf/")) else Path(self.spec).name


@dataclass(frozen=True)
class Desk:
    """A loaded network.

    Attributes:
        offer: what it was made of.
        loaded: the network.
        network: runs it whole.
        layers: from shallow to deep, each with its grid; of photos the stages, of texts without grids.
        layer: of these, the one to begin with; empty where each method chooses its own.
        classes: the names of its outputs; None where they are unknown.
        beta: the price of information to begin with.
        lock: one question at a time: a network that is being explained is not to be run by others.
    """

    offer: Offer
    loaded: Loaded
    network: Network
    layers: Mapping[str, Grid]
    layer: str
    classes: tuple[str, ...] | None
    beta: float
    lock: threading.RLock


class Shelf:
    """All offers, by label; each network is prepared once, when it is first asked for.

    Args:
        offers: at least one.
        device: where the networks run.
        prepare: loads the network of an offer.
    """

    def __init__(self, offers: Sequence[Offer], device: str, prepare: Callable[[Offer, str], Desk]) -> None:
        self._offers = {offer.label: offer for offer in offers}
        self._device, self._prepare = device, prepare
        self._prepared: dict[str, Desk] = {}
        self._locks = {label: threading.Lock() for label in self._offers}  # one that loads holds up no other

    @property
    def labels(self) -> tuple[str, ...]:
        """Name what there is, in order."""
        return tuple(self._offers)

    def __getitem__(self, label: str) -> Desk:
        """Hand out the network of an offer, ready.

        Raises:
            SettingError: if nothing is offered under this label.
            ModelError: if it cannot be loaded.
        """
        if label not in self._offers:
            raise SettingError(f"network {label!r} is not offered here; choose {' or '.join(self._offers)}")
        with self._locks[label]:
            if label not in self._prepared:
                self._prepared[label] = self._prepare(self._offers[label], self._device)
            return self._prepared[label]


@dataclass(frozen=True)
class Offers:
    """Networks of each kind that a page offers.

    Attributes:
        photos: for photos.
        signals: for signals.
        texts: for texts.
        languages: language models.
    """

    photos: Sequence[Offer]
    signals: Sequence[Offer]
    texts: Sequence[Offer]
    languages: Sequence[Offer]

    @classmethod
    def bundled(cls) -> "Offers":
        """List the networks that come with bitlens."""
        return cls(
            _of_form("photo"),
            _of_form("signal"),
            [Offer(f"builtin/{name}") for name in BUILTIN_TEXT],
            [Offer(f"builtin/{name}") for name in BUILTIN_LANGUAGE],
        )


def _of_form(form: Form) -> list[Offer]:
    return [Offer(f"builtin/{name}", entry.learns_from) for name, entry in BUILTIN.items() if entry.form == form]


def input_desk(offer: Offer, device: str) -> Desk:
    """Load a network for photos or signals, and find out what can be chosen at it."""
    if offer.learns_from:
        open_dataset(offer.learns_from, Labels(needed=False))  # if it is not there, say so now
    loaded = load_model(offer.spec, offer.weights, device)
    grey = grey_photo(loaded)
    layer = loaded.layer or default_layer(loaded.model, grey)
    layers = grid_stages(loaded.model, grey, also=layer)
    classes = with_classes(loaded, read_classes(offer.classes) if offer.classes is not None else None).classes
    beta = 10.0 if loaded.beta is None else loaded.beta
    network = Network(loaded.model, output=loaded.output)
    return Desk(offer, loaded, network, layers, layer, tuple(classes) if classes else None, beta, threading.RLock())


def text_desk(offer: Offer, device: str) -> Desk:
    """Load a network for texts, and find out what can be chosen at it."""
    loaded = load_model(offer.spec, None, device, kind="text")
    known = [loaded.embedding, *text_layers(loaded.model)]
    listed = known if loaded.layer in (None, *known) else [str(loaded.layer), *known]
    layers: dict[str, Grid] = dict.fromkeys(listed, ())
    beta = 1.0 if loaded.beta is None else loaded.beta
    classes = tuple(loaded.classes or ()) or None
    return Desk(
        offer,
        loaded,
        Network(loaded.model, output=loaded.output),
        layers,
        loaded.layer or "",
        classes,
        beta,
        threading.RLock(),
    )


def language_desk(offer: Offer, device: str) -> Desk:
    """Load a language model; its answers are explained at its word embedding alone."""
    loaded = load_language_model(offer.spec, device)
    return Desk(offer, loaded, Network(loaded.model), {}, "", None, _SPAN_BETA, threading.RLock())
