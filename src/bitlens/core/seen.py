"""What a person sees of an input, kept beside its map for as long as that is in memory: a small picture, the text, or numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bitlens.errors import InputError

MOST_SEEN = 64
"""So many inputs of one call are kept beside their maps: nobody looks at more of them at once."""


@dataclass(frozen=True, eq=False)
class Seen:
    """One input as people see it. It is never saved with an attribution: whoever has the file may not have the photo.

    Attributes:
        picture: (3, H, W) of 8-bit values, or None.
        text: as it was written.
        spans: of each token of the text, its characters; None for special ones.
        target: what was asked, by name; empty where only its index is known.
        note: what must be known of the picture.
        values: of what is neither picture nor text: a signal (C, T), a volume (C, D, H, W), or a row of a table (D,); or None.
        names: of the channels, or of a row's features; empty where unknown.
        rate: samples per second of a signal, None where unknown.
        spacing: millimetres between voxels along D, H and W, None where unknown.
    """

    picture: Tensor | None = None
    text: str = ""
    spans: tuple[tuple[int, int] | None, ...] = ()
    target: str = ""
    note: str = ""
    values: Tensor | None = None
    names: tuple[str, ...] = ()
    rate: float | None = None
    spacing: tuple[float, float, float] | None = None

    @property
    def places(self) -> tuple[int, ...]:
        """Return how many places the values have along each axis: (T,), (D, H, W), or (D,) features; nothing without values."""
        if self.values is None:
            return ()
        return tuple(self.values.shape if self.values.dim() == 1 else self.values.shape[1:])

    @classmethod
    def of_pixels(cls, pixels: Tensor, target: str = "", note: str = "") -> "Seen":
        """Keep a photo (3, H, W) or (1, H, W) in [0, 1]."""
        picture = (pixels.detach().float().clamp(0, 1) * 255).round().to("cpu", torch.uint8)
        return cls(picture.expand(3, -1, -1).clone(), target=target, note=note)

    @classmethod
    def of_input(cls, values: Tensor, target: str = "") -> "Seen":
        """Keep what a network takes (C, H, W): as it is where that is a photo, else stretched to what can be shown, and said so.

        Raises:
            InputError: if it has no height and width.
        """
        if values.dim() != 3 or not values.numel() or values.is_complex():
            raise InputError(f"an input of shape {tuple(values.shape)} is no picture: expected (C, H, W)")
        if values.dtype == torch.uint8:
            values = values.float() / 255
        pixels = values.detach().float()
        colours = pixels if len(pixels) in (1, 3) else pixels.mean(0, keepdim=True)
        low, high = float(colours.min()), float(colours.max())
        if len(pixels) in (1, 3) and low >= 0 and high <= 1:
            return cls.of_pixels(colours, target)
        note = f"the input's values, {low:.3g} to {high:.3g}, are stretched to black and white"
        return cls.of_pixels((colours - low) / max(high - low, 1e-12), target, note)


def seen_of(
    inputs: object, names: Sequence[str] | None = None, map_size: Sequence[int] = ()
) -> tuple[Seen, ...] | None:
    """Keep what a network took, where it is not too many pictures, signals, volumes or rows; None for anything else.

    Args:
        inputs: (N, C, H, W); or of floating point (N, C, T) or (N, T, C), (N, C, D, H, W), or (N, D).
        names: of the targets.
        map_size: of the map of one input, which tells (N, T, C) from (N, C, T).
    """
    if not isinstance(inputs, Tensor) or len(inputs) > MOST_SEEN or inputs.is_complex():
        return None
    known = names if names is not None else [""] * len(inputs)
    if inputs.dim() == 4:
        return tuple(Seen.of_input(one, name) for one, name in zip(inputs, known, strict=True))
    if not inputs.is_floating_point() or (inputs.dim(), len(map_size)) not in ((2, 1), (3, 1), (5, 3)):
        return None
    kept = inputs.detach().float().cpu()
    if kept.dim() == 3 and map_size[0] == kept.shape[1] != kept.shape[2]:
        kept = kept.mT
    return tuple(Seen(values=one, target=name) for one, name in zip(kept, known, strict=True))
