"""What a metric may look at: one sample and one method's map of it, made when it is first looked at."""

import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from bitlens.baselines.asking import Quantity, asking
from bitlens.core.attribution import Attribution
from bitlens.core.evidence import Evidence
from bitlens.core.passes import Precision, RunOptions
from bitlens.core.targets import Target, finds_places, settled
from bitlens.errors import InputError, SettingError
from bitlens.explaining.asked import Once
from bitlens.explaining.photo import Photo
from bitlens.explaining.text import Text, Unit
from bitlens.methods.building import has_evidence, map_alone
from bitlens.metrics.in_domain import Deletion
from bitlens.metrics.token_removal import Texts, TokenAnswer
from bitlens.models.loaded import Loaded
from bitlens.probe import Network


class CaseOf:
    """One sample and one method.

    Args:
        subject: the sample.
        inputs: what of it the method explains.
        shape: of a map.
        method: ready to explain.
        seed: of whatever a metric draws at random.
        known: the map without its first axis, if it is there already.
        reseeded: a number → so many copies of the method, with the seeds that follow its own.
    """

    misfit: ClassVar[str]
    """What is said of a map of another shape."""

    def __init__(
        self,
        subject: Photo | Text,
        inputs: Any,
        shape: Sequence[int],
        method: Any,
        seed: int,
        known: Tensor | None,
        reseeded: Callable[[int], Sequence[Any]],
    ) -> None:
        self.subject, self.method, self.seed, self.reseeded = subject, method, seed, reseeded
        self.map_seconds: float | None = None
        self._inputs, self._shape = inputs, tuple(shape)
        self.once = Once()  # keeps what several metrics read different numbers from
        self._map = known[None] if known is not None else None
        self._failure: Exception | None = None
        self._evidence: Evidence | None = None

    @property
    def elsewhere(self) -> Any:
        """Return what other networks, and changed copies of the sample, are asked about: the very same."""
        return self.subject.target

    def map_of(self, method: Any) -> Tensor:
        """Return (1, ...), what another method of the same kind, or one on another network, makes of this sample."""
        made: Tensor = method.explain(self._inputs, self.elsewhere, **map_alone(method)).map
        return made

    def scored(self, maps: Tensor) -> Tensor:
        """Return what maps (n, ...) say of all places that can have a score, (n, ...)."""
        return maps

    def _explained(self, method: Any, **settings: Any) -> Attribution:
        found: Attribution = method.explain(self._inputs, self.subject.target, **settings)
        return found

    @property
    def evidence(self) -> Evidence | None:
        """The method's own proof of how far the map holds; None of a method that has none."""
        if self._evidence is None and has_evidence(self.method):
            _ = self.map  # which may come with its proof, and is refused first if anything is wrong with it
            self._evidence = self._evidence or self._explained(self.method).evidence
        return self._evidence

    @property
    def map(self) -> Tensor:
        """(1, ...), made the first time; whatever the method raised then, it raises every time."""
        if self._failure is not None:
            raise self._failure
        if self._map is None:
            start = time.perf_counter()
            try:
                found = self._explained(self.method, **map_alone(self.method))
                self._map, self._evidence = self._checked(found.map), found.evidence
            except Exception as error:
                self._failure = error
                raise
            self.map_seconds = time.perf_counter() - start
        return self._map

    @property
    def made_map(self) -> Tensor | None:
        """The map without its first axis, if it was made just now."""
        return self._map[0] if self._map is not None and self.map_seconds is not None else None

    def _checked(self, found: Tensor) -> Tensor:
        if tuple(found.shape) != (1, *self._shape):
            shape = tuple(found.shape[1:])
            raise InputError(
                f"the method gives a map of shape {shape} for {self.misfit.format('x'.join(map(str, self._shape)))}"
            )
        if not bool(torch.isfinite(found).all()):
            raise InputError("the map holds NaN or infinite values")
        return found


