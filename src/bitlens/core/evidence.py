"""What is measured of a map beside the map: what the decision is under noise, and how many bits each share of it takes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bitlens.core.floor import share_error, share_kept, span
from bitlens.core.told import BYPASSED
from bitlens.errors import SettingError

_ROUNDING = 1e-4


@dataclass(frozen=True, eq=False)
class Evidence:
    """Answers of the network about the target, clean and with the noise in place of what the map calls unused.

    Attributes:
        before: (N,) on the clean input.
        under_noise: (N,) mean over fresh noise samples, none of which the mask was fitted on.
        under_noise_std: (N,) standard deviation over them.
        floor: (N,) mean with nothing but noise where features are restricted: what the network says without seeing anything.
        floor_std: (N,) standard deviation over noise samples.
        floor_error: (N,) standard error of the floor; samples differ in how much noise their floor was measured under.
        measure: "probability" or "score", what the numbers are.
        noise_samples: how many samples of noise at least; where so many left open how much is kept, there were more.
        under_noise_error: (N,) standard error of the mean under noise: the mean plus and minus twice it is an interval of 95 %,
            also where noises were few. None of a single noise, and in files that do not tell it.
        bypass_allowed: whether the layer was restricted although the input might also reach the output by another way.
        two_sided: whether the target is a value that is to stay as it is, so that more of it is as far off as less.
    """

    before: Tensor
    under_noise: Tensor
    under_noise_std: Tensor
    measure: str = "probability"
    noise_samples: int = 32
    floor: Tensor | None = None
    floor_std: Tensor | None = None
    floor_error: Tensor | None = None
    under_noise_error: Tensor | None = None
    bypass_allowed: bool = False
    two_sided: bool = False

    @property
    def kept(self) -> Tensor:
        """(N,) how much of the target the map holds: (under_noise - floor) / (before - floor).

        NaN where `before` is not above the floor by more than chance makes of it: there the network says as much without
        seeing anything, so nothing was needed; and where the floor was not measured. Of a value that is to stay as it is:
        1 - (root mean square distance from `before` under noise) / (the same with nothing but noise).
        """
        if self.floor is None or self.floor_error is None:
            return torch.full_like(self.before, torch.nan)
        return share_kept(self.before, self.under_noise, self.floor, self.floor_error, self._spreads)

    @property
    def kept_error(self) -> Tensor:
        """(N,) standard error of what is kept: of the mean under noise and of the floor; NaN where either is not known."""
        if self.floor is None or self.floor_error is None or self.under_noise_error is None:
            return torch.full_like(self.before, torch.nan)
        wide = span(self.before, self.floor, self._spreads and self._spreads[1])
        return share_error(wide, self.kept, self.under_noise_error, self.floor_error)

    @property
    def _spreads(self) -> tuple[Tensor, Tensor] | None:
        return (self.under_noise_std, self.floor_std) if self.two_sided and self.floor_std is not None else None

    @property
    def caveat(self) -> str:
        """Return what must be known of the bits beside these numbers, empty where nothing must."""
        return BYPASSED if self.bypass_allowed else ""


@dataclass(frozen=True, eq=False)
class Curve:
    """Bits that each share of the target takes: the rate and the distortion of one decision.

    Attributes:
        kept: (N, L) shares of the target, rising.
        bits: (N, L) that pass in all where so much is kept, under noise no mask was fitted on.
        maps: (N, L, ...) the map at each.
    """

    kept: Tensor
    bits: Tensor
    maps: Tensor

    def bits_at(self, kept: float) -> Tensor:
        """Return how many bits (N,) hold this share of the target, between two points by the logarithm of bits.

        NaN where the curve does not reach so much, or begins above it. Where several points hold the same, the fewest bits do.

        Raises:
            SettingError: if it is no share.
        """
        if not 0 < kept < 1:
            raise SettingError(f"kept must be a share above 0 and below 1, got {kept!r}")
        wanted = self.kept.new_full((len(self.kept), 1), kept)
        shares, logs = self.kept.contiguous(), self.bits.clamp_min(1e-6).log()
        above = torch.searchsorted(shares, wanted).clamp(max=shares.shape[1] - 1)  # the first that holds so much
        below = (above - 1).clamp_min(0)
        high, low = shares.gather(1, above), shares.gather(1, below)
        part = ((wanted - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)
        found = (logs.gather(1, below) + (logs.gather(1, above) - logs.gather(1, below)) * part).exp()
        exact = torch.where(high == wanted, self.bits.gather(1, above), found)
        reached = (shares[:, :1] <= wanted + _ROUNDING) & (shares[:, -1:] >= wanted - _ROUNDING)
        return torch.where(reached, exact, torch.nan)[:, 0]


TOP = 0.1
"""Share of the places that are a map's top."""


@dataclass(frozen=True, eq=False)
class Spread:
    """Differences between the maps that other seeds give: the noise of the fit, not of the network.

    Attributes:
        std: (N, ...) standard deviation of each place over seeds, in the unit of the map.
        agreed: (N,) share of the top places that are top with every seed, in [0, 1].
        seeds: how many, the map's own among them.
        top: which share of the places counts as top.
    """

    std: Tensor
    agreed: Tensor
    seeds: int = 0
    top: float = TOP

    @classmethod
    def of(cls, maps: Tensor, places: Tensor, top: float = TOP) -> "Spread":
        """Measure it.

        Args:
            maps: (seeds, N, ...) of at least two seeds.
            places: (N,) how many places each map has, padding left out.
            top: which share of them counts as top.
        """
        flat = maps.flatten(2)
        count = (top * places).round().long().clamp(1, flat.shape[2])
        ranked = flat.sort(dim=2, descending=True).values
        least = ranked.gather(2, (count - 1).expand(len(maps), -1)[..., None])
        inside = (flat >= least) & (flat > 0)  # nothing is the top of a map of nothing
        sizes = inside.sum(2).amax(0)
        shared = inside.all(0).sum(1)
        agreed = torch.where(sizes > 0, shared / sizes.clamp_min(1), 1.0)
        return cls(maps.std(0), agreed, len(maps), top)
