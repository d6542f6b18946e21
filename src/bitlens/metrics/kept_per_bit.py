"""How much of the decision a map's first bits carry, whichever method made the map.

Places of a layer open in the order of a map, the rest is noise as large and spread as the features: nothing is drawn over the
input, and what passes is counted in bits. A map is good if few bits keep the decision.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.bottlenecks.at_layer import LayerBottleneck
from bitlens.bottlenecks.groups import Group, Wanted
from bitlens.bottlenecks.recorded import Recorded
from bitlens.core.family import MaskFamily
from bitlens.core.floor import share_kept
from bitlens.core.holding import Holding
from bitlens.errors import InputError, SettingError, at_least
from bitlens.metrics.estimate import Estimate
from bitlens.metrics.ranking import by_rank, ranks

_STREAM = 0x2C1B3C6D  # no mask was fitted under this noise
_LEAST = 1e-3  # of all bits: curves begin there


@dataclass(frozen=True, eq=False)
class KeptPerBit:
    """The share of the decision that is kept as ever more bits pass.

    Attributes:
        bits: (N, points) that pass, rising; the last is with every place open.
        kept: (N, points) share of the target's value above the floor; NaN where nothing of the input is needed.
    """

    bits: Tensor
    kept: Tensor

    def areas(self) -> Tensor:
        """Return (N,) area under the kept share, held to [0, 1], against log bits, from a thousandth of all bits to all.

        In [0, 1], higher is better; NaN where nothing of the input is needed.
        """
        logs = (self.bits / self.bits[:, -1:]).clamp_min(_LEAST).log()
        return torch.trapezoid(self.kept.clamp(0, 1), logs) / -math.log(_LEAST)

    def score(self) -> Estimate:
        """Return the mean of `areas` over samples."""
        return Estimate.of(self.areas())


def kept_per_bit(
    bottleneck: LayerBottleneck,
    inputs: Any,
    targets: Any,
    maps: Tensor,
    *,
    points: int = 16,
    passed: float = 0.9,
    noise_samples: int = 8,
    progress: Callable[[int], None] | None = None,
) -> KeptPerBit:
    """Open a layer's places in the order of a map, and measure bits and what the network still says.

    Args:
        bottleneck: says at which layer, against which statistics, and how noise is made; it fits no mask.
        inputs: of N samples.
        targets: None for the predicted class, a class index, (N,) indices, a `Target`, or a callable.
        maps: (N, ...) over the input's places; their mean over each of the layer's places is what is ranked. Ties are
            broken at random, alike for all samples.
        points: how many numbers of places, from none to all, evenly spread on a logarithmic scale.
        passed: λ of an open place, below 1: its bits are finite.
        noise_samples: under how many noises each is measured, the same for all.
        progress: called with the number of samples measured so far.

    Returns:
        Curves, on the CPU: points · noise_samples passes behind the layer for each sample.

    Raises:
        InputError: if maps do not fit the inputs, are not finite, or the layer has no places.
        SettingError: if a setting makes no sense.
    """
    at_least(3, points=points)
    at_least(2, noise_samples=noise_samples)
    if not 0 < passed < 1:
        raise SettingError(f"passed must be above 0 and below 1, got {passed!r}")
    samples = bottleneck.read(inputs, targets).arranged(bottleneck.probe.device)
    if len(maps) != len(samples) or not bool(torch.isfinite(maps).all()):
        raise InputError(f"maps must be finite, one for each of the {len(samples)} samples; got {tuple(maps.shape)}")

    def work(group: Group) -> KeptPerBit:
        own = maps[group.done - group.inputs.count : group.done]
        with bottleneck.recorded(group) as recorded, torch.no_grad():
            return _measured(recorded, own, points, passed, noise_samples)

    wanted = Wanted(evidence_samples=noise_samples)  # what lies behind the layer will run again
    parts = list(bottleneck.each_group(samples, targets, wanted, work, progress))
    return KeptPerBit(torch.cat([part.bits for part in parts]), torch.cat([part.kept for part in parts]))


def _measured(recorded: Recorded, maps: Tensor, points: int, passed: float, noise_samples: int) -> KeptPerBit:
    features, layout = recorded.features, recorded.layout
    grid = layout.grid(tuple(features.shape[1:]))
    if len(grid) != maps.dim() - 1 or layout.patches is not None:
        raise InputError(
            f"layer {recorded.layer!r} has places {grid}, but maps are {tuple(maps.shape[1:])}: choose a layer with a grid"
        )
    masks = MaskFamily.of(features, recorded.noise, layout, recorded.region, 0.0)
    held = Holding(recorded.run, recorded.target, masks, recorded.group.rows, recorded.deeper)
    cells = _pooled(maps.to(features.device), grid)
    rank = ranks(cells.flatten(1), descending=True, seed=recorded.seed).reshape(len(maps), *grid)
    for axis in sorted({*range(features.dim() - 1)} - {*layout.places}):
        rank = rank.unsqueeze(axis + 1)
    counts = sorted(
        {0, *(round(count) for count in torch.logspace(0, math.log10(math.prod(grid)), points - 1).tolist())}
    )
    opened, seed = by_rank(rank, counts), recorded.seed + _STREAM
    before = recorded.target.value(recorded.output).float()
    bits, values = [], []
    for step in range(len(counts)):
        u = torch.where(opened(slice(step, step + 1))[0], 1 - passed, 1.0).expand_as(features)
        bits.append(masks.information(u).flatten(1).sum(1) / math.log(2))
        values.append(held.values(u, noise_samples, seed))
    floor, error = values[0].mean(0), values[0].std(0) / noise_samples**0.5
    rounded = held.rounding(recorded.dtype, before, floor)
    values, floor, error = [value + rounded for value in values], floor + rounded, error.maximum(rounded.abs())
    floor_std = values[0].std(0)
    two_sided = recorded.target.two_sided
    kept = [
        share_kept(before, value.mean(0), floor, error, (value.std(0), floor_std) if two_sided else None)
        for value in values
    ]
    return KeptPerBit(torch.stack(bits, 1).cpu(), torch.stack(kept, 1).cpu())


def _pooled(maps: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Return the mean of maps (n, ...) over each cell of a grid, (n, *grid)."""
    return F.interpolate(maps[:, None].double(), list(grid), mode="area")[:, 0]
