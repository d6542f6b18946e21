"""What is to be evaluated on texts, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bitlens.methods.specs import Spec

__all__ = ["TextPlan"]


@dataclass(frozen=True)
class TextPlan:
    """What is to be evaluated, as plain data that another process can be sent.

    Attributes:
        model: the network's name.
        data: the data set's name.
        methods: by label.
        metrics: by label.
        weights: a file, in place of the network's own.
        layer: of methods that restrict one, unless their settings name it; None for the network's default.
        asked: which class is asked about: each text's "label" (the predicted class where it has none), or "predicted".
        max_tokens: of each text at most, special ones included; None for as many as the network reads.
        statistics_from: the data set that methods learn from; None for what comes with the network, or else `data`
            itself (labels are not looked at).
        statistics_count: from how many texts of it at most.
        seed: of everything that is random.
    """

    model: str
    data: str
    methods: Mapping[str, Spec]
    metrics: Mapping[str, Spec]
    weights: Path | None = None
    layer: str | None = None
    asked: Literal["label", "predicted"] = "label"
    max_tokens: int | None = None
    statistics_from: str | None = None
    statistics_count: int = 1000
    seed: int = 0

    @property
    def learns_from(self) -> str:
        """The data set that methods learn from, where nothing comes with the network."""
        return self.statistics_from or self.data
