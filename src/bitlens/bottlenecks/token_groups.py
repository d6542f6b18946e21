"""Texts in groups of like length that share passes of the network, and their maps in the order in which they came."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from bitlens.bottlenecks.token_statistics import KindedInputs
from bitlens.core.attribution import Attribution
from bitlens.core.targets import permuted_targets, select_targets

__all__ = ["TextGroup", "groups_of", "in_order", "longest_first"]


@dataclass(frozen=True)
class TextGroup:
    """Texts whose noisy copies go through the network together.

    Attributes:
        texts: cut to the longest of them.
        targets: what is asked of each, as the user gave it.
        rows: how many rows may go through the network at once.
        done: how many texts are done with when these are.
    """

    texts: KindedInputs
    targets: Any
    rows: int
    done: int


def longest_first(texts: KindedInputs) -> Tensor:
    """The order of texts (N,) in which those of like length are neighbours."""
    return texts.lengths.argsort(descending=True, stable=True)


def groups_of(
    texts: KindedInputs, order: Tensor, targets: Any, rows_for: Callable[[KindedInputs], int], copies: int
) -> Iterator[TextGroup]:
    """All texts in their order, as many at once as fit.

    Args:
        texts: N texts on the network's device.
        order: (N,) indices, see `longest_first`.
        targets: what is asked, in the order of `texts`.
        rows_for: the longest text of a group → how many rows of its length may go through the network at once.
        copies: of each text that a pass should hold at least.

    Raises:
        TargetError: if there are several targets, but not one for each text.
    """
    count, start = len(texts), 0
    targets = permuted_targets(targets, order, count)
    while start < count:
        rows = rows_for(texts.select(order[start : start + 1]))
        stop = min(count, start + max(1, rows // copies))
        yield TextGroup(texts.select(order[start:stop]), select_targets(targets, start, stop, count), rows, stop)
        start = stop


def in_order(parts: Sequence[Attribution], order: Tensor, length: int) -> Attribution:
    """The maps of all groups, padded to (N, length), in the order in which the texts were given."""
    joined = Attribution.join([_padded(part, length) for part in parts])
    return Attribution.join([joined[int(place)] for place in order.argsort().cpu()])


def _padded(part: Attribution, length: int) -> Attribution:
    missing = length - part.map.shape[1]
    cells = F.pad(part.cells, (0, missing)) if part.cells is not None else None
    capacity = F.pad(part.capacity, (0, 0, 0, missing)) if part.capacity is not None else None
    return replace(part, map=F.pad(part.map, (0, missing)), cells=cells, capacity=capacity)
