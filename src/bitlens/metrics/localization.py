"""Whether a map points at the object.

All take maps (N, H, W), of series (N, T), of volumes (N, D, H, W) or of tables, and masks of the same shape: boxes drawn and
transformed like the photo, or the exact pixels of the object. Inside is where the mask exceeds 0.5. Each gives one number per
image, higher is better, and NaN where nothing is inside. A constant map says nothing of places and scores what chance scores,
wherever its ties happen to lie.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.errors import InputError, SettingError, one_of_literal

HeatScale = Literal["maximum", "none"]

_QUANTILES = 11


def bounding_box_ratio(maps: Tensor, masks: Tensor, *, seed: int = 0) -> Tensor:
    """Return the share of the n highest pixels of a map that lie inside, where n pixels do (Schulz et al., section 4.3).

    Ties are broken at random, the same way for all images. Chance is the share of the picture that is inside.

    Args:
        maps: (N, H, W), of any scale; only their order matters.
        masks: (N, H, W), boolean or in [0, 1].
        seed: of the random order of ties.

    Returns:
        (N,) in [0, 1], higher is better; NaN where nothing is inside.

    Raises:
        InputError: if the shapes differ or a map is not finite.
    """
    values, inside = _pixels(maps, masks)
    count = inside.sum(1)
    shuffle = torch.randperm(inside.shape[1], generator=torch.Generator().manual_seed(seed)).to(maps.device)
    order = values[:, shuffle].argsort(dim=1, descending=True, stable=True)
    hits = inside[:, shuffle].gather(1, order).cumsum(1)
    last = (count - 1).clamp_min(0)[:, None]
    return _nan_unless(count > 0, hits.gather(1, last)[:, 0].double() / count.clamp_min(1))


def effective_heat_ratio(
    maps: Tensor,
    masks: Tensor,
    *,
    scale: HeatScale = "maximum",
    base_threshold: float = 0.1,
    cap: float = 0.99,
    weighted: bool = True,
) -> Tensor:
    """Return how much of the hottest parts of a map lies inside, over all thresholds (Zhang et al., NeurIPS 2021; algorithms G3).

    The thresholds are the quantiles 0, 0.1, …, 1 of the pixels that reach `base_threshold`. For each, the heat inside of
    the pixels that reach it is divided by their number; the result is the integral over the quantiles. Negative
    values count as 0. The defaults are those of the published code; its paper knows neither base threshold nor cap
    (`base_threshold=0, cap=1`).

    Args:
        maps: (N, H, W). The metric depends on their scale, not only on their order.
        masks: (N, H, W), boolean or in [0, 1].
        scale: "maximum" divides each map by its maximum; "none" takes maps in [0, 1] as they are.
        base_threshold: pixels below count as cold.
        cap: thresholds are held below this share of the maximum, so that the last one leaves more than one pixel.
        weighted: whether pixels inside count with their heat, or else with 1.

    Returns:
        (N,) in [0, 1], higher is better; 0 where no pixel is hot; NaN where nothing is inside. A constant map scores
        the share of the picture that is inside.

    Raises:
        InputError: if the shapes differ, or a map is not finite or, with scale "none", exceeds 1.
        SettingError: if `base_threshold` or `cap` is not in [0, 1].
    """
    values, inside = _pixels(maps, masks)
    for name, setting in (("base_threshold", base_threshold), ("cap", cap)):
        if not 0 <= setting <= 1:
            raise SettingError(f"{name} must be in [0, 1], got {setting}")
    heat, order = _scaled(values, scale).sort(dim=1)
    size = heat.shape[1]
    first = (heat < base_threshold).sum(1, keepdim=True)
    quantiles = torch.linspace(0, 1, _QUANTILES, dtype=heat.dtype, device=heat.device)
    place = first + quantiles * (size - first - 1).clamp_min(0)
    below = place.floor().long().clamp_max(size - 1)
    above = (below + 1).clamp_max(size - 1)
    thresholds = torch.lerp(heat.gather(1, below), heat.gather(1, above), place - below)
    thresholds = torch.minimum(thresholds, cap * heat[:, -1:])
    start = torch.searchsorted(heat, thresholds).maximum(first).clamp_max(size - 1)
    counted = inside.gather(1, order) * (heat if weighted else torch.ones_like(heat))
    ratios = counted.flip(1).cumsum(1).flip(1).gather(1, start) / (size - start)
    area = torch.trapezoid(ratios, quantiles, dim=1)
    return _nan_unless(inside.any(1), torch.where(first[:, 0] < size, area, 0.0))


def mass_inside(maps: Tensor, masks: Tensor) -> Tensor:
    """Return the share of a map's positive values that lies inside.

    Unlike the other metrics it is carried by few extreme values where a map has them (Schulz et al., section 4.3, rejected
    it for boxes for that reason); meant for exact masks. Negative values count as 0.

    Args:
        maps: (N, H, W), of any scale.
        masks: (N, H, W), boolean or in [0, 1].

    Returns:
        (N,) in [0, 1], higher is better; NaN where nothing is inside. Constant maps, and those without positive values,
        score the share of the picture that is inside.

    Raises:
        InputError: if the shapes differ or a map is not finite.
    """
    values, inside = _pixels(maps, masks)
    heat = _scaled(values, "maximum")
    heat = torch.where(heat.amax(1, keepdim=True) > 0, heat, 1.0)
    return _nan_unless(inside.any(1), (heat * inside).sum(1) / heat.sum(1))


def pointing_game(maps: Tensor, masks: Tensor, *, tolerance: int = 0) -> Tensor:
    """Return whether a map's highest pixel lies inside (Zhang et al., Top-down neural attention, IJCV 2018).

    Where several pixels share the maximum, the share of them that lies inside: what a random choice scores on average.

    Args:
        maps: (N, H, W), of any scale.
        masks: (N, H, W), boolean or in [0, 1].
        tolerance: pixels no further from the inside than this count as inside (0 for exact masks; the source takes 15).

    Returns:
        (N,) in [0, 1], higher is better; 0 or 1 but for ties; NaN where nothing is inside. Chance is the share of the
        picture that is inside.

    Raises:
        InputError: if the shapes differ or a map is not finite.
        SettingError: if the tolerance is negative.
    """
    values, inside = _pixels(maps, masks)
    if tolerance < 0:
        raise SettingError(f"tolerance must not be negative, got {tolerance}")
    reached = _grown(inside.reshape(masks.shape), tolerance).flatten(1) if tolerance else inside
    highest = values == values.amax(1, keepdim=True)
    return _nan_unless(inside.any(1), (highest & reached).sum(1).double() / highest.sum(1))


def rank_auc(maps: Tensor, masks: Tensor) -> Tensor:
    """Return how often a pixel inside is higher than one outside; a tie counts half. The area under the ROC curve.

    Args:
        maps: (N, H, W), of any scale; only their order matters.
        masks: (N, H, W), boolean or in [0, 1].

    Returns:
        (N,) in [0, 1], higher is better; chance is 0.5; NaN where nothing or everything is inside.

    Raises:
        InputError: if the shapes differ or a map is not finite.
    """
    values, inside = _pixels(maps, masks)
    ordered = values.sort(dim=1).values
    lower, not_higher = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    rank = (lower + not_higher + 1).double() / 2  # counted from 1, the mean one among ties
    count, others = inside.sum(1), (~inside).sum(1)
    wins = (rank * inside).sum(1) - count * (count + 1) / 2
    return _nan_unless((count > 0) & (others > 0), wins / (count * others).clamp_min(1))


def _pixels(maps: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return values (N, P), float64, and whether they lie inside (N, P)."""
    if maps.shape != masks.shape or not 2 <= maps.dim() <= 4:
        raise InputError(
            f"maps and masks must have one shape, (N, H, W) of images, got {tuple(maps.shape)} and {tuple(masks.shape)}"
        )
    wrong = ~torch.isfinite(maps).flatten(1).all(1)
    if bool(wrong.any()):
        bad = ", ".join(map(str, wrong.nonzero().flatten().tolist()[:5]))
        raise InputError(f"maps must be finite, but image {bad} holds NaN or infinite values: check how it was made")
    return maps.detach().double().flatten(1), (masks.to(maps.device) > 0.5).flatten(1)


def _scaled(values: Tensor, scale: HeatScale) -> Tensor:
    """Return heat in [0, 1]."""
    one_of_literal("scale", scale, HeatScale)
    heat = values.clamp_min(0)
    highest = heat.amax(1, keepdim=True)
    if scale == "maximum":
        return torch.where(highest > 0, heat / highest, 0.0)
    if bool((highest > 1).any()):
        raise InputError(f"maps must be in [0, 1] with scale='none', got up to {float(highest.max()):.4g}")
    return heat


def _grown(inside: Tensor, distance: int) -> Tensor:
    """Return everything (N, H, W) no further than `distance` from the inside."""
    across = torch.arange(-distance, distance + 1, device=inside.device).square()
    far = across
    for _ in range(inside.dim() - 2):
        far = far[..., None] + across
    ball = (far <= distance**2).float()
    convolve = {2: F.conv1d, 3: F.conv2d, 4: F.conv3d}[inside.dim()]
    near = convolve(inside[:, None].float(), ball[None, None], padding=distance)
    return near[:, 0] > 0.5


def _nan_unless(known: Tensor, scores: Tensor) -> Tensor:
    return torch.where(known, scores, torch.full_like(scores, torch.nan))
