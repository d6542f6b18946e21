"""Noise from an input's own features: what other places of the same input tell stands in for what other inputs would."""

import torch
from torch import Tensor

from bitlens.core.gaussian import NoiseModel, NoiseSettings
from bitlens.core.layout import Layout

FEWEST = 32
"""Places from which mean and deviation of a channel can be told."""


def places_of(features: Tensor, layout: Layout) -> Tensor:
    """Return features (N, ...) as (N, channels, places), without tokens that are no place of an image."""
    own = features[:, layout.extra :] if layout.extra else features
    return own.movedim(layout.channel + 1, 1).flatten(2) if layout.places else own[..., None]


def own_noise(features: Tensor, places: Tensor, layout: Layout, settings: NoiseSettings) -> NoiseModel:
    """Return noise with the mean, deviation and activity of each sample's channels over places.

    Args:
        features: R (N, ...), float32.
        places: (N, channels, P) values of each channel, of the sample alone.
        layout: how the features' axes are meant. Tokens that are no place of an image get the noise of those that are.
        settings: how noise is made.
    """
    values = places.double()
    mean, std = values.mean(2), values.std(2) if values.shape[2] > 1 else torch.zeros_like(values[..., 0])
    nonzero = (values != 0).double().sum(2)
    if settings.noise == "zero-mean":
        mean, std = torch.zeros_like(mean), (values.square().sum(2) / nonzero.clamp_min(1)).sqrt()
    active = (nonzero / values.shape[2] > settings.activity_threshold).double()
    shape = [1] * features.dim()
    shape[0], shape[layout.channel + 1] = len(features), -1
    parts = [part.float().reshape(shape) for part in (mean, std.clamp_min(settings.min_std), active)]
    return NoiseModel(parts[0], parts[1], parts[2], clamp=settings.noise != "gaussian")
