"""Signals from files: .npy (T,) or (C, T), .csv with a column for each channel, .wav, and .flac and other sounds by soundfile."""

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bitlens.data.arrow_tables import columns_of, opened
from bitlens.data.numbers import MOST, Array, Floats, Numbers, as_floats
from bitlens.errors import DataError
from bitlens.system.arrays import read_any_array
from bitlens.system.optional import need

_TIMES = ("time", "t", "seconds", "time [s]", "time (s)")


def read_signal(file: Path, suffix: str, rate: float | None) -> Numbers:
    """Read a signal.

    Args:
        file: it is there.
        suffix: what its name ends in.
        rate: samples per second, where the file does not say it.

    Raises:
        DataError: if the file says another rate.
        DependencyError: if its format needs a package that is not installed.
        ValueError: if it is damaged, too large, or holds something else.
    """
    return _with_rate(_READERS.get(suffix, _sound)(file), rate, file)


def _with_rate(found: Numbers, rate: float | None, file: Path) -> Numbers:
    if rate is None or found.rate is None or abs(rate - found.rate) <= 1e-3 * rate:
        return Numbers(found.values, "signal", found.names, found.rate if rate is None else rate)
    raise DataError(
        f"{file} has {found.rate:g} samples per second, not {rate:g}: leave the rate out, or resample the file"
    )


def _channels_first(values: Array) -> Array:
    values = values[None] if values.ndim == 1 else values
    if values.ndim != 2:
        raise ValueError(f"it has shape {values.shape}, expected (T,) or (C, T)")
    if values.shape[0] > values.shape[1]:
        raise ValueError(
            f"it has {values.shape[0]} channels of {values.shape[1]} samples: save it transposed, channels first"
        )
    return values


def _npy_signal(file: Path) -> Numbers:
    return Numbers(as_floats(_channels_first(read_any_array(file, MOST))), "signal")


def _csv_signal(file: Path) -> Numbers:
    names, columns = columns_of(opened(file))
    time = next((number for number, name in enumerate(names) if name.strip().lower() in _TIMES), None)
    kept = [number for number in range(len(names)) if number != time]
    if not kept:
        raise ValueError("it has a column of times alone")
    values = np.stack([columns[number] for number in kept])
    return Numbers(
        as_floats(values),
        "signal",
        tuple(names[n] for n in kept),
        _rate_of(columns[time]) if time is not None else None,
    )


def _rate_of(times: Array) -> float:
    steps = np.diff(times.astype(np.float64))
    if not len(steps) or not np.isfinite(steps).all() or steps.min() <= 0 or np.ptp(steps) > 0.02 * steps.mean():
        raise ValueError("its times are not evenly spaced: resample it, or leave out the column of times")
    return float(1 / steps.mean())


def _wav(file: Path) -> Numbers:
    try:
        with wave.open(str(file), "rb") as sound:
            channels, width, rate, count = (
                sound.getnchannels(),
                sound.getsampwidth(),
                sound.getframerate(),
                sound.getnframes(),
            )
            if count * channels > MOST:
                raise ValueError(f"it says that it has {count} samples, more than are read")
            content = sound.readframes(count)
    except wave.Error as error:
        if "unknown format" not in str(error):
            raise ValueError(str(error)) from error
        return _sound(file)  # floats and compressed sound, which Python itself does not read
    if rate < 1 or not content or len(content) % (width * channels):
        raise ValueError("it is empty or cut short")
    return Numbers(_pcm(content, width).reshape(-1, channels).T.copy(), "signal", rate=float(rate))


def _pcm(content: bytes, width: int) -> Floats:
    """Return whole numbers of so many bytes as parts of the largest."""
    if width == 1:
        return (np.frombuffer(content, np.uint8).astype(np.float32) - 128) / np.float32(128)
    bytes_each = np.frombuffer(content, np.uint8).reshape(-1, width)
    wide = np.zeros((len(bytes_each), 4), np.uint8)  # the highest bytes of 32 bits, little-endian
    wide[:, 4 - width :] = bytes_each
    parts: Floats = wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
    return parts


def _sound(file: Path) -> Numbers:
    soundfile = need("soundfile", "signals")
    try:
        about = soundfile.info(str(file))
        if about.frames * about.channels > MOST:
            raise ValueError(f"it says that it has {about.frames} samples, more than are read")
        values, rate = soundfile.read(str(file), dtype="float32", always_2d=True)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    return Numbers(np.ascontiguousarray(values.T), "signal", rate=float(rate))


_READERS: dict[str, Callable[[Path], Numbers]] = {".npy": _npy_signal, ".csv": _csv_signal, ".wav": _wav}
