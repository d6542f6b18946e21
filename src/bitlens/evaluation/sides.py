"""Photos and texts as the evaluation sees them: all that it need not know of either."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor
from typing_extensions import override

from bitlens.core.passes import rows_at_once
from bitlens.evaluation.case import Case, TextCase
from bitlens.evaluation.plan import Plan
from bitlens.evaluation.subject import CaseOf, Subject
from bitlens.explaining.photo import fingerprint, read_photo
from bitlens.explaining.text import read_text, text_fingerprint
from bitlens.methods.building import grey_photo
from bitlens.metrics.randomisation import cascade, cascade_steps
from bitlens.models.loaded import Loaded
from bitlens.probe import Network

Randomised = Callable[[str, str], Sequence[Any]]


class Side(ABC):
    """One kind of samples, and a network that reads them.

    Args:
        plan: what is to be evaluated.
        loaded: the network.
    """

    noun: str
    """What many samples are called."""

    def __init__(self, plan: Plan, loaded: Loaded) -> None:
        self.plan, self.loaded = plan, loaded
        self.network = Network(loaded.model, output=loaded.output)

    @abstractmethod
    def read(self, sample: Any) -> Subject:
        """Read a sample of the data set as the network sees it, and ask the network about it."""

    @abstractmethod
    def fingerprint(self, sample: Any) -> str:
        """Tell a sample's content apart from others."""

    @abstractmethod
    def case(
        self, subject: Any, method: Any, options: Mapping[str, Any], known: Tensor | None, randomised: Randomised
    ) -> CaseOf:
        """Bring one sample and one method together; `known` is its map if it is there already."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what of this kind decides the rows, as plain values."""

    @property
    @abstractmethod
    def probe_input(self) -> Tensor:
        """Any one input, to see how two networks differ (1, ...)."""

    def random_networks(self, layers: Sequence[str] | None, initialiser: str) -> list[Loaded]:  # noqa: ARG002
        """Return copies of the network that have lost ever more of what they learnt."""
        return []

    def random_layers(self, layers: Sequence[str] | None) -> list[str]:  # noqa: ARG002
        """Name the layers down to which they have."""
        return []


@final
class PhotoSide(Side):
    """Photos."""

    noun = "photos"

    @override
    def read(self, sample: Any) -> Subject:
        return read_photo(sample, self.network, self.loaded.preprocess)

    @override
    def fingerprint(self, sample: Any) -> str:
        return fingerprint(sample)

    @override
    def case(
        self, subject: Any, method: Any, options: Mapping[str, Any], known: Tensor | None, randomised: Randomised
    ) -> CaseOf:
        return Case(subject, self.network, method, self.plan.seed, options=options, known=known, randomised=randomised)

    @override
    def settings(self) -> dict[str, Any]:
        return {"preprocessing": self.loaded.preprocess.description, "statistics": {"per": self.plan.statistics_per}}

    @override
    @cached_property
    @override
    def probe_input(self) -> Tensor:
        grey = grey_photo(self.loaded)
        return torch.randn(grey.shape, generator=torch.Generator().manual_seed(0)).to(grey)

    @override
    def random_networks(self, layers: Sequence[str] | None, initialiser: str) -> list[Loaded]:
        grey = grey_photo(self.loaded)
        made = cascade(self.loaded.model, grey, layers, initialiser=initialiser, seed=self.plan.seed)
        return [replace(self.loaded, model=network) for _, network in made]

    @override
    def random_layers(self, layers: Sequence[str] | None) -> list[str]:
        return [step.layer for step in cascade_steps(self.loaded.model, grey_photo(self.loaded), layers)]


@final
class TextSide(Side):
    """Texts."""

    noun = "texts"

    @override
    def read(self, sample: Any) -> Subject:
        return read_text(sample, self.loaded, self.plan.max_tokens, predicted=self.plan.asked == "predicted")

    @override
    def fingerprint(self, sample: Any) -> str:
        return text_fingerprint(sample)

    @override
    def case(
        self,
        subject: Any,
        method: Any,
        options: Mapping[str, Any],
        known: Tensor | None,
        randomised: Randomised,
    ) -> CaseOf:
        inputs = self.network.prepared(subject.batch.inputs)
        rows = rows_at_once(self.network.bytes_per_row(inputs), self.network.device)
        return TextCase(subject, self.loaded, method, self.plan.seed, rows=rows, options=options, known=known)

    @override
    def settings(self) -> dict[str, Any]:
        tokenizer = type(self.loaded.tokenizer).__name__
        return {"tokenizer": tokenizer, "max_tokens": self.plan.max_tokens, "asked": self.plan.asked}

    @override
    @property
    @override
    def probe_input(self) -> Tensor:
        raise NotImplementedError("networks for texts are not randomised")


def side_of(plan: Plan, loaded: Loaded) -> Side:
    """Return the side that a plan is about."""
    return PhotoSide(plan, loaded) if loaded.kind == "image" else TextSide(plan, loaded)
