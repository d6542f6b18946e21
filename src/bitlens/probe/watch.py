"""Where in a network the first number appears that is not finite."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.core.inputs import tensors_of
from bitlens.probe.modules import names_of, putting_out, wrapped

Culprit = tuple[str, tuple[int, ...]]
"""The dotted name of a module, and the element of what it puts out."""


def first_not_finite(tensor: Tensor) -> tuple[int, ...] | None:
    """Return the first element that is NaN or infinite, None if there is none."""
    wrong = (~torch.isfinite(tensor)).nonzero()
    return tuple(wrong[0].tolist()) if len(wrong) else None


@contextmanager
def watching(model: nn.Module) -> Iterator[list[Culprit]]:
    """Note, within the block, every call of a module that puts out a number that is not finite, innermost first."""
    names = names_of(model)
    found: list[Culprit] = []

    def watched(module: nn.Module, output: Any) -> Any:
        wrong = map(first_not_finite, (leaf for leaf in tensors_of(output) if leaf.is_floating_point()))
        found.extend((names[module], element) for element in wrong if element is not None)
        return output

    with wrapped(dict.fromkeys(names, putting_out(watched))):
        yield found
