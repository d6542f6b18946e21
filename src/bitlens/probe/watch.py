"""Where in a network the first number appears that is not finite."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from bitlens.probe.modules import Forward, names_of, wrapped

Culprit = tuple[str, tuple[int, ...]]
"""The dotted name of a module, and the element of what it puts out."""


def first_not_finite(tensor: Tensor) -> tuple[int, ...] | None:
    """The first element that is NaN or infinite, None if there is none."""
    wrong = (~torch.isfinite(tensor)).nonzero()
    return tuple(wrong[0].tolist()) if len(wrong) else None


@contextmanager
def watching(model: nn.Module) -> Iterator[list[Culprit]]:
    """Within the block, every call of a module that puts out a number that is not finite is noted, innermost first."""
    names = names_of(model)
    found: list[Culprit] = []

    def wrap(module: nn.Module, forward: Forward) -> Forward:
        def watched(*args: Any, **kwargs: Any) -> Any:
            output = forward(*args, **kwargs)
            for leaf in tree_leaves(output):
                if isinstance(leaf, Tensor) and leaf.is_floating_point():
                    element = first_not_finite(leaf)
                    if element is not None:
                        found.append((names[module], element))
            return output

        return watched

    with wrapped(dict.fromkeys(names, wrap)):
        yield found
