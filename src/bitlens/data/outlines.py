"""Outlines of the objects and distractors in `scenes`: polygons of about unit radius, with some freedom each.

An outline is a tuple of (K, 2) polygons: the first is filled, the others are holes. Turned or mirrored, an
outline stays in its class.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
Outline: TypeAlias = tuple[Array, ...]
Maker: TypeAlias = Callable[[np.random.Generator], Outline]


def _polar(radius: Any, points: int = 60) -> Array:
    """Draw a closed curve from its radius at each of `points` angles."""
    t = np.arange(points) * 2 * np.pi / points
    r = radius(t) if callable(radius) else radius
    return np.stack([r * np.cos(t), r * np.sin(t)], axis=1)


def _arrow(rng: np.random.Generator) -> Outline:
    shaft, head, neck = rng.uniform(0.2, 0.3), rng.uniform(0.62, 0.78), rng.uniform(-0.05, 0.2)
    side = [(-1, -shaft), (neck, -shaft), (neck, -head)]
    return (np.array([*side, (1, 0), *[(x, -y) for x, y in reversed(side)]], dtype=np.float64),)


def _crescent(rng: np.random.Generator) -> Outline:
    bite, shift = rng.uniform(0.74, 0.86), rng.uniform(0.46, 0.58)
    x = (1 - bite**2 + shift**2) / (2 * shift)
    horn, inner = np.arccos(x), np.arctan2(np.sqrt(1 - x * x), x - shift)
    outside, inside = np.linspace(horn, 2 * np.pi - horn, 40), np.linspace(2 * np.pi - inner, inner, 40)
    return (
        np.concatenate(
            [
                np.stack([np.cos(outside), np.sin(outside)], axis=1),
                np.stack([shift + bite * np.cos(inside), bite * np.sin(inside)], axis=1),
            ]
        ),
    )


def _cross(rng: np.random.Generator) -> Outline:
    w = rng.uniform(0.27, 0.37)
    corner = np.array([(1, -w), (1, w), (w, w)])
    turn = np.array([(0, 1), (-1, 0)])
    return (np.concatenate([corner @ np.linalg.matrix_power(turn, k) for k in range(4)]),)


def _drop(rng: np.random.Generator) -> Outline:
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    return (np.stack([np.cos(t), 0.85 * np.sin(t) * np.sin(t / 2) ** rng.uniform(1.4, 2.2)], axis=1),)


def _flower(rng: np.random.Generator) -> Outline:
    petals, depth = rng.integers(5, 7), rng.uniform(0.28, 0.4)
    return (_polar(lambda t: 1 - depth + depth * np.abs(np.cos(petals * t / 2)), points=120),)


def _heart(rng: np.random.Generator) -> Outline:
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    y = 13 * np.cos(t) - rng.uniform(4.5, 6) * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return (np.stack([16 * np.sin(t) ** 3, y + 2], axis=1) / 17,)


def _ring(rng: np.random.Generator) -> Outline:
    return _polar(1.0), _polar(rng.uniform(0.42, 0.62))


def _star(rng: np.random.Generator) -> Outline:
    inner = rng.uniform(0.38, 0.47)
    return (_polar(lambda t: np.where(np.arange(t.size) % 2, inner, 1.0), points=10),)


def _blob(rng: np.random.Generator) -> Outline:
    size, phase = rng.uniform(0.1, 0.22, 3), rng.uniform(0, 2 * np.pi, 3)
    return (
        _polar(
            lambda t: 1 + sum(a * np.cos((k + 2) * t + f) for k, (a, f) in enumerate(zip(size, phase, strict=True)))
        ),
    )


def _bar(rng: np.random.Generator) -> Outline:
    w = rng.uniform(0.18, 0.34)
    return (np.array([(-1, -w), (1, -w), (1, w), (-1, w)]),)


def _half(rng: np.random.Generator) -> Outline:
    """Cut an object's outline in half, straight: it belongs to no class."""
    makers = (_cross, _flower, _star)
    outline = makers[rng.integers(len(makers))](rng)[0]
    half = outline[: len(outline) // 2 + 1]
    return (half - half.mean(axis=0),)


OBJECTS: dict[str, Maker] = {
    "arrow": _arrow,
    "crescent": _crescent,
    "cross": _cross,
    "drop": _drop,
    "flower": _flower,
    "heart": _heart,
    "ring": _ring,
    "square": lambda _: (_polar(1.0, points=4),),
    "star": _star,
    "triangle": lambda _: (_polar(1.0, points=3),),
}
DISTRACTORS: tuple[Maker, ...] = (_blob, _blob, _bar, _half, _half, lambda _: (_polar(1.0),))


def _area(outline: Outline) -> float:
    x, y = outline[0].T
    holes = sum(_area((hole,)) for hole in outline[1:])
    return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2 - holes)


def posed(rng: np.random.Generator, outline: Outline, area: float) -> Outline:
    """Return the outline slightly stretched, turned anywhere, and scaled to `area` pixels."""
    stretch, angle = rng.uniform(0.9, 1.12), rng.uniform(0, 2 * np.pi)
    pose = np.diag([stretch, 1 / stretch]) @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return tuple(part @ pose * np.sqrt(area / _area(outline)) for part in outline)
