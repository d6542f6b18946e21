"""Whether a map depends on what the network learnt: it should change when layers are randomised, the last ones first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.core.targets import finds_places, settled
from bitlens.metrics.randomisation import cascade
from bitlens.metrics.ssim import is_flat, ssim
from bitlens.probe import Network

MakeMaps = Callable[[nn.Module, Any, Any], Tensor]


@dataclass(frozen=True, eq=False)
class SanityCheck:
    """Likeness of the maps of randomised networks to those of the trained one.

    Attributes:
        layers: (steps,) down to which layer each network is random, from the last layer on.
        ssim: (N, steps) structural similarity in [-1, 1]; lower is better: the map does not come from the input alone.
            Before the first step it is 1. NaN where a map is the same everywhere: it has nothing that another could be like.
    """

    layers: tuple[str, ...]
    ssim: Tensor


def sanity_check(
    model: nn.Module,
    make_maps: MakeMaps,
    inputs: Any,
    targets: Any = None,
    *,
    layers: Sequence[str] | None = None,
    initialiser: str = "default",
    seed: int = 0,
    calibration: Sequence[Any] | None = None,
    window: int = 5,
    percentiles: tuple[float, float] = (1.0, 99.0),
    either_sign: bool = False,
    progress: Callable[[int], None] | None = None,
) -> SanityCheck:
    """Randomise weights in a cascade (Adebayo et al., NeurIPS 2018; Schulz et al., ICLR 2020, section 4.1; algorithms G7).

    Papers and released code differ: Schulz et al. compare with the defaults here; Zhang et al. (NeurIPS 2021) randomise
    VGG-16's classifier.6, classifier.0, features.28, 24, 21, 17, 12, 7 with `initialiser="inputiba"` and compare with
    `percentiles=(0, 100)`, and keep the trained network for everything but their last stage: here everything is redone.

    Args:
        model: the network; it is not touched.
        make_maps: (network, inputs, targets) → maps (N, H, W). It must make anew, from the network it is given, everything
            that depends on weights: for a bottleneck that includes the statistics of its layer.
        inputs: of N samples.
        targets: what is asked about every network, trained or random; None for the classes that the trained one predicts. A
            class of a network that answers at places is asked about where the trained one predicts it.
        layers: where the steps end, see `cascade_steps`; by default each block of the network.
        initialiser: of random layers, one of `randomisation.INITIALISERS`.
        seed: of random layers; the same seed gives the same networks.
        calibration: batches to estimate randomised batch norms on; without them their running statistics are reset.
        window: see `ssim`.
        percentiles: see `ssim`.
        either_sign: see `ssim`.
        progress: called with the number of steps done.

    Raises:
        LayerError: if a layer does not exist or has no parameters.
        InputError: if maps are not finite, or smaller than the window.
    """
    chosen = _asked(model, inputs, targets)
    original = make_maps(model, inputs, chosen)
    reached, columns = [], []
    networks = cascade(model, inputs, layers, initialiser=initialiser, seed=seed, calibration=calibration)
    for layer, network in networks:
        maps = make_maps(network, inputs, chosen)
        reached.append(layer)
        likeness = ssim(original, maps, window=window, percentiles=percentiles, either_sign=either_sign)
        columns.append(likeness.masked_fill(is_flat(maps) | is_flat(original), torch.nan))
        if progress is not None:
            progress(len(reached))
    return SanityCheck(tuple(reached), torch.stack(columns, 1))


def _asked(model: nn.Module, inputs: Any, targets: Any) -> Any:
    if targets is not None and not finds_places(targets):
        return targets
    network = Network(model)
    batch = network.prepared(inputs)
    output, form = network.answered(batch)
    return form.scores(output).argmax(1) if targets is None else settled(targets, output, batch.count, form)
