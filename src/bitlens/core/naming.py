"""Which class a network names, and whether that is the one that is asked about."""

from typing import Any

import torch
from torch import Tensor

from bitlens.core.holding import Holding
from bitlens.core.noise import NoisyCopies
from bitlens.core.questions import ClassTarget
from bitlens.core.targets import Target
from bitlens.errors import TargetError


def asked_classes(target: Target) -> Tensor:
    """Return the class that each sample is asked about (N,).

    Raises:
        TargetError: if something else is asked about.
    """
    if not isinstance(target, ClassTarget):
        raise TargetError(
            f"a guarantee is about the class that a network names, not about {type(target).__name__}: ask about a class"
        )
    return target.classes


def refuse_others(target: Target, output: Any) -> None:
    """Refuse questions about classes that the network, by its clean output, does not name.

    Raises:
        TargetError: if there is one.
    """
    asked, named = asked_classes(target), target.form.scores(output).argmax(1)
    wrong = (asked.to(named.device) != named).nonzero().flatten().tolist()
    if wrong:
        raise TargetError(
            f"the guarantee is about the class that the network names, {int(named[wrong[0]])} for sample {wrong[0]}, which is "
            f"asked about {int(asked[wrong[0]])}: leave targets out, or calibrate with such targets"
        )


@torch.no_grad()
def names_still(held: Holding, u: Tensor, noises: int, seeds: list[int]) -> Tensor:
    """Say of which samples (N,) the mean answer under noise names the class that is asked about.

    Args:
        held: the samples.
        u: (N, ...) masks.
        noises: how many answers the mean is of.
        seeds: of each sample's noise, which it shares with no other.
    """
    masks, asked = held.masks, asked_classes(held.target)
    features, every = masks.features, torch.arange(len(seeds), device=masks.features.device)
    streams: list[NoisyCopies] = [
        (masks if len(seeds) == 1 else masks.part(every[i : i + 1])).region.copies(
            features.shape[1:], seed, features.device
        )
        for i, seed in enumerate(seeds)
    ]
    used, copies, done = features * masks.noise_model.active, max(1, held.rows // len(features)), 0
    said: Tensor | float = 0.0
    while done < noises:
        count = min(copies, noises - done)
        standard = torch.cat([stream.draw(count) for stream in streams], 1)
        answers = held.target.form.said(held.output(used, u, standard))
        said = said + answers.reshape(count, len(features), -1).sum(0)
        done += count
    assert isinstance(said, Tensor)
    return said.argmax(1) == asked.to(said.device)
