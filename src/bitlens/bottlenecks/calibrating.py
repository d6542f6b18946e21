"""How many bits each input needs to keep its class: masks of one fit, opened from nothing left out down to where it is lost."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bitlens.bottlenecks.bottleneck import Bottleneck
from bitlens.bottlenecks.groups import Group, Wanted
from bitlens.core.conformal import fewest_from_above
from bitlens.core.family import MaskFamily
from bitlens.core.holding import Holding
from bitlens.core.naming import asked_classes, names_still, refuse_others
from bitlens.errors import NotFiniteError, at_least

_STREAM = 0x3C6EF372FE94  # noise that neither fits nor proofs have seen
_EACH = 0x9E3779B97F  # between the noise of two inputs: no two share any, so inputs stay exchangeable


def needed_bits(
    method: Bottleneck,
    inputs: Any,
    targets: Any = None,
    *,
    budgets: Sequence[float],
    noises: int = 4,
    first: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Return the least budget (N,) from which on all larger ones keep each input's class; infinite if none does.

    Args:
        method: its masks are fitted once for each input, and then shifted.
        inputs: as its `explain` takes them.
        targets: likewise, about classes.
        budgets: of bits, rising.
        noises: a class is kept if the mean answer under so many names it.
        first: number of the first input, which chooses its noise.
        progress: called with the number of inputs that are done.

    Raises:
        TargetError: if something else than a class is asked about; what `explain` raises besides.
    """
    at_least(1, noises=noises)
    method.check()
    samples = method.read(inputs, targets).arranged(method.probe.device)
    found = torch.full((len(samples),), math.inf, dtype=torch.float64)

    def work(group: Group) -> Tensor:
        with method.recorded(group) as recorded:
            NotFiniteError.refuse("the network's answer", recorded.target.value(recorded.output).detach())
            asked_classes(recorded.target)
            if targets is None:
                refuse_others(recorded.target, recorded.output)
            with torch.enable_grad():
                logits = method.masks(recorded).logits.detach()
            masks = MaskFamily.of(
                recorded.features, recorded.noise, recorded.layout, recorded.region, method.fit.smoothing
            )
            held = Holding(recorded.run, recorded.target, masks, group.rows, recorded.deeper)
            start = group.done - group.inputs.count
            places = range(start, group.done) if samples.order is None else samples.order[start : group.done].tolist()
            shift = logits.new_zeros(len(logits))
            seeds = [method.seed + _STREAM + (first + place) * _EACH for place in places]

            def keeps(bits: float, left: Tensor) -> Tensor:
                some = left.to(logits.device)
                part = held.part(some)
                chosen = some if part is not held else torch.arange(len(logits), device=logits.device)
                own = logits[chosen]
                with torch.no_grad():
                    nats = own.new_full((len(own),), bits * math.log(2))
                    shift[chosen], fitted = part.masks.near(own, nats, shift[chosen])
                still = names_still(part, fitted.u, noises, [seeds[i] for i in chosen.tolist()])
                return still if part is not held else still[some]

            needed = fewest_from_above(keeps, len(logits), budgets)
        found[torch.tensor([*places])] = needed
        return needed

    # with evidence what comes behind the layer can run again, whatever the method itself needs
    for _ in method.each_group(samples, targets, Wanted(evidence_samples=noises), work, progress):
        pass
    return found
