"""The stages of InputIBA before the input: a bottleneck at a layer, and the prior that is made of it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bitlens.bottlenecks.input.prior import FirstStage, Prior
from bitlens.bottlenecks.per_sample import IBA
from bitlens.core.attribution import Attribution
from bitlens.core.inputs import ModelInputs
from bitlens.core.layout import LAYOUTS
from bitlens.core.passes import in_precision, suffix_dtype
from bitlens.core.targets import Target
from bitlens.errors import LayerError

__all__ = ["IMAGES", "InputStages", "first_stages"]

IMAGES = LAYOUTS["CHW"]


@dataclass(frozen=True, eq=False)
class InputStages:
    """What each stage found for N images or texts.

    Attributes:
        features: stage 1, bits per pixel or token at the layer; None if the prior does not ask for it.
        prior: stage 2, λ_G (N, C, H, W) or (N, T, D) in [0, 1], how much of each value is known before stage 3 begins.
        input: stage 3, the explanation.
    """

    features: Attribution | None
    prior: Tensor
    input: Attribution


def first_stages(
    iba: IBA, find_prior: Prior, group: ModelInputs, target: Target, rows: int, seed: int
) -> tuple[Attribution, Tensor]:
    """Stages 1 and 2 for one group of images.

    Args:
        iba: of stage 1, with statistics.
        find_prior: stage 2.
        group: prepared images (n, C, H, W), few enough to go through the network together.
        target: the question, one for each.
        rows: how many rows may go through the network at once.
        seed: of stage 2's noise; that of stage 1 is the bottleneck's own.

    Returns:
        Stage 1's map, and the logits of λ_G, broadcastable to (n, C, H, W).

    Raises:
        LayerError: if the layer has no grid over the image.
    """
    recording = iba.probe.record(group)
    features = recording.features.float()
    layout = iba._layout_of(features, group.image_size)
    noise = iba.statistics.noise(iba.noise, tuple(features.shape[1:])).to(features.device)
    dtype = suffix_dtype(iba.precision, recording.features)
    with recording.suffix(dtype) as suffix, torch.enable_grad():
        run = in_precision(suffix, dtype, recording.features, layout)
        fitted = iba._fit(run, target, features, noise, layout, recording, rows)
    found = iba._attribution(fitted, target, None, group, keep_capacity=False)
    if found.unit != "bits/pixel":
        raise LayerError(
            f"layer {found.layer!r} has no grid over the image (its maps are in {found.unit}): choose another layer, or "
            "prior='none', which needs none"
        )
    dtype = suffix_dtype(iba.precision, group.first)
    with iba.probe.reaching(group, dtype) as passes, torch.enable_grad():
        stage = FirstStage(
            images=group.first.float(),
            maps=found.map[:, None].to(features.device),
            features=features,
            u=fitted.u,
            information=fitted.information,
            noise=noise,
            layout=layout,
            reach=in_precision(lambda z, of: passes(z.clone(), of), dtype, group.first, IMAGES),
            rows=rows,
            seed=seed,
            overwritten=iba.probe.overwritten(group),
        )
        return found, find_prior(stage)
