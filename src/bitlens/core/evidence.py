"""What is measured of a map beside the map: what the decision is under noise, and how many bits each share of it takes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bitlens.core.floor import share_kept


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the network says of the target, clean and with the noise in place of what the map calls unused.

    Attributes:
        before: (N,) on the clean input.
        under_noise: (N,) mean over fresh noise samples, none of which the mask was fitted on.
        under_noise_std: (N,) standard deviation over them.
        floor: (N,) mean with nothing but noise where features are restricted: what the network says without seeing anything.
        floor_std: (N,) standard deviation over noise samples.
        measure: "probability" or "score", what the numbers are.
        noise_samples: how many samples of noise.
    """

    before: Tensor
    under_noise: Tensor
    under_noise_std: Tensor
    measure: str = "probability"
    noise_samples: int = 32
    floor: Tensor | None = None
    floor_std: Tensor | None = None
    floor_samples: int = 0

    @property
    def kept(self) -> Tensor:
        """(N,) how much of the target the map holds: (under_noise - floor) / (before - floor).

        NaN where `before` is not above the floor by more than chance makes of it: there the network says the same without
        seeing anything, so nothing was needed; and where the floor was not measured.
        """
        if self.floor is None or self.floor_std is None:
            return torch.full_like(self.before, torch.nan)
        error = self.floor_std / max(self.floor_samples, 1) ** 0.5
        return share_kept(self.before, self.under_noise, self.floor, error)


@dataclass(frozen=True, eq=False)
class Curve:
    """How many bits each share of the target takes: the rate and the distortion of one decision.

    Attributes:
        kept: (N, L) shares of the target, rising.
        bits: (N, L) that pass in all where so much is kept, under noise no mask was fitted on.
        maps: (N, L, ...) the map at each.
    """

    kept: Tensor
    bits: Tensor
    maps: Tensor
