"""What the training loop must be told: how to prepare samples, and what is lost on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bitlens.training.examples import Batch


@dataclass(frozen=True)
class Losses:
    """Losses on each of N samples.

    Attributes:
        total: (N,) what is minimised.
        parts: (N,) each, without gradient: what it consists of, for the curve.
    """

    total: Tensor
    parts: Mapping[str, Tensor]


class Prepared(Protocol):
    """All of some samples that does not change while the network learns."""

    @property
    def nbytes(self) -> int:
        """Return how much memory it takes."""


class Trainee(Protocol):
    """A network with what it is to learn.

    Attributes:
        module: the network.
    """

    module: nn.Module

    def identity(self) -> Mapping[str, Any]:
        """Return plain values that must stay the same where a training goes on."""

    def prepare(self, batch: Batch) -> Any:
        """Compute what does not change, a `Prepared`."""

    def losses(
        self, module: nn.Module, prepared: Any, seeds: Sequence[int], epoch: int | None, dtype: torch.dtype | None
    ) -> Losses:
        """Return what is lost.

        Args:
            module: the network, as it must be called (it may be wrapped).
            prepared: by `prepare`.
            seeds: one for each sample, of whatever is random about it.
            epoch: from 0; None where held-out samples are measured.
            dtype: what is allowed to be computed in lower precision; None for nothing.
        """

    def diagnose(self, module: nn.Module, prepared: Any, seeds: Sequence[int], epoch: int | None) -> str:
        """Return where a number that is not finite appears first."""