class Case(CaseOf):
    """One photo and one method.

    Args:
        photo: the photo.
        network: that is explained.
        method: see `CaseOf`.
        seed: see `CaseOf`.
        known: (H, W), or a number for each place of other inputs, see `CaseOf`.
        randomised: (names of layers joined by "+", or nothing for all blocks; name of an initialiser) → the method on networks
            that have lost what they learnt, from their last layer back to ever earlier ones.
        reseeded: see `CaseOf`.
        judge: (what is deleted, epochs) → a copy of the network that knows such deletions.
        layer: says at which layer bits are counted where the method has none.
    """

    misfit = "an input of {0}: choose a layer whose output has places"

    def __init__(
        self,
        photo: Photo,
        network: Network,
        method: Any,
        seed: int,
        known: Tensor | None = None,
        randomised: Callable[[str, str], Sequence[Any]] = lambda layers, initialiser: (),  # noqa: ARG005
        reseeded: Callable[[int], Sequence[Any]] = lambda count: (),  # noqa: ARG005
        judge: Callable[[Deletion, int], Network] | None = None,
        layer: Callable[[], str] = lambda: "",
    ) -> None:
        super().__init__(photo, photo.image, photo.places, method, seed, known, reseeded)
        self.photo, self.network = photo, network
        self.randomised, self.layer = randomised, layer
        self._judge = judge

    def judge(self, deletion: Deletion, epochs: int) -> Network:
        """Return a copy of the network that knows such deletions, from so many epochs of fine-tuning at most.

        Raises:
            SettingError: if there are no photos to fine-tune it on.
        """
        if self._judge is None:
            raise SettingError("there are no photos to fine-tune a copy of the network on: use `bitlens evaluate`")
        return self._judge(deletion, epochs)

    @property
    def elsewhere(self) -> Any:
        """Return what is asked about elsewhere: of a network that answers at places, those that it chose in the sample itself."""
        return self.photo.once("elsewhere", self._settled)

    def _settled(self) -> Any:
        if len(self.photo.said) or not finds_places(self.photo.target):
            return self.photo.target  # there is one answer for the whole sample, or for what is said
        output, form = self.network.answered(self.network.prepared(self.photo.image))
        return settled(self.photo.target, output, 1, form)

    @property
    def asked(self) -> tuple[Network, Tensor, int | Target]:
        """The network, the image and what is asked about, as metrics take them."""
        return self.network, self.photo.image, self.photo.target

    def run(self, precision: Precision) -> RunOptions:
        """Return how a metric runs the network."""
        return {"seed": self.seed, "precision": precision}


class TextCase(CaseOf):
    """One text and one method.

    Args:
        text: the text.
        loaded: the network that is explained.
        method: see `CaseOf`.
        seed: see `CaseOf`.
        known: (T,), see `CaseOf`.
        reseeded: see `CaseOf`.
        rows: how many texts may go through the network at once.
    """

    misfit = "a text of {0} tokens: choose a layer that gives a vector for each token"

    def __init__(
        self,
        text: Text,
        loaded: Loaded,
        method: Any,
        seed: int,
        known: Tensor | None = None,
        reseeded: Callable[[int], Sequence[Any]] = lambda count: (),  # noqa: ARG005
        *,
        rows: int,
    ) -> None:
        super().__init__(text, text.batch, text.batch.real.shape[1:], method, seed, known, reseeded)
        self.text, self.loaded, self.rows = text, loaded, rows

    def scored(self, maps: Tensor) -> Tensor:
        """Return what maps (n, T) say of all tokens but special ones."""
        return maps[:, self.text.batch.real[0].to(maps.device)]

    def answer(self, quantity: Quantity, precision: Precision) -> TokenAnswer:
        """Return what the target says of changed texts, told as positions (R, T): see `Text.units`."""
        text = self.text

        def answered(places: Tensor, present: Tensor) -> Tensor:
            rows = torch.zeros(len(places), dtype=torch.long, device=places.device)
            said = self.loaded.output
            with asking(
                self.loaded, text.batch, text.target, self.rows, precision, text.output, choice=said
            ) as question:
                found = question.answers(places, present, rows, quantity)
                return question.target.counted(found, question.output) if quantity == "value" else found

        return answered

    def asked(self, quantity: Quantity, unit: Unit, precision: Precision) -> tuple[TokenAnswer, Texts]:
        """Return what answers for the text without some of its units, and the text, as metrics take them."""
        return self.answer(quantity, precision), self.text.units(unit)

    @property
    def run(self) -> dict[str, Any]:
        """Return how a metric runs the network."""
        return {"rows": self.rows, "seed": self.seed}
