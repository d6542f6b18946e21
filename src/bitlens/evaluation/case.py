"""What a metric may look at: one photo and one method's map of it, made when it is first looked at."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bitlens.errors import InputError
from bitlens.evaluation.subject import CaseOf
from bitlens.explaining.photo import Photo
from bitlens.probe import Network

__all__ = ["Case"]


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
