"""Patterns for the ground and the figures in `scenes`: (size, size) arrays in [0, 1], edges one pixel wide."""

import numpy as np
from PIL import Image

from bitlens.data.outlines import Array


def noise(rng: np.random.Generator, size: int, cells: float) -> Array:
    """Smooth noise with about `cells` hills along a side, mean 0.5."""
    grid = Image.fromarray(rng.random((int(cells) + 2, int(cells) + 2), dtype=np.float32))
    return np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64)


def _wave(t: Array, period: float) -> Array:
    """Return a square wave along t (pixels) with edges one pixel wide."""
    return np.clip(0.5 + np.sin(2 * np.pi * t / period) * period / (2 * np.pi), 0, 1)


def pattern(rng: np.random.Generator, size: int, period: tuple[float, float]) -> Array:
    """Return hills, waves, checks, islands, dots, contours or a weave; `period` is a range in pixels."""
    p, angle = rng.uniform(*period), rng.uniform(0, np.pi)
    y, x = np.mgrid[:size, :size].astype(np.float64) + rng.uniform(0, 100, (2, 1, 1))
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    hills = noise(rng, size, size / p)
    makers = (
        lambda: np.clip(0.7 * hills + 0.3 * noise(rng, size, 2 * size / p), 0, 1),
        lambda: _wave(u + p * rng.uniform(0, 1) * noise(rng, size, 3), p),
        lambda: np.abs(_wave(u, p) - _wave(v, p)),
        lambda: np.clip(0.5 + (hills - rng.uniform(0.4, 0.6)) * p, 0, 1),
        lambda: np.clip(0.5 + p * rng.uniform(0.22, 0.38) - _to_lattice(u, v, p), 0, 1),
        lambda: _wave(3 * p * noise(rng, size, 3), p),
        lambda: np.clip(0.35 + 0.5 * np.sin(2 * np.pi * u / p) * np.sin(2 * np.pi * v / p) + 0.3 * hills, 0, 1),
    )
    return makers[rng.integers(len(makers))]()


def _to_lattice(u: Array, v: Array, period: float) -> Array:
    """Return distance to the nearest point of a lattice whose every second row is shifted."""
    return np.hypot((u + period * (v // period % 2) / 2) % period - period / 2, v % period - period / 2)
