"""An attribution as its file holds it, in arrays of NumPy: what reads it and looks at it does not wait for torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from bitlens.core.floor import share_error, share_kept, span
from bitlens.core.told import BYPASSED
from bitlens.system.arrays import read_plain_arrays
from bitlens.system.checks import array, exactly, mapping, number, text, texts, whole_number, yes_or_no
from bitlens.system.reading import parsed, whole

FORMAT = "bitlens.attribution/1"
_FLOATS = ("float32", "float64")
_ROUNDING = 1e-3
_CURVE = ("curve.kept", "curve.bits", "curve.maps")
_SPREAD = ("spread.std", "spread.agreed")
_DIMENSIONS = {
    "total_bits": 1,
    "total_against": 1,
    "extra_bits": 2,
    "curve.kept": 2,
    "curve.bits": 2,
    "spread.agreed": 1,
    "class_kept": 1,
}
Array: TypeAlias = npt.NDArray[Any]
Part = TypeVar("Part", bound=Any)


@dataclass(frozen=True, eq=False)
class StoredEvidence:
    """Evidence as it was stored: what the network said of the target; see `Evidence`."""

    before: Array
    under_noise: Array
    under_noise_std: Array
    measure: str
    noise_samples: int
    floor: Array | None = None
    floor_std: Array | None = None
    floor_error: Array | None = None
    under_noise_error: Array | None = None
    bypass_allowed: bool = False
    two_sided: bool = False

    @property
    def caveat(self) -> str:
        """Return what must be known of the numbers, or nothing."""
        return BYPASSED if self.bypass_allowed else ""

    @property
    def kept(self) -> Array:
        """(N,) how much of the target the map holds, NaN where nothing was needed; see `Evidence.kept`."""
        if self.floor is None or self.floor_error is None:
            return np.full_like(self.before, np.nan)
        return share_kept(self.before, self.under_noise, self.floor, self.floor_error, self._spreads)

    @property
    def kept_error(self) -> Array:
        """(N,) standard error of what is kept, NaN where it is not known; see `Evidence.kept_error`."""
        if self.floor is None or self.floor_error is None or self.under_noise_error is None:
            return np.full_like(self.before, np.nan)
        wide = span(self.before, self.floor, self._spreads and self._spreads[1])
        return share_error(wide, self.kept, self.under_noise_error, self.floor_error)

    @property
    def _spreads(self) -> tuple[Array, Array] | None:
        return (self.under_noise_std, self.floor_std) if self.two_sided and self.floor_std is not None else None


@dataclass(frozen=True, eq=False)
class StoredCurve:
    """Curve as it was stored: bits against shares of the target; see `Curve`."""

    kept: Array
    bits: Array
    maps: Array


@dataclass(frozen=True, eq=False)
class StoredSpread:
    """Spread as it was stored: how far maps of other seeds differ; see `Spread`."""

    std: Array
    agreed: Array
    seeds: int
    top: float


_KINDS: dict[str, type] = {"evidence": StoredEvidence, "curve": StoredCurve, "spread": StoredSpread}


@dataclass(frozen=True, eq=False)
class StoredMap:
    """One map for each of N samples, with all that `Attribution` tells of them under the same names."""

    map: Array
    unit: str
    method: str
    targets: tuple[str, ...]
    settings: Mapping[str, Any]
    model: str
    layer: str
    version: str
    total_bits: Array | None = None
    extra_bits: Array | None = None
    cells: Array | None = None
    capacity: Array | None = None
    evidence: StoredEvidence | None = None
    curve: StoredCurve | None = None
    spread: StoredSpread | None = None
    against: Array | None = None
    total_against: Array | None = None
    class_kept: Array | None = None

    @property
    def signed(self) -> bool:
        """Say whether bits against the answer are counted below zero."""
        return self.against is not None

    @property
    def keeps_class(self) -> bool | None:
        """True if the first sample keeps its class, where that was guaranteed of most like it."""
        return bool(self.class_kept[0]) if self.class_kept is not None else None

    def __len__(self) -> int:
        return len(self.map)

    def __getitem__(self, index: int) -> "StoredMap":
        """Return what is told of one sample, still with N = 1."""
        return _sliced(self, slice(index, index + 1))

    @classmethod
    def load(cls, path: str | Path) -> "StoredMap":
        """Read what `Attribution.save` wrote.

        Raises:
            DataError: if the file is missing, damaged, or holds something else; if a part of it is of another type or shape, not
                finite, out of range, or does not agree with the others.
        """
        arrays, metadata = read_plain_arrays(path, "an attribution", lambda m: m.get("format") == FORMAT)
        with whole(path, "a whole attribution", "make it again"):
            parts, found = _parts(arrays, mapping(parsed(metadata["details"]), "details"))
            parts |= {name: _KINDS[name](**one) if one is not None else None for name, one in found.items()}
            return cls(**parts)


def _sliced(part: Part, index: slice) -> Part:
    """Cut all arrays of a part, those of its parts, and the targets."""
    chosen = {f.name: getattr(part, f.name) for f in fields(part)}
    cut = {name: value[index] for name, value in chosen.items() if isinstance(value, np.ndarray) or name == "targets"}
    inner = {name: _sliced(value, index) for name, value in chosen.items() if name in _KINDS and value is not None}
    return replace(part, **cut, **inner)


def _parts(
    arrays: Mapping[str, Array], details: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, dict[str, Any] | None]]:
    """Take an attribution's fields as they were stored, and those of its evidence, curve and spread, None where it has none.

    Raises:
        ValueError: if a part is missing, of another type or shape, not finite, out of range, or disagrees with the others.
    """
    words = {name: text(details[name], name) for name in ("unit", "method", "model", "layer", "version")}
    targets, settings = texts(details["targets"], "targets"), mapping(details["settings"], "settings")
    spread = ("spread",) if "spread" in details else ()
    exactly(details, (*words, "targets", "settings", "evidence", *spread), "the details")
    if "guaranteed" in settings:
        _check_promise(mapping(settings["guaranteed"], "guaranteed"), settings)
    count, unit, signed = len(targets), words["unit"], {"against", "total_against"} & arrays.keys()
    least = -math.inf if unit == "score" or signed else -_ROUNDING
    tensors = {"map": array(arrays, "map", _FLOATS, least=least, most=1 + _ROUNDING if unit == "mask" else math.inf)}
    if not count or not tensors["map"].size or not 2 <= tensors["map"].ndim <= 4:
        raise ValueError(f"map has the shape {tuple(tensors['map'].shape)}, expected (samples, places)")
    others = arrays.keys() - {"map"} - {name for name in arrays if name.startswith("evidence.")}
    tensors |= _others(arrays, sorted(others), least, spread=bool(spread))
    if signed and (len(signed) < 2 or tensors["against"].shape != tensors["map"].shape):
        raise ValueError(
            "a signed map has what is against the answer, in each place and in all, and here that is not whole"
        )
    wrong = [name for name, tensor in tensors.items() if not tensor.ndim or len(tensor) != count]
    if wrong:
        raise ValueError(f"there are {count} targets, but {wrong[0]} has the shape {tuple(tensors[wrong[0]].shape)}")
    curve: dict[str, Any] = {name.partition(".")[2]: tensors.pop(name) for name in _CURVE if name in tensors}
    differs: dict[str, Any] = {name.partition(".")[2]: tensors.pop(name) for name in _SPREAD if name in tensors}
    if spread:
        if differs["std"].shape != tensors["map"].shape:
            raise ValueError(
                f"spread.std has the shape {tuple(differs['std'].shape)}, the map {tuple(tensors['map'].shape)}"
            )
        differs |= _of_spread(mapping(details["spread"], "spread"))
    parts = {
        "evidence": _evidence(arrays, details["evidence"], count),
        "curve": curve or None,
        "spread": differs or None,
    }
    return {**tensors, **words, "targets": targets, "settings": settings}, parts


def _others(arrays: Mapping[str, Array], names: Sequence[str], least: float, *, spread: bool) -> dict[str, Array]:
    """Take the arrays beside the map and the evidence; `least` is that of the map's own values."""
    curve = {name for name in names if name.startswith("curve.")}
    exactly(curve, _CURVE if "curve.kept" in names else (), "the curve")
    exactly({name for name in names if name.startswith("spread.")}, _SPREAD if spread else (), "the spread")
    found = dict[str, Array]()
    for name in names:
        if name not in (*_DIMENSIONS, "cells", "capacity", "against", *_CURVE, *_SPREAD):
            raise ValueError(f"an array {name!r} belongs to no attribution")
        most = 1 + _ROUNDING if name in ("spread.agreed", "class_kept") else math.inf
        found[name] = array(arrays, name, _FLOATS, least=-_ROUNDING if name != "cells" else least, most=most)
        if found[name].ndim != _DIMENSIONS.get(name, found[name].ndim):
            raise ValueError(f"{name} has the shape {tuple(found[name].shape)}")
    return found


