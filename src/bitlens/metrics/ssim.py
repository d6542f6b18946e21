"""How alike two maps look: structural similarity of what remains when their extremes are clipped (algorithms G7)."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bitlens.errors import InputError, SettingError

Array = npt.NDArray[np.float64]


def ssim(
    maps: Tensor,
    others: Tensor,
    *,
    window: int = 5,
    percentiles: tuple[float, float] = (1.0, 99.0),
    either_sign: bool = False,
) -> Tensor:
    """Return structural similarity of each pair of maps (Wang et al., 2004), as Schulz et al. (ICLR 2020) compare maps.

    Each map is clipped to two of its percentiles and scaled to [0, 1] by itself; then uniform windows, sample covariance,
    data range 1, mean over all windows that fit. A map whose two percentiles coincide becomes 0 everywhere. The
    InputIBA code compares maps stored in 8 bits and clips nothing: `percentiles=(0, 100)`, but for the rounding.

    Args:
        maps: (N, H, W), of any scale; or (N, T), (N, D, H, W).
        others: of the same shape.
        window: side of the windows in pixels, odd.
        percentiles: what each map is clipped to, of its own values.
        either_sign: whether a map may also be like the negative of the other, the higher of both then (algorithms F11, for
            LRP with α = 0, β = -1, whose maps change their sign on random weights).

    Returns:
        (N,) float64 in [-1, 1], 1 for equal maps, on the device of `maps`.

    Raises:
        InputError: if the shapes differ, a map is not finite, or is smaller than a window.
        SettingError: if `window` is not odd or `percentiles` are no range.
    """
    _check(maps, others, window, percentiles)
    first, second = (_scaled(values, percentiles) for values in (maps, others))
    likeness = _pairwise(first, second, window)
    if either_sign:
        likeness = np.maximum(likeness, _pairwise(first, _scaled(-others, percentiles), window))
    return torch.from_numpy(likeness).to(maps.device)


def is_flat(maps: Tensor) -> Tensor:
    """Say of each map (N, H, W) whether it is the same everywhere, (N,): then there is nothing that another could be like."""
    return maps.flatten(1).amax(1) == maps.flatten(1).amin(1)


def _check(maps: Tensor, others: Tensor, window: int, percentiles: tuple[float, float]) -> None:
    if maps.shape != others.shape or not 2 <= maps.dim() <= 4:
        raise InputError(
            f"two maps need one shape, (N, H, W) of images, got {tuple(maps.shape)} and {tuple(others.shape)}"
        )
    if not bool(torch.isfinite(maps).all()) or not bool(torch.isfinite(others).all()):
        raise InputError("maps hold NaN or infinite values: they cannot be compared")
    if window < 3 or window % 2 == 0:
        raise SettingError(f"window must be odd and at least 3, got {window}")
    if min(maps.shape[1:]) < window:
        raise InputError(f"maps of {tuple(maps.shape[1:])} places are smaller than the window of {window}")
    if not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise SettingError(f"percentiles must be two increasing numbers in [0, 100], got {percentiles}")


def _scaled(maps: Tensor, percentiles: tuple[float, float]) -> Array:
    values = maps.detach().double().cpu().numpy()
    low, high = np.percentile(values, percentiles, axis=tuple(range(1, values.ndim)), keepdims=True)
    scaled: Array = np.divide(values - low, high - low, out=np.zeros_like(values), where=high > low)
    return scaled.clip(0.0, 1.0)


def _pairwise(first: Array, second: Array, window: int) -> Array:
    from skimage import metrics

    compare: Any = metrics.structural_similarity  # untyped
    pairs = zip(first, second, strict=True)
    return np.array([compare(a, b, win_size=window, data_range=1.0) for a, b in pairs], np.float64)
