"""What is to be evaluated, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bitlens.data.kinds import Kind
from bitlens.data.named import training_data
from bitlens.methods.specs import Spec


@dataclass(frozen=True)
class Plan:
    """Plan of an evaluation, as plain data that another process can be sent.

    Attributes:
        model: the network's name.
        data: the data set's name.
        methods: by label.
        metrics: by label.
        kind: what the network reads.
        weights: a file, in place of the network's own.
        layer: of methods that restrict one, unless their settings name it; None for the network's default.
        asked: which class is asked about: each sample's "label" (the predicted class where it has none), or "predicted".
        max_tokens: of each text at most, special ones included; None for as many as the network reads.
        statistics_from: the data set that methods learn from; None for what comes with the network, or else `data`
            itself (labels are not looked at).
        statistics_count: from how many samples of it at most.
        statistics_per: of photos: "channel" or "element".
        seed: of everything that is random.
        classes: the names of the network's outputs, in place of its own; labels may be names.
    """

    model: str
    data: str
    methods: Mapping[str, Spec]
    metrics: Mapping[str, Spec]
    kind: Kind = "image"
    weights: Path | None = None
    layer: str | None = None
    asked: Literal["label", "predicted"] = "label"
    max_tokens: int | None = None
    statistics_from: str | None = None
    statistics_count: int = 1000
    statistics_per: Literal["channel", "element"] = "channel"
    seed: int = 0
    classes: tuple[str, ...] | None = None

    @property
    def learns_from(self) -> str:
        """The data set that methods learn from."""
        return self.statistics_from or training_data(self.data)
