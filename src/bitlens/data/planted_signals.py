"""Signals of three leads whose class is the waveform that is planted in them.

Four seconds at 128 Hz. The class is the ORDER of what a waveform is made of, and nothing else: slow then fast swings, fast then
slow ones, slow ones between fast ones, or fast ones between slow ones. Place, amplitude and the share of each lead are drawn
alike for every class, and distractors are made of the same slow and fast swings by themselves, of humps, steps and spikes.
"""

import numpy as np

from bitlens.data.numbers import Numbers
from bitlens.data.planted import Array, Mask, Planted

CLASSES = ("rising", "falling", "pressed", "stretched")
LEADS, LENGTH, RATE = 3, 512, 128.0
_SLOW, _FAST = 6.0, 18.0  # Hz
_LASTS = (0.5, 0.7)  # seconds
_APART = 12
"""Samples between two things at least."""


def planted_signal(rng: np.random.Generator) -> Planted:
    """Draw one signal with its class and the samples in which the waveform is."""
    label = int(rng.integers(len(CLASSES)))
    values = _ground(rng)
    taken = np.zeros(LENGTH, dtype=bool)
    mask = _placed(rng, values, taken, _waveform(rng, label))
    for _ in range(rng.integers(2, 5)):
        _placed(rng, values, taken, _distractor(rng))
    names = tuple(f"lead {number}" for number in range(1, LEADS + 1))
    return Planted(Numbers(values.astype(np.float32), "signal", names, RATE), label, mask)


def _ground(rng: np.random.Generator) -> Array:
    """Draw slow drift and noise, (LEADS, LENGTH)."""
    steps = np.linspace(0, LENGTH - 1, 7)
    drift = np.stack([np.interp(np.arange(LENGTH), steps, rng.normal(0, 0.3, steps.size)) for _ in range(LEADS)])
    grounded: Array = drift + rng.normal(0, rng.uniform(0.1, 0.2), (LEADS, LENGTH))
    return grounded


def _placed(rng: np.random.Generator, values: Array, taken: Mask, shape: Array) -> Mask:
    """Add a shape where there is room for it, each lead's share drawn; nothing where there is none. Return where it is."""
    mask = np.zeros(LENGTH, dtype=bool)
    window = np.ones(len(shape) + 2 * _APART)
    free = np.flatnonzero(np.convolve(taken, window, "valid") < 0.5) + _APART
    if not free.size:
        return mask
    start = int(rng.choice(free))
    mask[start : start + len(shape)] = True
    taken |= mask
    values[:, mask] += rng.uniform(0.6, 1.2, (LEADS, 1)) * rng.choice([-1, 1], (LEADS, 1)) * shape
    return mask


def _swings(rate: Array | float, seconds: float, rng: np.random.Generator) -> Array:
    """Return swings of a rate in Hz, of (samples,) or of each sample, that begin and end softly."""
    samples = round(seconds * RATE)
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(rate, samples)) / RATE + rng.uniform(0, 2 * np.pi)
    edge = np.minimum(np.arange(samples), np.arange(samples)[::-1])
    soft: Array = np.sin(phase) * np.clip((edge + 1) / 4, 0, 1)
    return soft


def _waveform(rng: np.random.Generator, label: int) -> Array:
    """Return slow and fast swings in the order of a class."""
    seconds = rng.uniform(*_LASTS)
    slow, fast = _SLOW * rng.uniform(0.9, 1.1), _FAST * rng.uniform(0.9, 1.1)
    order = ((slow, fast), (fast, slow), (fast, slow, fast), (slow, fast, slow))[label]
    samples = round(seconds * RATE)
    return _swings(np.array([order[i * len(order) // samples] for i in range(samples)]), seconds, rng)


def _distractor(rng: np.random.Generator) -> Array:
    """Return something that a waveform is made of, by itself, or something else."""
    seconds = rng.uniform(0.2, 0.6)
    t = np.linspace(-1, 1, round(seconds * RATE))
    others = (
        lambda: _swings(_SLOW * rng.uniform(0.9, 1.1), seconds, rng),
        lambda: _swings(_FAST * rng.uniform(0.9, 1.1), seconds, rng),
        lambda: np.exp(-6 * t**2),
        lambda: np.where(np.abs(t) < 0.9, 1.0, 0.0),
        lambda: np.exp(-40 * t**2) - 0.5 * np.exp(-40 * (t - 0.4) ** 2),
    )
    made: Array = others[rng.integers(len(others))]()
    return made
