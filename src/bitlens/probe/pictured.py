"""Which of several images a layer's call looks at: networks that compare two images call the same layers for each."""

from dataclasses import replace

import torch
from torch import Tensor

from bitlens.core.inputs import ModelInputs
from bitlens.probe.agreement import agree
from bitlens.probe.probe import Probe


def pictured(probe: Probe, inputs: ModelInputs) -> ModelInputs:
    """Return the inputs, with the image that the probed call looks at as the one whose size its maps have.

    Where images differ in size, each is changed in turn, and the first that the layer answers to is it.
    """
    images = [key for key, value in inputs.named.items() if _is_image(value) and key in inputs.carriers]
    if len({inputs[key].shape[2:] for key in images}) < 2:
        return inputs
    few = inputs.select(slice(2))
    clean = probe.features(few)
    for key in images:
        other = torch.flip(few[key], (2, 3)) * 0.5 + 0.5
        if not agree(clean, probe.features(few.putting(key, other))):
            return replace(inputs, shown=key)
    return inputs


def _is_image(value: object) -> bool:
    return isinstance(value, Tensor) and value.dim() == 4 and value.is_floating_point()
