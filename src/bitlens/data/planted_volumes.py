"""Volumes of 32 x 32 x 32 voxels whose class is the shape of one body among others.

The class is the SHAPE of that body and found else: place, size, turn and brightness are drawn alike for every class, and the
other bodies, plates, rods, cones and small crumbs, get the same.
"""

import numpy as np

from bitlens.data.numbers import Numbers
from bitlens.data.planted import Array, Mask, Planted

CLASSES = ("ball", "cube", "ring", "cross")
SIZE, SPACING = 32, (1.0, 1.0, 1.0)
_RADIUS = (4.5, 6.0)
_APART = 1.0
"""Voxels between two bodies at least."""


def planted_volume(rng: np.random.Generator) -> Planted:
    """Draw one volume with its class and the voxels of the body that decides it."""
    label = int(rng.integers(len(CLASSES)))
    values = _ground(rng)
    bodies: list[tuple[Array, float]] = []
    mask = _placed(rng, values, bodies, CLASSES[label])
    for _ in range(rng.integers(2, 5)):
        _placed(rng, values, bodies, str(rng.choice(_OTHERS)))
    return Planted(Numbers(values[None].astype(np.float32), "volume", spacing=SPACING), label, mask)


def _ground(rng: np.random.Generator) -> Array:
    """Draw a slow change of brightness and noise."""
    between = np.maximum(1 - np.abs(np.linspace(0, 2, SIZE)[:, None] - np.arange(3)), 0)  # linear, from three knots
    slow = np.einsum("ai,bj,ck,ijk->abc", between, between, between, rng.normal(0, 0.15, (3, 3, 3)), optimize=True)
    grounded: Array = slow + rng.normal(0, rng.uniform(0.05, 0.15), (SIZE,) * 3)
    return grounded


def _placed(rng: np.random.Generator, values: Array, bodies: list[tuple[Array, float]], name: str) -> Mask:
    """Add a body where there is room for it; nothing after fifty tries. Return its voxels."""
    radius, turn = rng.uniform(*_RADIUS), _turn(rng)
    brightness = rng.uniform(0.8, 1.4)
    found = np.zeros((SIZE,) * 3, dtype=bool)
    for _ in range(50):
        centre = rng.uniform(radius + 1.5, SIZE - radius - 2.5, 3)
        if all(np.linalg.norm(centre - other) > radius + far + _APART for other, far in bodies):
            break
    else:
        return found
    bodies.append((centre, radius))
    low, high = np.floor(centre - radius).astype(int), np.ceil(centre + radius).astype(int) + 1
    window = tuple(slice(*ends) for ends in zip(low, high, strict=True))
    place = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), axis=-1) - centre
    inside = _inside(name, place @ turn / radius)
    values[window] += brightness * inside
    found[window] = inside > 0.5
    return found


def _turn(rng: np.random.Generator) -> Array:
    """Draw a rotation, every one as likely (QR of normal numbers)."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    turned: Array = q * np.sign(np.diag(r))
    return turned


_OTHERS = ("plate", "rod", "cone", "crumbs")


def _inside(name: str, at: Array) -> Array:
    """Say how much of each voxel a body takes, by the distance of its centre (..., 3) from the surface; radius 1 holds all."""
    x, y, z = np.moveaxis(at, -1, 0)
    length = np.linalg.norm(at, axis=-1)
    along = [np.hypot(y, z), np.hypot(z, x), np.hypot(x, y)]
    bars = [np.maximum(off - 0.3, np.abs(on) - 0.95) for off, on in zip(along, (x, y, z), strict=True)]
    surface = {
        "ball": lambda: length - 0.78,
        "cube": lambda: np.abs(at).max(-1) - 0.6,
        "ring": lambda: np.hypot(along[2] - 0.68, z) - 0.3,
        "cross": lambda: np.minimum.reduce(bars),
        "plate": lambda: np.maximum(np.abs(z) - 0.22, along[2] - 0.95),
        "rod": lambda: np.maximum(np.abs(z) - 0.95, along[2] - 0.28),
        "cone": lambda: np.maximum(along[2] - 0.4 * (0.9 - z), -z - 0.85),
        "crumbs": lambda: np.minimum.reduce([np.linalg.norm(at - c, axis=-1) - 0.3 for c in _CRUMBS]),
    }[name]()
    soft: Array = np.clip(0.5 - 5 * surface, 0, 1)
    return soft


_CRUMBS = np.array([[0.6, 0, 0.2], [-0.4, 0.5, 0], [-0.2, -0.5, -0.45]])
