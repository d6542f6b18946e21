"""Whether a map stays what it is when next to nothing changes: the input by a little noise, or the seed."""

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor

from bitlens.errors import InputError, SettingError, at_least
from bitlens.metrics.rank_correlation import spearman


def max_sensitivity(
    make_maps: Callable[[Tensor], Tensor],
    inputs: Tensor,
    maps: Tensor,
    *,
    radius: float = 0.02,
    samples: int = 10,
    seed: int = 0,
) -> Tensor:
    """Return how far a map moves at most when noise is added to its input, over the map's own size (Yeh et al., NeurIPS 2019).

    max over samples of ‖Φ(x + δ) - Φ(x)‖ / ‖Φ(x)‖, δ uniform. The paper does not divide; Captum and Quantus do, since maps of
    other methods have other scales. What an explanation should do where the prediction itself changes it does not say: compare
    methods on the same network. A constant map scores 0, the best there is: read it beside a metric of what is right.

    Args:
        make_maps: (N, ...) inputs → maps (N, ...), for the same targets as `maps`.
        inputs: (N, ...).
        maps: (N, ...) of the inputs as they are.
        radius: δ lies within plus and minus this share of each input's range.
        samples: how many noises.
        seed: of the noises.

    Returns:
        (N,) from 0 up, lower is better; NaN where the map is zero everywhere.

    Raises:
        SettingError: if a setting makes no sense.
    """
    at_least(1, samples=samples)
    if not radius > 0:
        raise SettingError(f"radius must be above 0, got {radius!r}")
    flat = inputs.flatten(1)
    reach = radius * (flat.amax(1) - flat.amin(1)).reshape(-1, *[1] * (inputs.dim() - 1))
    size, moved = maps.flatten(1).double().norm(dim=1), maps.new_zeros(len(maps), dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(samples):
        noise = (2 * torch.rand(inputs.shape, dtype=torch.float32, generator=generator) - 1).to(inputs)
        again = make_maps(inputs + reach * noise).to(maps)
        moved = torch.maximum(moved, (again - maps).flatten(1).double().norm(dim=1))
    return torch.where(size > 0, moved / size, torch.nan)


def seed_stability(maps: Tensor) -> Tensor:
    """Return how alike the maps of several seeds are: the mean rank correlation of any two.

    1 where nothing is random. Maps that are constant for two seeds say the same, 1; for one of them, nothing, 0.

    Args:
        maps: (seeds, N, ...) of two seeds or more.

    Returns:
        (N,) in [-1, 1], higher is better.

    Raises:
        InputError: if there is one seed alone.
    """
    if len(maps) < 2:
        raise InputError(f"stability over seeds needs maps of two or more, got {len(maps)}")
    flat = maps.flatten(2)
    still = (flat == flat[..., :1]).all(2)
    pairs = [
        torch.where(still[i] & still[j], 1.0, spearman(flat[i], flat[j]).nan_to_num(0.0))
        for i, j in combinations(range(len(maps)), 2)
    ]
    return torch.stack(pairs).mean(0)
