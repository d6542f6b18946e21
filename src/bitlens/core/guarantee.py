"""A guarantee over inputs: with how many bits a share of all inputs like those it was made from keep their class."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitlens.core.conformal import check_level, least_count, quantile
from bitlens.core.promise import Promise
from bitlens.core.statistics import Provenance
from bitlens.core.stored import guarantee_parts
from bitlens.errors import InputError, SettingError
from bitlens.system.arrays import read_arrays, write_arrays
from bitlens.system.checks import mapping
from bitlens.system.reading import parsed, whole

_FORMAT = "bitlens.guarantee/1"
LEVELS = (0.9, 0.95, 0.99)


@dataclass(frozen=True, eq=False)
class Guarantee:
    """Bits that inputs need to keep their class, and thereby those that a new one needs.

    An input is kept by a budget if the mean of the network's answers (probabilities) under `noises` noises names its class. What
    it needs is the smallest budget from which on all larger ones keep it.

    Attributes:
        method: its name in `bitlens.methods`.
        settings: of the method.
        budgets: (m,) bits that were tried, rising, float64.
        needed: (n,) the place of what each input needs among the budgets; m where none keeps it. In the order of the inputs.
        noises: K, under how many at once the network was asked.
        asked: "predicted" for each input's predicted class, "given" for classes that were named.
        inputs: a fingerprint of each, or nothing.
        levels: shares of inputs that people are told of; the first is that of maps.
        provenance: network, weights, layer, data, preprocessing and version.
    """

    method: str
    settings: Mapping[str, Any]
    budgets: Tensor
    needed: Tensor
    noises: int
    asked: str
    inputs: tuple[str, ...] = ()
    levels: tuple[float, ...] = LEVELS
    provenance: Provenance = field(default_factory=Provenance)

    def __len__(self) -> int:
        return len(self.needed)

    @property
    def bits(self) -> Tensor:
        """(n,) bits that each input needs, infinite where no budget keeps it."""
        return torch.cat([self.budgets, self.budgets.new_tensor([math.inf])])[self.needed]

    def budget(self, level: float) -> float:
        """Return with how many bits a share of inputs keep their class; infinite if nothing can be said."""
        return quantile(self.bits, check_level(level))

    def at(self, level: float) -> "Guarantee":
        """Return the same for maps with another share of inputs."""
        return replace(self, levels=(check_level(level), *(one for one in self.levels if one != level)))

    @property
    def promise(self) -> Promise:
        """The sentence that maps carry, at the first level.

        Raises:
            SettingError: if there are too few inputs for it, or too many of them keep their class with no budget.
        """
        level, count = self.levels[0], len(self)
        bits = self.budget(level)
        if bits < math.inf:
            return Promise(level, count, self.noises, bits)
        if count < least_count(level):
            raise SettingError(
                f"nothing can be guaranteed for {100 * level:.4g} % of inputs from {count}: {least_count(level)} are needed; "
                "calibrate with more, or choose a lower level"
            )
        lost = int((self.needed == len(self.budgets)).sum())
        raise SettingError(
            f"nothing can be guaranteed for {100 * level:.4g} % of inputs: {lost} of {count} do not keep their class with any "
            f"budget up to {float(self.budgets[-1]):,.0f} bits; choose a lower level, or another layer"
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain mapping for each level: bits (None if nothing can be said) and how many inputs it takes."""
        found = [(level, self.budget(level)) for level in self.levels]
        return [
            {"level": level, "bits": bits if bits < math.inf else None, "least_inputs": least_count(level)}
            for level, bits in found
        ]

    def with_more(self, needed: Tensor, inputs: Sequence[str] = ()) -> "Guarantee":
        """Return the same from further inputs as well.

        Raises:
            InputError: if only some of the inputs have fingerprints.
        """
        known = (*self.inputs, *inputs)
        if known and len(known) != len(self) + len(needed):
            raise InputError(
                f"{len(known)} fingerprints for {len(self) + len(needed)} inputs: give one for each, or none"
            )
        return replace(self, needed=torch.cat([self.needed, needed]), inputs=known)

    def differences(self, method: str, layer: str, weights: str, settings: Mapping[str, Any]) -> list[str]:
        """Tell in what a method differs from the one that this was made with; nothing if it is the same."""
        known = self.provenance
        pairs: list[tuple[str, Any, Any]] = [
            ("method", self.method, method),
            ("layer", known.layer, layer),
            ("weights", known.weights, weights),
        ]
        plain = json.loads(json.dumps(settings))
        names = sorted(self.settings.keys() | plain.keys())
        pairs += [(name, self.settings.get(name), plain.get(name)) for name in names]
        return [f"{name} was {was!r}, is {now!r}" for name, was, now in pairs if was != now]

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all."""
        names = ("method", "settings", "noises", "asked", "inputs", "levels")
        details = {name: getattr(self, name) for name in names}
        metadata = {
            "format": _FORMAT,
            "details": json.dumps(details),
            "provenance": json.dumps(asdict(self.provenance)),
        }
        write_arrays(path, {"budgets": self.budgets, "needed": self.needed.double()}, metadata)

    @classmethod
    def load(cls, path: str | Path) -> "Guarantee":
        """Read what `save` wrote.

        Raises:
            DataError: if the file is missing, damaged, or holds something else; if a part of it is of another type or shape, not
                finite, out of range, or does not agree with the others.
        """
        arrays, metadata = read_arrays(path, "a guarantee", lambda m: m.get("format") == _FORMAT)
        with whole(path, "a whole guarantee", "make a new one with `bitlens calibrate`"):
            parts = guarantee_parts(arrays, mapping(parsed(metadata["details"]), "details"))
            return cls(**parts, provenance=Provenance.parsed(metadata["provenance"]))
