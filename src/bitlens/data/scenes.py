"""Labelled scenes whose class depends on known pixels, drawn from a seed.

A scene shows one or two objects of one class among distractors on a patterned ground. The class is the SHAPE of
the object and nothing else: colour, size, place, rotation and texture are drawn alike for every class, and
distractors get the same colours, textures and sizes as objects. So each picture comes with its exact answer: the
mask of the object and its boxes. Colours are OKLab (lightness, green-red, blue-yellow) until the last line, so
that equal contrasts look equal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from bitlens.data.outlines import DISTRACTORS, OBJECTS, Array, Maker, Outline, posed
from bitlens.data.textures import noise, pattern
from bitlens.errors import DataError

Split: TypeAlias = Literal["train", "test"]
Bounds: TypeAlias = tuple[int, int, int, int]
CLASSES: tuple[str, ...] = tuple(OBJECTS)

SUPERSAMPLING = 4
SPLITS: dict[str, int] = {"train": 0, "test": 1}


@dataclass(frozen=True, eq=False)
class Scene:
    """One labelled picture with the pixels that its class depends on.

    Attributes:
        image: (S, S, 3) uint8, RGB.
        label: index into `CLASSES`.
        mask: (S, S) bool, True where an object of the class is visible.
        boxes: x0, y0, x1, y1 in pixels, end-exclusive: the tight bounds of each object's visible pixels.
    """

    image: npt.NDArray[np.uint8]
    label: int
    mask: npt.NDArray[np.bool_]
    boxes: tuple[Bounds, ...]


class Scenes(Sequence[Scene]):
    """The first `count` scenes of a split, drawn when asked for."""

    def __init__(self, split: Split = "test", count: int = 1000, seed: int = 0, size: int = 96) -> None:
        """Take what `scene` takes; `count` is the length, 0 or more."""
        if count < 0:
            raise DataError(f"count={count}: expected 0 or more")
        self._length = count
        self.split, self.seed, self.size = split, seed, size

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Scene: ...
    @overload
    def __getitem__(self, index: slice) -> list[Scene]: ...
    def __getitem__(self, index: int | slice) -> Scene | list[Scene]:
        """Return the scene at `index`, negative counting from the end; IndexError past the end."""
        if isinstance(index, slice):
            return [self[i] for i in range(self._length)[index]]
        return scene(range(self._length)[index], split=self.split, seed=self.seed, size=self.size)


def scene(index: int, *, split: Split = "test", seed: int = 0, size: int = 96) -> Scene:
    """Draw one scene: the same bytes for the same arguments, in any order.

    Args:
        index: which scene of the split, 0 or more.
        split: "train" or "test"; the two share no scene.
        seed: another seed gives another data set, 0 or more.
        size: side length in pixels, 32 or more.

    Raises:
        DataError: an argument is out of its range.
    """
    if split not in SPLITS:
        raise DataError(f"split={split!r} is unknown: choose one of {', '.join(SPLITS)}")
    if index < 0 or seed < 0 or size < 32:
        raise DataError(f"index={index}, seed={seed}, size={size}: expected index >= 0, seed >= 0 and size >= 32")
    rng = np.random.default_rng((seed, SPLITS[split], index))
    label = int(rng.integers(len(CLASSES)))
    backdrop, colours = _palette(rng)
    canvas = _background(rng, size, backdrop)
    paint = partial(_paint, rng, canvas, colours, 0.11 if rng.random() < 0.2 else 0.18)
    for _ in range(rng.integers(2, 5)):
        paint(_inside(rng, size, DISTRACTORS[rng.integers(len(DISTRACTORS))], rng.uniform(0.02, 0.085)))
    for _ in range(rng.integers(1, 4)):
        paint(_stroke(rng, size, thickness=(0.025, 0.07)))
    objects = _objects(rng, size, OBJECTS[CLASSES[label]])
    for coverage in objects:
        paint(coverage)
    masks = whole = [coverage >= 0.5 for coverage in objects]
    for _ in range(rng.integers(0, 3)):
        thread = _stroke(rng, size, thickness=(0.012, 0.025))
        visible = [mask & (thread < 0.5) for mask in masks]
        if all(part.sum() > 0.88 * mask.sum() for part, mask in zip(visible, whole, strict=True)):
            paint(thread)
            masks = visible
    canvas[..., 0] += rng.normal(0, rng.uniform(0.002, 0.012), (size, size))
    return Scene(_rgb(canvas), label, np.logical_or.reduce(masks), tuple(map(_bounds, masks)))


def _bounds(mask: npt.NDArray[np.bool_]) -> Bounds:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


# Colours


def _lch(lightness: Array, chroma: Array, hue: Array) -> Array:
    """Return (..., 3) OKLab from lightness, chroma and hue in radians."""
    colour: Array = np.stack(np.broadcast_arrays(lightness, chroma * np.cos(hue), chroma * np.sin(hue)), axis=-1)
    return colour


def _rgb(lab: Array) -> npt.NDArray[np.uint8]:
    """Convert OKLab to 8-bit sRGB (Björn Ottosson, 2020)."""
    cone = lab @ np.array([[1, 1, 1], [0.39633778, -0.10556135, -0.08948418], [0.21580376, -0.06385417, -1.29148555]])
    red = [4.07674166, -3.30771159, 0.23096993]
    green = [-1.26843800, 2.60975740, -0.34131940]
    blue = [-0.00419609, -0.70341861, 1.70761470]
    linear = np.clip(cone**3 @ np.transpose([red, green, blue]), 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * encoded).astype(np.uint8)


def _palette(rng: np.random.Generator) -> tuple[Array, Array]:
    """Return three quiet colours for the background and five lively ones that go with them."""
    hue, lightness = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.88)
    spread = rng.uniform(0.06, 0.2)
    backdrop = _lch(
        np.clip(lightness + spread * np.array([-1, 0, 1]) * rng.choice([-1, 1]), 0.18, 0.96),
        rng.uniform(0.015, 0.09, 3),
        hue + rng.normal(0, 0.35, 3),
    )
    scheme = hue + np.radians(rng.choice([0, 30, -30, 120, 150, 180, 210, 240], 5, replace=False))
    away = rng.uniform(0.1, 0.38, 5) * np.where(rng.random(5) < lightness, -1, 1)
    return backdrop, _lch(np.clip(lightness + away, 0.25, 0.95), rng.uniform(0.07, 0.17, 5), scheme)


def _background(rng: np.random.Generator, size: int, colours: Array) -> Array:
    """Lay two patterns one above the other, under a slow change of light."""
    first = pattern(rng, size, (0.1 * size, 0.4 * size))
    second = pattern(rng, size, (0.06 * size, 0.3 * size))
    canvas: Array = colours[0] + first[..., None] * (colours[1] - colours[0])
    canvas = canvas + rng.uniform(0.2, 1) * second[..., None] * (colours[2] - canvas)
    canvas[..., 0] += rng.uniform(0, 0.15) * (noise(rng, size, 1) - 0.5)
    return canvas


# Coverage: (size, size) arrays in [0, 1], how much of each pixel a figure hides


def _drawn(size: int, draw: Callable[[ImageDraw.ImageDraw, int], None]) -> Array:
    """Show what `draw` paints white on a canvas that is finer by `SUPERSAMPLING`."""
    fine = Image.new("L", (size * SUPERSAMPLING, size * SUPERSAMPLING))
    draw(ImageDraw.Draw(fine), SUPERSAMPLING)
    return np.asarray(fine.reduce(SUPERSAMPLING), dtype=np.float64) / 255


def _figure(size: int, outline: Outline, centre: Array) -> Array:
    """Draw a filled outline with its origin at `centre`."""

    def draw(pen: ImageDraw.ImageDraw, scale: int) -> None:
        for part, fill in zip(outline, (255, *[0] * len(outline)), strict=False):
            pen.polygon(((part + centre) * scale).ravel().tolist(), fill=fill)

    return _drawn(size, draw)


def _inside(rng: np.random.Generator, size: int, maker: Maker, area: float) -> Array:
    """Draw a figure of `area` (a fraction of the picture) anywhere inside it; smaller only if it does not fit."""
    margin = 2
    outline = posed(rng, maker(rng), area * size**2)
    low, high = outline[0].min(axis=0), outline[0].max(axis=0)
    room = size - 2 * margin - (high - low)
    if (room <= 0).any():
        return _inside(rng, size, maker, 0.9 * area)
    return _figure(size, outline, margin - low + rng.random(2) * room)


def _stroke(rng: np.random.Generator, size: int, thickness: tuple[float, float]) -> Array:
    """Draw an arc, a zigzag or a letter-like line; thickness as a fraction of the side."""
    start, angle, length = rng.uniform(0, size, 2), rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.6) * size
    if rng.random() < 0.5:
        bends = np.linspace(0, rng.uniform(-4, 4), 24)
    else:
        joints = np.arange(rng.integers(1, 5))
        bends = rng.uniform(1.2, 2.4) * (joints % 2) * rng.choice([-1, 1], joints.size)
    heading = np.stack([np.cos(angle + bends), np.sin(angle + bends)], axis=1)
    points = np.vstack([start, start + np.cumsum(heading * length / len(bends), axis=0)])
    width = rng.uniform(*thickness) * size

    def draw(pen: ImageDraw.ImageDraw, scale: int) -> None:
        line = points * scale
        pen.line(line.ravel().tolist(), fill=255, width=round(width * scale), joint="curve")
        for end in line[[0, -1]]:
            pen.ellipse([*(end - width * scale / 2), *(end + width * scale / 2)], fill=255)

    return _drawn(size, draw)


def _objects(rng: np.random.Generator, size: int, maker: Maker) -> list[Array]:
    """Draw one object, or in a third of the scenes two that do not touch."""
    if rng.random() < 2 / 3:
        return [_inside(rng, size, maker, rng.uniform(0.05, 0.14))]
    total, share = rng.uniform(0.08, 0.19), rng.uniform(0.4, 0.6)
    while True:
        pair = [_inside(rng, size, maker, total * part) for part in (share, 1 - share)]
        if (_filtered(pair[0], ImageFilter.MaxFilter(5)) * pair[1]).max() == 0:
            return pair
        total *= 0.97


# Paint


def _paint(rng: np.random.Generator, canvas: Array, colours: Array, contrast: float, coverage: Array) -> None:
    """Paint a figure in a colour that stands out from its surroundings by `contrast` or, failing that, most."""
    if coverage.max() < 0.5:
        return
    x0, y0, x1, y1 = _bounds(coverage > 0)
    pad = max(4, len(canvas) // 16)  # how far the shadow reaches
    window = tuple(slice(max(low - pad, 0), high + pad) for low, high in ((y0, y1), (x0, x1)))
    ground, coverage = canvas[window], coverage[window]
    fill = _texture(rng, len(canvas), _standing_out(rng, ground, coverage, colours, contrast), coverage)
    if rng.random() < 0.3:
        shadow = _filtered(coverage, ImageFilter.GaussianBlur(len(canvas) / 48))
        ground[..., 0] -= rng.uniform(0.04, 0.12) * np.roll(shadow, (1, 1), axis=(0, 1))
    ground += coverage[..., None] * (fill - ground)


def _standing_out(rng: np.random.Generator, ground: Array, coverage: Array, colours: Array, contrast: float) -> Array:
    """Choose a colour, or failing that a pale or dark shade of one, that differs from what lies nearly all round."""
    around = ground[(_filtered(coverage, ImageFilter.MaxFilter(5)) > 0.5) & (coverage < 0.5)]
    shades = np.concatenate([colours, [0.94, 0, 0] + colours * [0, 0.4, 0.4], [0.26, 0, 0] + colours * [0, 0.6, 0.6]])
    score = np.quantile(np.linalg.norm(shades[:, None] - around, axis=-1), 0.03, axis=1)
    order = rng.permutation(len(colours))
    enough = order[score[order] >= contrast]
    return np.asarray(shades[enough[0] if enough.size else score.argmax()])


def _texture(rng: np.random.Generator, size: int, colour: Array, coverage: Array) -> Array:
    """Return the colour with a pattern in most figures and a drawn outline in some."""
    height, width = coverage.shape
    fill = np.tile(colour, (height, width, 1))
    if rng.random() < 0.65:
        second = pattern(rng, max(height, width), (0.05 * size, 0.15 * size))[:height, :width]
        fill += second[..., None] * rng.normal(0, [0.06, 0.03, 0.03])
    if rng.random() < 0.3:
        edge = _filtered(1 - coverage, ImageFilter.MaxFilter(3))
        fill[..., 0] += rng.choice([-1, 1]) * rng.uniform(0.1, 0.25) * edge
    return fill


def _filtered(coverage: Array, image_filter: ImageFilter.Filter) -> Array:
    image = Image.fromarray(np.round(255 * coverage).astype(np.uint8))
    return np.asarray(image.filter(image_filter), dtype=np.float64) / 255
