"""What InputIBA can be told by name: priors, presets, and read-outs."""

from dataclasses import dataclass, replace
from typing import Literal

from bitlens.bottlenecks.input.critics import official_wgan, wgan, wgan_gp
from bitlens.bottlenecks.input.prior import Prior, feature_map, feature_matching
from bitlens.core.fitting import QUALITY, FitSettings

__all__ = [
    "EVIDENCE_STREAM",
    "INPUT_QUALITY",
    "INPUT_STREAM",
    "PRIORS",
    "PRIOR_STREAM",
    "UNITS",
    "InputPreset",
    "InputQuality",
    "InputReadout",
    "PriorName",
]

PRIOR_STREAM, INPUT_STREAM, EVIDENCE_STREAM = 0x5851F42D, 0x14057B7E, 0x2C1B3C6D  # the stages' noise differs

PriorName = Literal["feature-map", "none", "feature-matching", "wgan-gp", "wgan", "official"]
InputQuality = Literal["fast", "paper", "official"]
InputReadout = Literal["mask", "information", "beyond-prior"]

PRIORS: dict[str, Prior | None] = {
    "feature-map": feature_map,
    "none": None,
    "feature-matching": feature_matching,
    "wgan-gp": wgan_gp,
    "wgan": wgan,
    "official": official_wgan,
}


@dataclass(frozen=True)
class InputPreset:
    """How much work each stage is worth.

    Attributes:
        features: of stage 1, at the layer.
        prior: of stage 2.
        input: of stage 3, at the input.
        one_mask: whether the colours of a pixel share one mask in stage 3.
    """

    features: FitSettings
    prior: PriorName
    input: FitSettings
    one_mask: bool = False


_INPUT = FitSettings(beta=20, steps=60, readout="final")
_FAST = replace(_INPUT, steps=20, noise_samples=4, learning_rate=0.75, antithetic=True)
INPUT_QUALITY: dict[str, InputPreset] = {
    "fast": InputPreset(QUALITY["fast"], "feature-map", _FAST, one_mask=True),
    "paper": InputPreset(QUALITY["paper"], "wgan", _INPUT),
    "official": InputPreset(replace(QUALITY["paper"], beta=20, smoothing=0), "official", _INPUT),
}
UNITS = {"mask": "mask", "information": "bits/pixel", "beyond-prior": "bits/pixel"}
