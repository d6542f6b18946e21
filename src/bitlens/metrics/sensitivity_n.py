"""Sensitivity-n: whether the summed relevance of random parts of an input tells how much the score drops without them.

Ancona et al., ICLR 2018, with the settings of Schulz et al., ICLR 2020, and Zhang et al., NeurIPS 2021 (algorithms G4).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.core.passes import Passes, RunOptions
from bitlens.errors import InputError, SettingError, at_least, one_of
from bitlens.metrics.estimate import Estimate
from bitlens.metrics.perturbation import ImageGroup, Replacement, in_groups, replaced
from bitlens.metrics.ranking import Tiles
from bitlens.probe import Network

Sizes = Literal["iba", "input-iba"]
Draw = Literal["without", "with"]

_SAME_SUMS = 1e-9  # float64 sums that differ by less, relative to the largest, differ by rounding
_SAME_SCORES = 1e-6  # float32 scores


@dataclass(frozen=True, eq=False)
class SensitivityN:
    """Worth of every set of units, by the map and by the network.

    Attributes:
        sizes: (points,) how many units a set has, or which share of the units.
        attributed: (N, points, sets) relevance summed over each set.
        dropped: (N, points, sets) score of the whole sample minus its score without the set.
        scores: (N,) score of the whole sample.
    """

    sizes: Tensor
    attributed: Tensor
    dropped: Tensor
    scores: Tensor

    def __post_init__(self) -> None:
        wanted = (len(self.scores), len(self.sizes))
        if self.attributed.shape != self.dropped.shape or tuple(self.attributed.shape[:2]) != wanted:
            shapes = [tuple(t.shape) for t in (self.attributed, self.dropped)]
            raise InputError(
                f"attributed and dropped must be (N, points, sets) with N, points = {wanted}; got {shapes}"
            )

    @classmethod
    def join(cls, parts: Sequence["SensitivityN"]) -> "SensitivityN":
        """Return the samples of several parts, measured with sets of the same sizes.

        Raises:
            InputError: if there is no part, or the sizes differ.
        """
        if not parts or any(not torch.equal(part.sizes, parts[0].sizes) for part in parts):
            raise InputError(f"only parts with sets of the same sizes can be joined; got {len(parts)} parts")
        joined = [torch.cat([getattr(part, name) for part in parts]) for name in ("attributed", "dropped", "scores")]
        return cls(parts[0].sizes, *joined)

    def correlations(self) -> Tensor:
        """Return (N, points) Pearson correlation over the sets of each sample: in [-1, 1], higher is better, random maps 0.

        NaN where it is not defined, because all sums or all drops are equal up to rounding (a constant map, units that the
        network does not see). Means leave NaN out.
        """
        return _pearson(self.attributed, self.dropped, self.scores[:, None])

    def pooled(self) -> Tensor:
        """Return (points,) one correlation over all samples and sets together, as the code of Schulz et al. prints it."""
        attributed, dropped = (t.transpose(0, 1).flatten(1) for t in (self.attributed, self.dropped))
        return _pearson(attributed, dropped, self.scores.abs().max())

    def curve(self) -> list[Estimate]:
        """Return the mean correlation over samples at each size."""
        return [Estimate.of(column) for column in self.correlations().T]

    def means(self) -> Tensor:
        """Return (N,) each sample's mean correlation over the sizes, which are spread evenly on a logarithmic scale."""
        return self.correlations().nanmean(1)

    def score(self) -> Estimate:
        """Return the mean of `means`: in [-1, 1], higher is better."""
        return Estimate.of(self.means())


def _pearson(attributed: Tensor, dropped: Tensor, scores: Tensor) -> Tensor:
    """Correlate along the last axis; NaN where either does not vary beyond rounding."""
    a, d = attributed.double(), dropped.double()
    a_spread, d_spread = a.std(-1, correction=0), d.std(-1, correction=0)
    varies = (a_spread > _SAME_SUMS * a.abs().amax(-1)) & (d_spread > _SAME_SCORES * scores.abs())
    together = ((a - a.mean(-1, keepdim=True)) * (d - d.mean(-1, keepdim=True))).mean(-1)
    return torch.where(varies, together / (a_spread * d_spread), torch.nan)


