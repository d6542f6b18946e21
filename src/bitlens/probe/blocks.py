"""The blocks of a network: modules of one kind, one after the other, that keep a grid over the image; where it ends."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from bitlens.core.inputs import ModelInputs
from bitlens.core.layout import Layout, detect_layout
from bitlens.probe.trace import Call

_POOLING = (nn.modules.pooling._AdaptiveAvgPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd)


@dataclass(frozen=True)
class Blocks:
    """Calls of sibling modules of one class that put out features of one shape, in order.

    Attributes:
        calls: two or more.
        layout: of their features.
        grid: (h, w), places up and across.
    """

    calls: tuple[Call, ...]
    layout: Layout
    grid: tuple[int, ...]

    @property
    def tokens(self) -> bool:
        """Say whether the places are tokens, as in a transformer."""
        return self.layout.patches is not None


def grid_layout(call: Call, count: int, image_size: tuple[int, int]) -> Layout | None:
    """Return the layout of what a call puts out for `count` images if that is a grid over each of them, else None."""
    shape = call.shapes[0] if call.shapes else None
    if shape is None or len(shape) not in (3, 4) or shape[0] != count:
        return None
    layout = detect_layout(tuple(shape[1:]), image_size)
    return layout if layout.on_grid else None


def block_groups(root: Call, count: int, image_size: tuple[int, int]) -> list[Blocks]:
    """Return all groups of blocks in one pass of a network, in order; blocks within blocks do not count.

    Where siblings of one class differ in shape they are stages, and the blocks are looked for within them.

    Args:
        root: the pass.
        count: how many images went through it.
        image_size: (height, width) in pixels.
    """
    return list(_groups(root, count, image_size))


def _groups(call: Call, count: int, image_size: tuple[int, int]) -> Iterator[Blocks]:
    kinds: dict[type, list[Call]] = {}
    for child in call.children:
        if child.children and grid_layout(child, count, image_size) is not None:
            kinds.setdefault(type(child.module), []).append(child)
    alike = {kind: calls for kind, calls in kinds.items() if len(calls) > 1 and len({c.shapes[0] for c in calls}) == 1}
    told: set[type] = set()
    for child in call.children:
        kind = type(child.module)
        if kind not in alike or child not in alike[kind]:
            yield from _groups(child, count, image_size)
        elif kind not in told:
            told.add(kind)
            shape = tuple(child.shapes[0] or ())[1:]
            layout = detect_layout(shape, image_size)
            yield Blocks(tuple(alike[kind]), layout, layout.grid(shape))


def last_spatial_call(root: Call, inputs: ModelInputs) -> Call | None:
    """Find the call that is the last to end with a grid of more than one cell for each image, adaptive pooling not counted.

    So it is a stage rather than its last block, and what comes after it is no more than the head: `layer4` of a ResNet,
    `features` of a VGG, the last norm of a transformer whose head reads patches. Where there are other tokens besides
    patches, it is what comes first in the last block. None if there is no such call.

    Args:
        root: a pass of the network over two of the samples (one if there is one).
        inputs: images, series or volumes.
    """
    count, places = min(2, inputs.count), inputs.places
    axes = 2 + len(places.size) if places is not None else 0  # of a grid over them, samples and channels counted
    for call in _from_the_end(root):
        shapes = [shape for shape in call.shapes if shape is not None]
        if call is root or len(shapes) != 1 or shapes[0][0:1] != (count,) or isinstance(call.module, _POOLING):
            continue
        shape, size = shapes[0], inputs.image_size
        if axes != 4 and len(shape) == axes and math.prod(shape[2:]) > 1:
            return call
        if len(shape) == 3 and size is not None:
            layout = grid_layout(call, count, size)
            return call if layout is not None and not layout.extra else _before_attention(root, count, size)
        if axes == len(shape) == 4 and max(detect_layout(tuple(shape[1:]), size).grid(tuple(shape[1:]))) > 1:
            return call
    return None


def _before_attention(root: Call, count: int, image_size: tuple[int, int]) -> Call | None:
    """Find where all that the head will read of the patches is still with the patches."""
    groups = [group for group in block_groups(root, count, image_size) if group.tokens]
    if not groups:
        return None
    *_, before, last = groups[-1].calls
    if not groups[-1].layout.extra:
        return last
    first = last.children[0]
    return first if first.shapes == last.shapes else before


def _from_the_end(call: Call) -> Iterator[Call]:
    """Go through all calls, the one that ended last first."""
    yield call
    for child in reversed(call.children):
        yield from _from_the_end(child)
