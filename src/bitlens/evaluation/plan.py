"""What is to be evaluated, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bitlens.core.statistics import Granularity
from bitlens.methods.specs import Spec

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """What is to be evaluated, as plain data that another process can be sent.

    Attributes:
        model: the network's name.
        data: the data set's name.
        methods: by label.
        metrics: by label.
        weights: a file, in place of the network's own.
        layer: of methods that restrict one, unless their settings name it; None for the network's default.
        statistics_from: the data set that methods learn from; None for `data` itself (labels are not looked at), or
            the training scenes for the test scenes.
        statistics_count: from how many photos of it at most.
        statistics_per: "channel" or "element".
        seed: of everything that is random.
    """

    model: str
    data: str
    methods: Mapping[str, Spec]
    metrics: Mapping[str, Spec]
    weights: Path | None = None
    layer: str | None = None
    statistics_from: str | None = None
    statistics_count: int = 1000
    statistics_per: Granularity = "channel"
    seed: int = 0

    @property
    def learns_from(self) -> str:
        """The data set that methods learn from."""
        if self.statistics_from is None and self.data == "builtin:scenes":
            return "builtin:scenes-train"
        return self.statistics_from or self.data