def set_sizes(units: int, sizes: Sizes | Sequence[int] = "iba") -> list[int]:
    """Say how many units a set has at each point, ascending, without repetitions.

    Args:
        units: how many there are.
        sizes: "iba": 16 numbers from 1 to 80 % of the units, evenly spread on a logarithmic scale (Schulz et al.);
            "input-iba": 45 powers of 10 from 10⁰ to 10⁴·⁵, cut to whole numbers, for the pixels of a photo of 224 x 224
            (Zhang et al.); or the numbers themselves.
    """
    if isinstance(sizes, str):
        spread = {"iba": np.geomspace(1, 0.8 * units, 16).round(), "input-iba": 10 ** np.linspace(0, 4.5, 45)}
        sizes = [int(n) for n in one_of("sizes", sizes, spread)]
    chosen = sorted(set(sizes))
    if not chosen or chosen[0] < 1 or chosen[-1] > units:
        raise SettingError(f"sizes must be from 1 to {units}, the number of units; got {chosen[:1]} to {chosen[-1:]}")
    return chosen


def random_sets(units: int, size: int, sets: int, seed: int, draw: Draw = "without") -> Tensor:
    """Return random sets of units, the same for the same arguments: (sets, units), boolean.

    Args:
        units: how many there are.
        size: of a set.
        sets: how many.
        seed: of the random numbers.
        draw: "without" replacement, or "with" it as in the code of Schulz et al. for pixels, where sets may be smaller.
    """
    random = np.random.default_rng([seed, units, size])
    again = one_of("draw", draw, {"without": False, "with": True})
    members = np.zeros((sets, units), dtype=bool)
    for member in members:
        member[random.choice(units, size, replace=again, shuffle=False)] = True
    return torch.from_numpy(members)


def sensitivity_n(
    model: nn.Module | Network,
    images: Any,
    targets: Any,
    maps: Tensor,
    tile: int | Sequence[int] = 8,
    *,
    sizes: Sizes | Sequence[int] = "iba",
    sets: int = 100,
    draw: Draw = "without",
    replacement: Replacement = "zero",
    progress: Callable[[int], None] | None = None,
    **run: Unpack[RunOptions],
) -> SensitivityN:
    """Remove random sets of tiles or pixels, and correlate the drop of the score with the map's sum over the set.

    Args:
        model: the network, left as it was (a `Network` keeps what it has learnt about inputs like these).
        images: (N, C, H, W), or a tuple or mapping of arguments of which the first tensor is the images; or series, volumes
            and tables, whose tiles are windows, blocks and single features.
        targets: None for the predicted class, a class index, (N,) indices, a `Target`, or a callable. The score of a class
            is its logit.
        maps: (N, H, W), signed: what lowers the score should be negative.
        tile: side in pixels: 8 in Schulz et al.; 1 for single pixels; or one for each axis of places.
        sizes: of the sets, in tiles (see `set_sizes`); papers plot pixels, tile² times as many.
        sets: per size, the same for all images: 100 (Schulz et al.) or 200 (Zhang et al.; 100 in their code).
        draw: see `random_sets`.
        replacement: "zero", the mean colour of the data set (both papers), "mean" colour of each image, "blur", or images.
        progress: called with the number of images measured so far.
        **run: `seed` of the sets; `precision` ("float32" if not given) and `internal_batch_size`, see `Passes`. bfloat16 rounds
            logits: that costs about 1 % of the correlation for single tiles of 8 pixels, less for more of them, and drowns what
            single pixels change.

    Returns:
        Sums and drops of every set, on the CPU: sizes · sets passes for each image.

    Raises:
        InputError: if the inputs are no images, or maps do not fit them or are not finite.
        TargetError: if the targets do not fit the network's output.
        SettingError: if a setting makes no sense.
    """
    at_least(2, sets=sets)
    run.setdefault("precision", "float32")
    passes = Passes(**run)

    def measure(group: ImageGroup) -> SensitivityN:
        tiles = Tiles.over(group.places, tile)
        chosen = set_sizes(tiles.count, sizes)
        relevance, fill = tiles.sums(group.maps), replaced(group, replacement)
        attributed, left = [], []
        for size in chosen:
            members = random_sets(tiles.count, size, sets, passes.seed, draw).to(group.images.device)
            removed = tiles.spread(members)[:, None, ..., None]
            left.append(group.answers(group.images, fill, removed.__getitem__, sets))
            attributed.append(relevance @ members.T.double())
        dropped = group.clean[:, None, None] - torch.stack(left, 1)
        return SensitivityN(torch.tensor(chosen), torch.stack(attributed, 1).cpu(), dropped.cpu(), group.clean.cpu())

    return SensitivityN.join(in_groups(model, images, targets, maps, measure, passes, progress, quantity="score"))
