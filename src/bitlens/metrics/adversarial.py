"""An image's adversarial counterpart: what looks the same to people and says something else to the network.

As what takes the place of pixels it removes what the network reads without showing where anything was removed: degradation
with it is AIM (Hsieh et al., Adversarial Information Masking, 2026), whose score (LeRF minus MoRF, over the drop from the
image to its counterpart) is equation 9 of Schulz et al.
"""

from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.baselines.asking import gradient_of, one_each
from bitlens.core.passes import Passes, SeedAndRows
from bitlens.core.targets import as_target, permuted_targets
from bitlens.errors import InputError, SettingError, at_least
from bitlens.probe import Network, locating


def adversarial(
    model: nn.Module | Network,
    images: Any,
    targets: Any = None,
    *,
    radius: float = 8 / 255,
    steps: int = 10,
    **run: Unpack[SeedAndRows],
) -> Tensor:
    """Return images in which no value differs by more than `radius`, and the network does not see the target.

    Projected gradient descent (Madry et al., ICLR 2018) without a random start, so that nothing is random; each step is a quarter
    of the radius. What rises is the target's loss less its score: where a network is sure, the loss alone has no gradient. Papers
    give the radius of pixels in [0, 1]; here it is a share of each image's range after preprocessing. AIM's abstract says nothing
    of its attack but that it is one of this kind; radius and steps are the usual ones.

    Args:
        model: the network, left as it was (a `Network` keeps what it has learnt about inputs like these).
        images: (N, C, H, W), or a tuple or mapping of arguments of which the first tensor is the images; or other numbers.
        targets: None for the predicted class, a class index, (N,) indices, a `Target`, or a callable.
        radius: how far any value may move, as a share of the image's range.
        steps: of the descent, one pass forward and backward each.
        **run: `internal_batch_size`, see `Passes`.

    Returns:
        In the shape of the images, on the network's device.

    Raises:
        InputError: if the inputs are no real numbers.
        TargetError: if the targets do not fit the network's output.
        SettingError: if a setting makes no sense.
    """
    at_least(1, steps=steps)
    if not radius > 0:
        raise SettingError(f"radius must be above 0, got {radius!r}")
    network = model if isinstance(model, Network) else Network(model)
    passes, batch = Passes(precision="float32", **run), network.prepared(images, targets)
    if not batch.first.is_floating_point():
        raise InputError(f"only real numbers can be changed a little, got {batch.first.dtype}")
    rows, found = passes.rows(lambda: network.bytes_per_row(batch), network.device), []
    for start in range(0, batch.count, rows):
        part = slice(start, min(start + rows, batch.count))
        few, chosen = batch.select(part), permuted_targets(targets, part, batch.count)
        with network.running(few) as answers, locating(network.model, few, start.__add__), torch.enable_grad():
            output = answers(few.first.clone())
            asked = as_target(chosen, output, few.count, network.form(few, output))

            def loss(variants: Tensor, answers: Any = answers, asked: Any = asked) -> Tensor:
                said = answers(variants.clone())
                return one_each("row", asked.loss(said) - asked.score(said), len(variants))

            clean = few.first.detach()
            flat = clean.flatten(1)
            reach = (radius * (flat.amax(1) - flat.amin(1))).reshape(-1, *[1] * (clean.dim() - 1))
            moved = clean
            for _ in range(steps):
                raised = moved + reach / 4 * gradient_of(loss, moved, "image").sign()
                moved = raised.clamp(clean - reach, clean + reach)
            found.append(moved)
    return torch.cat(found)