def _check_promise(found: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    exactly(found, ("level", "inputs", "noises"), "the numbers of the guarantee")
    if not 0 < number(found["level"], "level") < 1:
        raise ValueError(f"level is {found['level']!r}, expected a share above 0 and below 1")
    for name in ("inputs", "noises"):
        whole_number(found[name], name, least=1)
    number(settings["bits"], "bits", least=0)


def _of_spread(details: Mapping[str, Any]) -> dict[str, Any]:
    exactly(details, ("seeds", "top"), "the details of the spread")
    top = float(number(details["top"], "top", least=0))
    if not 0 < top < 1:
        raise ValueError(f"top is {top}, expected a share above 0 and below 1")
    return {"seeds": whole_number(details["seeds"], "seeds", least=2), "top": top}


def _evidence(arrays: Mapping[str, Array], details: Any, count: int) -> dict[str, Any] | None:
    held = {name.removeprefix("evidence.") for name in arrays if name.startswith("evidence.")}
    if details is None:
        exactly(held, (), "the numbers of the evidence")
        return None
    error = ("under_noise_error",) if "under_noise_error" in held else ()  # files before 0.2 do not tell it
    names = ("before", "under_noise", "under_noise_std", *error)
    known = mapping(details, "evidence")
    counted = "floor_samples" in known  # one number for all samples, in files that do not say the error of each
    floor = ("floor", "floor_std", *(() if counted else ("floor_error",))) if counted or "floor" in held else ()
    exactly(held, (*names, *floor), "the numbers of the evidence")  # version 0.1 did not measure the floor
    said = {name: name in known and yes_or_no(known[name], name) for name in ("bypass_allowed", "two_sided")}
    further = [name for name in ("floor_samples", *said) if name in known]  # each only where there is one
    exactly(known, ("measure", "noise_samples", *further), "the details of the evidence")
    measure = text(known["measure"], "measure", ("probability", "score"))
    low, high = (-_ROUNDING, 1 + _ROUNDING) if measure == "probability" else (-math.inf, math.inf)
    bounds = {name: (0.0, high) if name.endswith(("_std", "_error")) else (low, high) for name in (*names, *floor)}
    proof = {
        name: array(arrays, f"evidence.{name}", _FLOATS, (count,), least=least, most=most)
        for name, (least, most) in bounds.items()
    }
    if counted:
        proof["floor_error"] = (
            proof["floor_std"] / whole_number(known["floor_samples"], "floor_samples", least=1) ** 0.5
        )
    return {
        **proof,
        "measure": measure,
        "noise_samples": whole_number(known["noise_samples"], "noise_samples", least=1),
        **said,
    }
