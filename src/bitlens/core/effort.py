"""How much work goes into a mask: the settings of the optimisation, and named choices of them."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from bitlens.errors import SettingError, at_least, numbers, one_of_literal

Readout = Literal["last_forward", "final"]
Quality = Literal["fast", "paper", "best"]


@dataclass(frozen=True)
class FitSettings:
    """Settings of the optimisation of masks; the defaults are the paper's (table 2).

    Attributes:
        beta: weight of the mean information per feature, in nats; larger keeps less.
        price: of each nat, in place of `beta` divided by the number of features, which makes it another for every network.
        row_price: of each nat of a table's row, in place of either.
        steps: T, optimisation steps.
        noise_samples: B, noisy copies per step.
        rising: whether the first steps take one copy, the last `noise_samples`, and those between evenly more: at first the
            features have hardly changed and copies say the same, so passes are better spent late.
        learning_rate: of Adam.
        smoothing: σ of the blur of the mask in cells of the layer's grid; 0 for none.
        initial_logit: α at the start; 5 lets 99.3 % of each feature pass.
        antithetic: whether the second half of the copies uses the negative noise of the first: what the loss gradient
            owes to the noise in first order then cancels.
        readout: "last_forward" reports the mask of the last forward pass as the published code does (T - 1 updates),
            "final" the mask after all T updates (algorithms B7).
        closes: whether masks that hold clearly more than is asked for are closed until they just do.
        averaged: whether slopes of the masks count only that noise takes features to its mean, and not its draws: what those
            say of a mask is small on average and, of few copies, mostly chance.
    """

    beta: float = 10.0
    steps: int = 10
    noise_samples: int = 10
    rising: bool = False
    learning_rate: float = 1.0
    smoothing: float = 1.0
    initial_logit: float = 5.0
    antithetic: bool = False
    readout: Readout = "last_forward"
    price: float | None = None
    row_price: float | None = None
    closes: bool = True
    averaged: bool = False

    def __post_init__(self) -> None:
        at_least(1, steps=self.steps, noise_samples=self.noise_samples)
        numbers(
            beta=self.beta, smoothing=self.smoothing, learning_rate=self.learning_rate, initial_logit=self.initial_logit
        )
        for name in ("beta", "smoothing"):
            if getattr(self, name) < 0:
                raise SettingError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.learning_rate <= 0:
            raise SettingError(f"learning_rate must be positive, got {self.learning_rate}")
        one_of_literal("readout", self.readout, Readout)

    def plain(self) -> dict[str, Any]:
        """Return the settings by name, without a price that is not set and, where one is, without the weight it replaces."""
        usual = {"row_price": None, "closes": True, "averaged": False}
        left_out = {
            "price" if self.price is None else "beta",
            *(name for name in usual if getattr(self, name) == usual[name]),
        }
        return {name: value for name, value in asdict(self).items() if name not in left_out}

    def of_rows(self) -> "FitSettings":
        """Return the same with the price of a table's rows, if they have one of their own."""
        return self if self.row_price is None else replace(self, price=self.row_price)

    @property
    def updates(self) -> int:
        """Return how often the logits change before they are reported. The published T-th pass changes nothing that is read."""
        return self.steps - 1 if self.readout == "last_forward" else self.steps

    def copies_at(self, step: int) -> int:
        """Return how many noisy copies a step (from 0) sends through the network."""
        return 1 + step * self.noise_samples // self.updates if self.rising else self.noise_samples

    @property
    def passes(self) -> int:
        """Return how many noisy copies go through the network, forward and backward, to fit one mask."""
        return sum(self.copies_at(step) for step in range(self.updates))


QUALITY: dict[str, FitSettings] = {
    "fast": FitSettings(noise_samples=3, rising=True, antithetic=True),
    "paper": FitSettings(),
    "best": FitSettings(noise_samples=30),
}
"""Named choices of how much work a map is worth; "paper" is table 2 of the paper."""

IMPLIED = ("steps", "noise_samples", "antithetic", "rising", "closes", "averaged")
"""Settings that a named choice stands for."""

ROW_PRICE = 1e-2
"""The price of each nat of a table's row of which a share is to be kept, or so many bits may pass: a few nats say its class, not
thousands, so that at an image's price nothing closes, and at its β for all nothing opens. As measured
(docs/signals_volumes_tables.md); half or twice of it hardly matters."""

_SHORT = FitSettings(
    price=1.4e-4,
    initial_logit=3.0,
    steps=7,
    noise_samples=2,
    rising=True,
    antithetic=True,
    averaged=True,
    readout="final",
)
HOLDING: dict[str, FitSettings] = {
    "fast": replace(_SHORT, closes=False),
    "paper": _SHORT,
    "best": replace(_SHORT, price=2e-4, steps=14, rising=False),
}
"""The same where what is kept decides how much passes, and not a price: they need to find where, not how much."""
