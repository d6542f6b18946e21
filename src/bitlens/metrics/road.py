"""ROAD: degradation where what goes is told by its neighbours, so that the network does not see the shape of what is gone.

Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods (ICML 2022). With a constant colour in the
place of pixels the network also reads where they were: from the mask alone it can tell the class.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.baselines.asking import in_passes
from bitlens.core.passes import Passes, RunOptions
from bitlens.errors import InputError, SettingError
from bitlens.metrics.degradation import Degradation
from bitlens.metrics.imputation import imputed
from bitlens.metrics.perturbation import ImageGroup, in_groups
from bitlens.metrics.ranking import Tiles, by_rank, ranks
from bitlens.probe import Network

RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def road(
    model: nn.Module | Network,
    images: Any,
    targets: Any,
    maps: Tensor,
    *,
    rates: Sequence[float] = RATES,
    noise: float = 0.01,
    progress: Callable[[int], None] | None = None,
    **run: Unpack[RunOptions],
) -> Degradation:
    """Impute the highest pixels of a map, and the lowest, and watch the target.

    The authors report how often the class is still named; here the target's value is watched, as pytorch-grad-cam does, which
    tells more of each image. Their noise is 0.01 of pixels in [0, 1]; here of each image's range after preprocessing.

    Args:
        model: the network, left as it was (a `Network` keeps what it has learnt about inputs like these).
        images: (N, C, H, W), or a tuple or mapping of arguments of which the first tensor is the images.
        targets: None for the predicted class, a class index, (N,) indices, a `Target`, or a callable.
        maps: (N, H, W), higher means more relevant; only the order counts. Equal pixels go in one random order, the same in both
            directions.
        rates: shares of the pixels that go, above 0 and below 1: there must be something to impute from.
        noise: standard deviation of what is added to imputed pixels, as a share of each image's range.
        progress: called with the number of images measured so far.
        **run: `seed` of ties and noise; `precision` and `internal_batch_size`, see `Passes`.

    Returns:
        The curves of every image from 0 to the last rate, on the CPU: 18 passes for each. The last point has not everything
        gone, so `areas` and `score(normalise="none")` are what counts.

    Raises:
        InputError: if the inputs are no images, or maps do not fit them or are not finite.
        TargetError: if the targets do not fit the network's output.
        SettingError: if a setting makes no sense.
    """
    passes, chosen = Passes(**run), sorted(set(rates))
    if not chosen or not 0 < chosen[0] <= chosen[-1] < 1:
        raise SettingError(f"rates must lie above 0 and below 1, got {list(rates)}")
    network = model if isinstance(model, Network) else Network(model)
    size = network.prepared(images, targets).placed("this metric").size
    if len(size) != 2:
        raise InputError(f"road imputes pixels of images, got inputs with {size} places: choose another metric")

    def measure(group: ImageGroup) -> Degradation:
        tiles = Tiles.over(group.places, 1)
        scores, counts = tiles.means(group.maps), [max(1, round(rate * tiles.count)) for rate in chosen]
        lowest, highest = group.images.amin((1, 2, 3), keepdim=True), group.images.amax((1, 2, 3), keepdim=True)
        generator = torch.Generator().manual_seed(passes.seed)
        added = torch.randn(group.images.shape[1:], dtype=torch.float32, generator=generator).to(group.images)
        added = noise * (highest - lowest) * added

        def curve(descending: bool) -> Tensor:
            gone = by_rank(tiles.spread(ranks(scores, descending=descending, seed=passes.seed)), counts)
            return in_passes(lambda steps: group.answer(_without(group.images, gone(steps), added)), len(scores),
                             len(counts), group.rows)  # fmt: skip

        curves = [torch.cat([group.clean[:, None], curve(descending)], 1).cpu() for descending in (True, False)]
        return Degradation(torch.tensor([0.0, *chosen], dtype=torch.float64), *curves)

    return Degradation.join(in_groups(network, images, targets, maps, measure, passes, progress))


def _without(images: Tensor, gone: Tensor, added: Tensor) -> Tensor:
    """Return variants (v * n, H, W, C) of images (n, H, W, C) without some pixels (v, n, H, W): imputed, with noise."""
    whole = images.expand(len(gone), *images.shape).flatten(0, 1)
    filled = imputed(whole.permute(0, 3, 1, 2).contiguous(), gone.flatten(0, 1)).permute(0, 2, 3, 1)
    missing = gone.flatten(0, 1)[..., None]
    return torch.where(missing, filled + added.repeat(len(gone), 1, 1, 1), whole)
