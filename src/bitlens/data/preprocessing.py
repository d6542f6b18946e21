"""From a photo, or from numbers with axes, to a network's input, and back: its own preprocessing, and how to undo its colours.

A preprocessing may be any callable, so its normalisation is measured, not read: flat black, red, green and blue
pictures show where the colour of a pixel goes. If that is affine, x = M·rgb + b for every pixel (mean and standard
deviation per channel, swapped channels, conversion to grey), it is undone exactly; white and grey tell whether it is.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from warnings import warn

import torch
from PIL import Image
from torch import Tensor

from bitlens.data.inputs import Content, read_input
from bitlens.data.kinds import Form
from bitlens.data.numbers import AXES, Numbers
from bitlens.errors import BitlensError, BitlensWarning, InputError

_BLACK, _GREY, _WHITE = (0, 0, 0), (128, 128, 128), (255, 255, 255)
_PRIMARIES = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
_TOLERANCE = 0.02  # of the range from black to white; a few steps of 8-bit rounding


@dataclass(frozen=True)
class Preprocessing:
    """Preparation of a photo, or of numbers with axes, for a network.

    Attributes:
        transform: maps an RGB PIL image to a floating-point tensor (C, H, W); or what `form` says to one laid out as `AXES` says.
        description: how to name the transform where a result says what it was made with.
        usual: whether it is that of ImageNet's networks, for a network that came without its own.
        form: what it prepares.
        rate: samples per second, of signals whose files do not say it.
        names: of the columns of a table that the network reads, in its order; all by default.
    """

    transform: Callable[[Any], Any]
    description: str = ""
    usual: bool = False
    form: Form = "photo"
    rate: float | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Take the description from the transform where none is given."""
        if not self.description:
            object.__setattr__(self, "description", _describe(self.transform))

    def read(self, path: Path) -> Content:
        """Read a file as this preprocessing takes it.

        Raises:
            DataError: if it is missing or damaged, or holds something else.
        """
        return read_input(path, self.form, rate=self.rate, names=self.names)

    def __call__(self, given: Content) -> Tensor:
        """Prepare one photo, or one input of another form.

        Returns:
            (C, H, W) float32 of a photo; see `AXES` for other forms.

        Raises:
            InputError: it is of another form, the transform fails, or gives something else than a finite floating-point tensor
                of the right number of axes.
        """
        came = given.form if isinstance(given, Numbers) else "file" if isinstance(given, Path) else "photo"
        if came != self.form:
            raise InputError(f"this is a {came}, but the network reads one {self.form} at a time: give it that")
        if isinstance(given, Numbers) and self.names and given.names != self.names:
            given = given.columns(self.names)
        try:
            result = self.transform(given)
        except BitlensError:
            raise
        except Exception as error:  # the transform is the user's code
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(f"the preprocessing fails on {_named(given)}: {reason}") from error
        return _checked(result, AXES[self.form])

    def display(self, tensor: Tensor) -> Tensor:
        """Undo the normalisation, to show the pixels that the network sees.

        Assumes that every pixel went through the same affine map of its colour. Where that does not hold (each picture
        normalised by itself, other than 1 or 3 channels) the values are stretched from minimum to maximum, as a
        `BitlensWarning` says.

        Args:
            tensor: (C, H, W), a result of this preprocessing.

        Returns:
            (3, H, W) float32 in [0, 1]; one-channel inputs in grey.
        """
        colours = self.colours(tensor.shape[-2], tensor.shape[-1])
        if colours is not None:
            return colours.undo(tensor)
        warn("the preprocessing is no affine map of colours: pictures of its results are stretched", BitlensWarning, 2)
        pixels = tensor.float() if len(tensor) == 3 else tensor.float().mean(0).expand(3, -1, -1)
        return (pixels - pixels.min()) / (pixels.max() - pixels.min()).clamp(min=1e-12)

    def colours(self, height: int, width: int) -> "AffineColours | None":
        """Measure once how this preprocessing maps the colour of a pixel, None where that is not affine.

        Args:
            height: of the flat pictures that are tried the first time; an input's own size fits every transform.
            width: of the flat pictures.
        """
        if "_colours" not in self.__dict__:
            self.__dict__["_colours"] = _measure(self, height, width)
        found: AffineColours | None = self.__dict__["_colours"]
        return found


@dataclass(frozen=True)
class AffineColours:
    """x = matrix · rgb + black for every pixel, rgb in [0, 1].

    Attributes:
        matrix: (C, 3), C = 1 or 3.
        black: (C,).
    """

    matrix: Tensor
    black: Tensor

    def apply(self, rgb: tuple[int, int, int]) -> Tensor:
        """Map an 8-bit colour to (C,)."""
        return self.black + self.matrix @ (torch.tensor(rgb) / 255)

    def undo(self, tensor: Tensor) -> Tensor:
        """Turn (C, H, W) of a network's input into (3, H, W) in [0, 1]."""
        lifted = tensor.float() - self.black.to(tensor.device)[:, None, None]
        matrix = self.matrix.to(tensor.device)
        if len(matrix) == 1:
            return (lifted / matrix.sum()).clamp(0, 1).expand(3, -1, -1)
        rgb: Tensor = torch.linalg.solve(matrix, lifted.flatten(1))
        return rgb.view_as(lifted).clamp(0, 1)

    def invertible(self) -> bool:
        """Say whether `undo` is possible."""
        if len(self.matrix) == 1:
            return bool(self.matrix.sum().abs() > 1e-6)
        return len(self.matrix) == 3 and bool(torch.linalg.cond(self.matrix) < 1e4)


def _named(given: Content) -> str:
    if isinstance(given, Numbers):
        return f"a {given.form} of shape {given.values.shape}"
    return f"the file {given}" if isinstance(given, Path) else f"a picture of size {given.size}"


def as_tensor(given: Numbers) -> Tensor:
    """Return the values as they are."""
    return torch.from_numpy(given.values)


def _checked(result: Any, axes: str) -> Tensor:
    if not isinstance(result, Tensor):
        raise InputError(f"the preprocessing gave {type(result).__name__}, expected a torch.Tensor of shape {axes}")
    allowed = {len(one.strip("(),").split(",")) for one in axes.split(" or ")}
    if result.ndim not in allowed or result.numel() == 0:
        raise InputError(f"the preprocessing gave a tensor of shape {tuple(result.shape)}, expected {axes}")
    if not result.is_floating_point():
        raise InputError(f"the preprocessing gave {result.dtype}, expected floating point: scale and normalise in it")
    if not result.isfinite().all():
        raise InputError("the preprocessing gave NaN or infinite values")
    return result.detach().as_subclass(Tensor).float()


def _measure(preprocess: Preprocessing, height: int, width: int) -> AffineColours | None:
    def flat(rgb: tuple[int, int, int]) -> Tensor:
        return preprocess(Image.new("RGB", (width, height), rgb)).flatten(1).median(1).values.cpu()

    try:
        black = flat(_BLACK)
        colours = AffineColours(torch.stack([flat(rgb) - black for rgb in _PRIMARIES], 1), black)
        grey, white = flat(_GREY), flat(_WHITE)
    except InputError:  # a flat picture cannot be normalised by its own spread
        return None
    tolerance = _TOLERANCE * (white - black).abs().max()
    affine = all((colours.apply(c) - x).abs().max() <= tolerance for c, x in ((_GREY, grey), (_WHITE, white)))
    return colours if affine and colours.invertible() else None


def _describe(transform: Callable[..., Any]) -> str:
    name = getattr(transform, "__qualname__", None)
    text = f"{transform.__module__}.{name}" if name else repr(transform)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(text.split()))
