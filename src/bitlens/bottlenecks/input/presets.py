"""What InputIBA can be told by name, for images and for texts: priors, presets, noise, and read-outs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from bitlens.bottlenecks.input.critics import official_wgan, wgan, wgan_gp
from bitlens.bottlenecks.input.prior import ROUNDING, Prior, feature_map, feature_matching
from bitlens.bottlenecks.tokens import Objective
from bitlens.core.effort import QUALITY, FitSettings

PRIOR_STREAM, INPUT_STREAM = 0x5851F42D, 0x14057B7E  # the stages' noise differs

PriorName = Literal["feature-map", "none", "feature-matching", "wgan-gp", "wgan", "official"]
InputQuality = Literal["fast", "paper", "official"]
InputReadout = Literal["mask", "information", "beyond-prior"]
EmbeddingNoise = Literal["statistics", "standard"]

PRIORS: Mapping[str, Prior | None] = {
    "feature-map": feature_map,
    "none": None,
    "feature-matching": feature_matching,
    "wgan-gp": wgan_gp,
    "wgan": wgan,
    "official": official_wgan,
}
TOKEN_PRIORS: Mapping[str, Prior | None] = {**PRIORS, "feature-matching": partial(feature_matching, eps=ROUNDING)}


@dataclass(frozen=True)
class InputPreset:
    """Work that each stage is worth.

    Attributes:
        features: of stage 1, at the layer.
        prior: of stage 2.
        input: of stage 3, at the input.
        one_mask: whether the colours of a pixel, or the dimensions of an embedding, share one mask in stage 3.
    """

    features: FitSettings
    prior: PriorName
    input: FitSettings
    one_mask: bool = False


@dataclass(frozen=True)
class TokenInputPreset(InputPreset):
    """The same for texts.

    Attributes:
        objective: what is kept of a class, in stages 1 and 3.
        noise: at the embedding.
    """

    objective: Objective = "cross-entropy"
    noise: EmbeddingNoise = "statistics"


_INPUT = FitSettings(beta=20, steps=60, readout="final")
_FAST = replace(_INPUT, steps=20, noise_samples=4, learning_rate=0.75, antithetic=True)
INPUT_QUALITY: dict[str, InputPreset] = {
    "fast": InputPreset(QUALITY["fast"], "feature-map", _FAST, one_mask=True),
    "paper": InputPreset(QUALITY["paper"], "wgan", _INPUT),
    "official": InputPreset(replace(QUALITY["paper"], beta=20, smoothing=0), "official", _INPUT),
}

_FEATURES = FitSettings(beta=15, smoothing=0)
_EMBEDDING = FitSettings(beta=30, steps=30, learning_rate=0.5, smoothing=0, readout="final")
_QUICK = FitSettings(beta=3, noise_samples=2, smoothing=0, initial_logit=0, antithetic=True, readout="final")
_QUICK_INPUT = replace(_QUICK, beta=0.01, learning_rate=0.3)  # measured on training reviews (docs/results/text)
TOKEN_INPUT_QUALITY: dict[str, TokenInputPreset] = {
    "fast": TokenInputPreset(_QUICK, "feature-map", _QUICK_INPUT, objective="log-odds"),
    "paper": TokenInputPreset(_FEATURES, "wgan", _EMBEDDING),
    "official": TokenInputPreset(_FEATURES, "official", _EMBEDDING, noise="standard"),
}
