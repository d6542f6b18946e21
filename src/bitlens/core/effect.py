"""What the bits that pass each place do to an answer: raise it, or lower it.

To first order, closing a place as far as nothing of it passes costs the answer its slope along the mask times what passes,
summed over the place's features. The slope is taken under the mask as it stands, and averaged over noise.
"""

from torch import Tensor

from bitlens.core.family import MaskFamily
from bitlens.core.fitting import Run, loss_gradient
from bitlens.core.gaussian import laid_out_like
from bitlens.core.targets import Target


def effects(
    run: Run, target: Target, masks: MaskFamily, u: Tensor, *, copies: int, seed: int = 0, rows: int = 16
) -> Tensor:
    """Return what the answer, minus the target's loss, would lose without the bits of each place, to first order, in nats.

    Args:
        run: z (copies * N, ...) → the network's output.
        target: the question, one for each of the N samples.
        masks: of the samples' features.
        u: the share of noise in each feature, (N, ...).
        copies: noisy copies, every second with the negative noise of another.
        seed: of the noise.
        rows: how many rows go through the network at once; bounds the memory.

    Returns:
        (N, ...), one number for all channels of a place, or for each feature where the features have no places; above zero
        where the bits speak for the answer, below where they speak against it.

    Raises:
        FitError: if the loss does not depend on the features.
        TargetError: if the target does not give one number per row.
    """
    features, model, layout = masks.features, masks.noise_model, masks.layout
    noise = masks.region.copies(features.shape[1:], seed, features.device, antithetic=True)
    standard = laid_out_like(features, noise.draw(copies))
    at_once = max(1, rows // len(features))
    slope = loss_gradient(run, target, features * model.active, u, model, standard, at_once)
    lost = slope.mul_(1 - u).mul_(masks.active)
    return lost.sum(layout.channel + 1, keepdim=True) if layout.places else lost
