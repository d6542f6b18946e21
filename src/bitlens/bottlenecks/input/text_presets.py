"""What InputIBA for texts can be told by name: presets, noise, and the units of its read-outs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from bitlens.bottlenecks.input.presets import PRIORS, PriorName
from bitlens.bottlenecks.input.prior import ROUNDING, Prior, feature_matching
from bitlens.bottlenecks.tokens import MaskForm, Objective
from bitlens.core.fitting import FitSettings

__all__ = ["TOKEN_INPUT_QUALITY", "TOKEN_PRIORS", "TOKEN_UNITS", "EmbeddingNoise", "TokenInputPreset"]

TOKEN_PRIORS: Mapping[str, Prior | None] = {**PRIORS, "feature-matching": partial(feature_matching, eps=ROUNDING)}

EmbeddingNoise = Literal["statistics", "standard"]


@dataclass(frozen=True)
class TokenInputPreset:
    """How much work each stage is worth.

    Attributes:
        features: of stage 1, at the layer; a mask for each of its hidden units.
        prior: of stage 2.
        input: of stage 3, at the embedding.
        mask: whether the dimensions of an embedding share one mask in stage 3.
        objective: what is kept of a class, in stages 1 and 3.
        noise: at the embedding.
    """

    features: FitSettings
    prior: PriorName
    input: FitSettings
    mask: MaskForm
    objective: Objective
    noise: EmbeddingNoise


_FEATURES = FitSettings(beta=15, smoothing=0)
_INPUT = FitSettings(beta=30, steps=30, learning_rate=0.5, smoothing=0, readout="final")
_QUICK = FitSettings(beta=3, noise_samples=2, smoothing=0, initial_logit=0, antithetic=True, readout="final")
_FAST = replace(_QUICK, beta=0.01, learning_rate=0.3)  # measured on training reviews (docs/results/text)
TOKEN_INPUT_QUALITY: dict[str, TokenInputPreset] = {
    "fast": TokenInputPreset(_QUICK, "feature-map", _FAST, "unit", "log-odds", "statistics"),
    "paper": TokenInputPreset(_FEATURES, "wgan", _INPUT, "unit", "cross-entropy", "statistics"),
    "official": TokenInputPreset(_FEATURES, "official", _INPUT, "unit", "cross-entropy", "standard"),
}
TOKEN_UNITS = {"mask": "mask", "information": "bits/token", "beyond-prior": "bits/token"}
