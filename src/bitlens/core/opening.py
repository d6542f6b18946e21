"""What the opening of each place adds to an answer, while all places open together, from nothing but noise to everything.

Integrated gradients (Sundararajan et al., ICML 2017) of one mask for all features, averaged over noise in the place of a
baseline: the answer's slope along the mask, as far as each feature makes it, at levels from noise to features. Summed over
features it is what the answer gains in all, by the fundamental theorem of calculus. Levels are the middles of equal steps.
"""

import torch
from torch import Tensor

from bitlens.core.family import MaskFamily
from bitlens.core.fitting import DeeperLayers, Run, chunks, loss_gradient
from bitlens.core.gaussian import laid_out_like
from bitlens.core.targets import Target


def gains(
    run: Run,
    target: Target,
    masks: MaskFamily,
    *,
    levels: int,
    copies: int,
    seed: int = 0,
    rows: int = 16,
    deeper: DeeperLayers | None = None,
) -> Tensor:
    """Return what each feature adds to the answer, minus the target's loss, on the way from nothing but noise: (N, ...) nats.

    Args:
        run: z (copies * N, ...) → the network's output.
        target: the question, one for each of the N samples.
        masks: of the samples' features.
        levels: at how many masks slopes are taken, each with noise of its own.
        copies: noisy copies at each, every second with the negative noise of another.
        seed: of the noise.
        rows: how many rows go through the network at once; bounds the memory.
        deeper: further layers that the same masks restrict.

    Raises:
        FitError: if the loss does not depend on the features.
        TargetError: if the target does not give one number per row.
    """
    features, model, region = masks.features, masks.noise_model, masks.region
    noise = region.copies(features.shape[1:], seed, features.device, antithetic=True)
    closed, used = region.of(torch.ones_like(features)), features * model.active
    at_once = max(1, rows // len(features))
    shares = 1 - (torch.arange(levels, device=features.device) + 0.5) / levels
    gained = torch.zeros_like(features)
    for chunk in chunks(levels, max(1, at_once // copies)):
        own = shares[chunk]
        u = own.repeat_interleave(copies).reshape(-1, *[1] * features.dim()) * closed
        standard = laid_out_like(features, torch.cat([noise.draw(copies) for _ in own]))
        slope = loss_gradient(run, target, used, u, model, standard, at_once, deeper)
        gained.add_(slope, alpha=len(own) / levels)
    return gained.mul_(closed)
