"""The blocks of a network: modules of one kind, one after the other, that keep a grid over the image."""

from collections.abc import Iterator
from dataclasses import dataclass

from bitlens.core.layout import Layout, detect_layout
from bitlens.probe.trace import Call


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
    return layout if layout.on_image else None


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
