"""What the axes of an input mean: places, of any number of dimensions, and the channels that each of them has.

A place is what a map has a number for: a sample of a signal, a pixel, a voxel, a feature of a table. Methods and metrics see
every input with its channels first, (N, C, ...), and walk over its places whatever their number; the network sees its own axes.
"""

from dataclasses import dataclass, replace
from typing import Final

from torch import Tensor

from bitlens.core.layout import LAYOUTS, Layout
from bitlens.errors import InputError

AXES: Final = ("D", "T", "CT", "TC", "HW", "CHW", "HWC", "DHW", "CDHW", "DCHW", "DHWC")
"""What the axes of one sample may be said to mean: D features of a table, C channels, T times, (D,) H and W a grid in space.

The pictures of a film lie along D, as the slices of a volume do.
"""

USUAL: Final = {3: "CHW", 4: "CDHW"}
"""What they mean where nobody says otherwise, by their number; two axes or one are asked of the network."""

_ONE = {1: "sample", 2: "pixel", 3: "voxel"}
_FIRST = {1: LAYOUTS["CT"], 2: LAYOUTS["CHW"], 3: LAYOUTS["CDHW"]}


@dataclass(frozen=True)
class Places:
    """The places of an input.

    Attributes:
        axes: what the axes of one sample mean, one of `AXES`.
        size: how many places there are along each of theirs: (T,), (H, W), (D, H, W), or (D,) features of a table.
    """

    axes: str
    size: tuple[int, ...]

    @classmethod
    def of(cls, axes: str, shape: tuple[int, ...]) -> "Places":
        """Read them off the shape of one sample.

        Raises:
            InputError: if the axes are none of `AXES`, or not as many as the shape has.
        """
        if axes not in AXES or len(axes) != len(shape):
            known = " or ".join(repr(name) for name in AXES if len(name) == len(shape)) or "none: choose another method"
            raise InputError(f"axes={axes!r} do not fit samples of shape {tuple(shape)}: expected {known}")
        return cls(axes, tuple(size for name, size in zip(axes, shape, strict=True) if name != "C"))

    @property
    def one(self) -> str:
        """Name one of them: sample, pixel, voxel or feature."""
        return "feature" if self.unordered else _ONE[len(self.size)]

    @property
    def unordered(self) -> bool:
        """Return whether they have no neighbours, as the features of a table: nothing is blurred, and each stands alone."""
        return self.axes == "D"

    @property
    def channel(self) -> int | None:
        """Return which axis of one sample counts channels; None if every number is a place of its own."""
        return self.axes.find("C") if "C" in self.axes else None

    @property
    def layout(self) -> Layout:
        """Return how the axes of `first` are meant; without a grid where the places have no neighbours."""
        series = len(self.size) == 1 and not self.unordered
        return replace(_FIRST[1], patches=self.size) if series else _FIRST[len(self.size)]

    @property
    def dims(self) -> tuple[int, ...]:
        """Return the axes of `first` that count places."""
        return tuple(range(2, 2 + len(self.size)))

    def first(self, values: Tensor) -> Tensor:
        """Return inputs (N, ...) with their channels first, (N, C, *size); C is 1 where they have none."""
        return values.unsqueeze(1) if self.channel is None else values.movedim(self.channel + 1, 1)

    def back(self, values: Tensor) -> Tensor:
        """Return what has its channels first, (N, C, *size), as the network takes it."""
        return values.squeeze(1) if self.channel is None else values.movedim(1, self.channel + 1)
