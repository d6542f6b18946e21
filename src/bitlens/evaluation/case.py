"""What a metric may look at: one sample and one method's map of it, made when it is first looked at."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from bitlens.baselines.asking import asking
from bitlens.core.passes import Precision
from bitlens.errors import InputError
from bitlens.evaluation.subject import CaseOf
from bitlens.explaining.photo import Photo
from bitlens.explaining.text import Text
from bitlens.metrics.token_removal import TokenAnswer
from bitlens.models.loaded import Loaded
from bitlens.probe import Network


class Case(CaseOf):
    """One photo and one method.

    Args:
        photo: the photo.
        network: that is explained.
        method: ready to explain.
        seed: of whatever a metric draws at random.
        options: that the method's `explain` is called with.
        known: (H, W), the map if it is there already.
        randomised: (names of layers joined by "+", or nothing for all blocks; name of an initialiser) → the method on networks
            that have lost what they learnt, from their last layer back to ever earlier ones.
    """

    def __init__(
        self,
        photo: Photo,
        network: Network,
        method: Any,
        seed: int,
        *,
        options: Mapping[str, Any] | None = None,
        known: Tensor | None = None,
        randomised: Callable[[str, str], Sequence[Any]] = lambda layers, initialiser: (),  # noqa: ARG005
    ) -> None:
        super().__init__(photo, known)
        self.photo, self.network, self.method, self.seed = photo, network, method, seed
        self.randomised = randomised
        self._options = options or {}

    def map_of(self, method: Any) -> Tensor:
        """(1, H, W), what another method of the same kind makes of this photo."""
        made: Tensor = method.explain(self.photo.image, self.photo.target, **self._options).map
        return made

    def _explain(self) -> Tensor:
        found = self.map_of(self.method)
        wanted = (1, *self.photo.image.shape[2:])
        if tuple(found.shape) != wanted:
            raise InputError(
                f"the method gives a map of shape {tuple(found.shape[1:])} for a photo of {wanted[1]}x{wanted[2]}: choose a "
                "layer whose output has height and width"
            )
        if not bool(torch.isfinite(found).all()):
            raise InputError("the map holds NaN or infinite values")
        return found


class TextCase(CaseOf):
    """One text and one method.

    Args:
        text: the text.
        loaded: the network that is explained.
        method: ready to explain.
        seed: of whatever a metric draws at random.
        rows: how many texts may go through the network at once.
        options: that the method's `explain` is called with.
        known: (T,), the map if it is there already.
    """

    def __init__(
        self,
        text: Text,
        loaded: Loaded,
        method: Any,
        seed: int,
        *,
        rows: int,
        options: Mapping[str, Any],
        known: Tensor | None = None,
    ) -> None:
        super().__init__(text, known)
        self.text, self.loaded, self.method, self.seed, self.rows = text, loaded, method, seed, rows
        self._options = options

    def answer(self, quantity: Literal["score", "value"], precision: Precision) -> TokenAnswer:
        """What the target says of changed texts, told as positions (R, T): see `Text.units`."""
        text = self.text

        def answered(places: Tensor, present: Tensor) -> Tensor:
            rows = torch.zeros(len(places), dtype=torch.long, device=places.device)
            said = self.loaded.output
            with asking(
                self.loaded, text.batch, text.target, self.rows, precision, text.output, choice=said
            ) as question:
                return question.answers(places, present, rows, quantity)

        return answered

    def _explain(self) -> Tensor:
        found: Tensor = self.method.explain(self.text.batch, self.text.target, **self._options).map
        if found.shape != self.text.batch.real.shape:
            raise InputError(
                f"the method gives a map of shape {tuple(found.shape[1:])} for a text of {self.text.batch.real.shape[1]} "
                "tokens: choose a layer that gives a vector for each token"
            )
        if not bool(torch.isfinite(found).all()):
            raise InputError("the map holds NaN or infinite values")
        return found
