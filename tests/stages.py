"""A first stage of InputIBA on the quadrant network, for the tests of priors."""

import torch
from torch import Tensor

from bitlens.bottlenecks.input.prior import FirstStage
from bitlens.core.effort import FitSettings
from bitlens.core.fitting import fit_masks
from bitlens.core.gaussian import NoiseSettings
from bitlens.core.layout import LAYOUTS
from bitlens.core.maps import bits_per_cell, bits_per_pixel
from bitlens.core.targets import ClassTarget
from networks import quadrant_images, quadrant_net, quadrant_statistics

__all__ = ["distance", "first_stage"]


def first_stage(count: int = 2, *, rows: int = 16, seed: int = 0, overwritten: bool = False) -> FirstStage:
    """What stage 1 finds for images with a bright patch."""
    model = quadrant_net().requires_grad_(False)
    images, classes = quadrant_images(count, seed=3)
    noise, layout = quadrant_statistics().noise(NoiseSettings()), LAYOUTS["CHW"]
    features: Tensor = model[:3](images).detach()
    fitted = fit_masks(model[3:], ClassTarget(classes), features, noise, layout, FitSettings())
    return FirstStage(
        images=images,
        maps=bits_per_pixel(bits_per_cell(fitted.information, layout), (16, 16))[:, None],
        features=features,
        u=fitted.u,
        information=fitted.information,
        noise=noise,
        layout=layout,
        reach=lambda variants, _rows: model[:3](variants),
        rows=rows,
        seed=seed,
        overwritten=overwritten,
    )


def distance(stage: FirstStage, logits: Tensor, copies: int = 2000) -> float:
    """Mean squared distance, in deviations, of the mean features of masked inputs (N(0, 1) noise) from those of Z*."""
    generator = torch.Generator().manual_seed(77)
    standard = torch.randn(copies, 1, *stage.images.shape[1:], generator=generator)
    with torch.no_grad():
        masked = torch.lerp(standard, stage.images, torch.sigmoid(logits))
        mean = stage.features_of(masked).mean(0)
        wanted = torch.lerp(stage.features, stage.noise.mean.expand_as(stage.features), stage.u)
        return float((((mean - wanted) / stage.noise.std).square() * stage.noise.active).mean())
