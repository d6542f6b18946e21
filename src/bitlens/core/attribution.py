"""The result of explaining: a map with its unit, the evidence for it, and everything needed to make it again."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitlens.core import shown
from bitlens.core.evidence import Curve, Evidence, Spread
from bitlens.core.promise import Promise
from bitlens.core.seen import Seen
from bitlens.core.stored_map import FORMAT, StoredMap
from bitlens.core.told import aim_of, ends, listed, share_asked
from bitlens.errors import InputError, NotFiniteError
from bitlens.system.arrays import write_arrays

_SAME = 1e-4  # shares that differ by rounding
_NAMES = {
    "total_bits": "total bits",
    "extra_bits": "bits beside the map",
    "evidence.under_noise": "evidence under noise",
}


_PARTS: dict[str, type] = {"evidence": Evidence, "curve": Curve, "spread": Spread}


@dataclass(frozen=True, eq=False)
class Attribution:
    """One map for each of N samples.

    Attributes:
        map: (N, H, W) for images, (N, T) for tokens, (N, D) for vectors; float32, on the CPU. Of a signed one, what speaks for
            the answer less what speaks against it.
        unit: "bits/pixel", "bits/cell", "bits/token", "bits/feature", "bits gained/…" of what is told of an answer's odds, "mask"
            (a share in [0, 1]), or "score" for methods without a unit.
        method: its name in `bitlens.methods`.
        targets: one text per sample, what was asked.
        settings: every setting of the method, seed included.
        model: the network's class or name.
        layer: dotted name of the restricted layer, empty for methods without one.
        total_bits: (N,) all information that passes the layer, for methods that measure it.
        extra_bits: (N, E) what of it passes by tokens that are no place of the image (class token, registers): no pixel of the
            map shows it.
        evidence: how the prediction fares under the noise, for methods that use noise.
        cells: (N, h, w), (N, T) or (N, D) bits per cell of the layer's own grid, summed over channels, not resized; signed as the
            map is.
        capacity: bits of every single feature of the layer, (N, ...), if it was asked for.
        curve: bits against the share of the target that is kept, if it was asked for.
        spread: how far maps of other seeds differ, if it was asked for.
        against: (N, ...) of signed maps, what speaks against the answer in each place, like the map without signs; `for_` is the
            rest.
        total_against: (N,) bits of it, as `total_bits` are those for the answer.
        class_kept: (N,) of maps with a guarantee 1 where this input keeps its class with so many bits, 0 where it is one of those
            that do not, under noise of its own.
        version: of bitlens.
        seen: what a person sees of each input, where `bitlens.explain` was given it; never saved.
    """

    map: Tensor
    unit: str
    method: str
    targets: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    layer: str = ""
    total_bits: Tensor | None = None
    extra_bits: Tensor | None = None
    evidence: Evidence | None = None
    cells: Tensor | None = None
    capacity: Tensor | None = None
    curve: Curve | None = None
    spread: Spread | None = None
    against: Tensor | None = None
    total_against: Tensor | None = None
    class_kept: Tensor | None = None
    version: str = ""
    seen: tuple[Seen, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse maps and evidence that are not finite: a map of NaN would be drawn as one of nothing.

        Raises:
            NotFiniteError: names the part and the sample.
        """
        for name, tensor in self._tensors().items():
            NotFiniteError.refuse(f"the {_NAMES.get(name, name)} of {self.method}", tensor)

    @property
    def holds(self) -> Tensor | None:
        """(N,) whether each map holds the share of the target that was asked for; None where none was, or without evidence.

        It is measured under noise that the map was not found with. Where nothing was needed, a map holds.
        """
        asked = share_asked(self.settings)
        if asked is None or self.evidence is None:
            return None
        kept = self.evidence.kept
        return kept.isnan() | (kept >= asked - _SAME)

    @property
    def signed(self) -> bool:
        """Say whether bits against the answer are counted below zero."""
        return self.against is not None

    @property
    def for_(self) -> Tensor:
        """(N, ...) the map of what speaks for the answer alone."""
        return self.map if self.against is None else self.map + self.against

    def less(self, against: Tensor, total: Tensor, cells: Tensor | None) -> "Attribution":
        """Return the signed map: this one of what speaks for an answer, less what speaks against it.

        Args:
            against: (N, ...) like the map.
            total: (N,) bits of it.
            cells: (N, ...) bits of it on the layer's own grid, where the map has such.
        """
        own = self.cells if self.cells is None or cells is None else self.cells - cells.cpu()
        there = against.cpu()
        return replace(self, map=self.map - there, against=there, total_against=total.cpu(), cells=own)

    def __len__(self) -> int:
        return len(self.map)

    def __getitem__(self, index: int | slice) -> "Attribution":
        """Return the attribution of one sample (still with N = 1) or of several."""
        if isinstance(index, int):
            index = range(len(self))[index]
            index = slice(index, index + 1)
        chosen = {name: tensor[index] for name, tensor in self._tensors().items()}
        return replace(
            self._with(chosen, self.targets[index]), seen=self.seen[index] if self.seen is not None else None
        )

    def __repr__(self) -> str:
        """Say in five lines at most what was found; no tensors."""
        size = " x ".join(map(str, self.map.shape[1:]))
        maps = f"{len(self)} maps" if len(self) != 1 else "1 map"
        where = f" at {self.layer}" if self.layer else ""
        of = f" of {self.model}" if self.model else ""
        aim = aim_of(self.settings)
        lines = [
            f"Attribution: {maps} of {size} in {self.unit}",
            f"  {self.method}{where}{of}{f', {aim}' if aim else ''}",
            f"  target{'s' if len(self) != 1 else ''} {listed(self.targets)}",
        ]
        if self.total_bits is not None and len(self):
            against = (
                f" for it, {ends(self.total_against, ',.0f')} against"
                if self.total_against is not None
                else " in total"
            )
            lines.append(f"  {ends(self.total_bits, ',.0f')} bits{against}")
        proof = self.evidence
        if proof is not None and len(self):
            kept = proof.kept[proof.kept.isfinite()]
            held = f", {ends(kept, '.2f')} of the decision held" if len(kept) else ""
            failing = 0 if self.holds is None else int((~self.holds).sum())
            held += f"; {failing} of {len(self)} do not hold what was asked for" if failing else ""
            before, under = ends(proof.before, ".2f"), ends(proof.under_noise, ".2f")
            lines.append(f"  {proof.measure} {before}, with everything else under noise {under}{held}")
        return "\n".join(lines)

    def _tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name; those of the evidence as evidence.NAME, of the curve as curve.NAME, and so on."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in _PARTS:
            part = tensors[name]
            if part is not None:
                tensors |= {f"{name}.{f.name}": getattr(part, f.name) for f in fields(part)}
        return {name: value for name, value in tensors.items() if isinstance(value, Tensor)}

    def _with(self, tensors: Mapping[str, Tensor], targets: tuple[str, ...]) -> "Attribution":
        own: dict[str, Any] = {name: value for name, value in tensors.items() if "." not in name}
        for part in _PARTS:
            given = {n.partition(".")[2]: value for n, value in tensors.items() if n.startswith(f"{part}.")}
            own[part] = replace(getattr(self, part), **given) if given else None
        return replace(self, targets=targets, **own)

    def _plain(self) -> dict[str, Any]:
        """Return all that is no tensor and is kept in files, by name, and what the evidence is."""
        left_out = {*self._tensors(), *_PARTS, "seen"}
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in left_out}
        if self.spread is not None:
            plain["spread"] = {"seeds": self.spread.seeds, "top": self.spread.top}
        proof = self.evidence
        if proof is None:
            return plain | {"evidence": None}
        said = {"measure": proof.measure, "noise_samples": proof.noise_samples}
        flags = {name: True for name in ("bypass_allowed", "two_sided") if getattr(proof, name)}
        return plain | {"evidence": said | flags}

    def _differences(self, other: "Attribution") -> set[str]:
        """Return names of what differs, samples aside."""
        mine, theirs = (
            part._plain() | {name: tensor.shape[1:] for name, tensor in part._tensors().items()}
            for part in (self, other)
        )
        return {name for name in {*mine, *theirs} - {"targets"} if mine.get(name) != theirs.get(name)}

    @staticmethod
    def join(parts: Sequence["Attribution"]) -> "Attribution":
        """Return the attributions of several batches as one; they must come from the same method with the same settings.

        Raises:
            InputError: if there is none, or they differ in anything but their samples.
        """
        if not parts:
            raise InputError("there is no attribution to join")
        different = {name for part in parts for name in part._differences(parts[0])}
        if different:
            raise InputError(f"attributions cannot be joined that differ in: {', '.join(sorted(different))}")
        names = parts[0]._tensors()
        joined = {name: torch.cat([part._tensors()[name] for part in parts]) for name in names}
        seen = [one for part in parts for one in part.seen or ()]
        whole = parts[0]._with(joined, tuple(text for part in parts for text in part.targets))
        return replace(whole, seen=tuple(seen) if len(seen) == len(whole) else None)

    @property
    def promise(self) -> Promise | None:
        """The guarantee over all inputs like these with so many bits, if the map was made with a guarantee."""
        return Promise.of(self.settings)

    @property
    def keeps_class(self) -> bool | None:
        """True if the first sample keeps its class, where that was guaranteed of most like it."""
        return bool(self.class_kept[0]) if self.class_kept is not None else None

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all; `load` gives back the very same numbers."""
        details = {name: value for name, value in self._plain().items() if value is not None or name == "evidence"}
        metadata = {"format": FORMAT, "details": json.dumps(details)}
        arrays = {name: value.clone() for name, value in self._tensors().items()}  # safetensors refuses shared memory
        write_arrays(path, arrays, metadata)

    @classmethod
    def load(cls, path: str | Path) -> "Attribution":
        """Read what `save` wrote.

        Raises:
            DataError: if the file is missing, damaged, or holds something else; if a part of it is of another type or shape, not
                finite, out of range, or does not agree with the others.
        """
        stored = StoredMap.load(path)
        held = _as_tensors(stored)
        parts = {name: _as_tensors(held[name]) if held[name] is not None else None for name in _PARTS}
        return cls(
            **{**held, **{name: _PARTS[name](**one) if one is not None else None for name, one in parts.items()}}
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows: each input beside its map where it is known, with unit, totals and evidence."""
        return shown.html(self)

    def show(self, images: Any = None, *, spread: bool = False) -> Any:
        """Draw each input beside its map, with unit, colour bar and what was measured; texts with their tokens shaded.

        Args:
            images: the inputs, where `bitlens.explain` did not keep them: (N, C, H, W) as the network takes them, or pictures
                or files of pictures, as the network saw them.
            spread: whether to draw beside each map how far it differs from those of other seeds.

        Returns:
            A matplotlib figure: a notebook shows it, `savefig` writes it.

        Raises:
            InputError: if there are not as many images as maps, one has another aspect than its map, or no spread was measured.
        """
        return shown.figure(self, images, spread)

    def summary(self) -> list[dict[str, Any]]:
        """Return one plain mapping per sample, fit for JSON: target, unit, total bits, value before and under noise."""
        rows = []
        for i, target in enumerate(self.targets):
            row: dict[str, Any] = {"target": target, "method": self.method, "layer": self.layer, "unit": self.unit}
            row["max"] = float(self.map[i].max())
            if self.total_bits is not None:
                row["total_bits"] = float(self.total_bits[i])
            if self.total_against is not None:
                row |= {"signed": True, "total_against": float(self.total_against[i])}
            if self.extra_bits is not None:
                row["extra_bits"] = float(self.extra_bits[i].sum())
            if self.evidence is not None:
                proof = asdict(self.evidence)
                row[f"{self.evidence.measure}_before"] = float(proof["before"][i])
                row[f"{self.evidence.measure}_under_noise"] = float(proof["under_noise"][i])
                row[f"{self.evidence.measure}_under_noise_std"] = float(proof["under_noise_std"][i])
                if self.evidence.floor is not None:
                    kept = float(self.evidence.kept[i])
                    row[f"{self.evidence.measure}_floor"] = float(self.evidence.floor[i])
                    row["kept"] = kept if math.isfinite(kept) else None  # no number where nothing was needed
                    error = float(self.evidence.kept_error[i])
                    row |= {"kept_error": error} if math.isfinite(error) else {}
                if self.holds is not None:
                    row["holds"] = bool(self.holds[i])
                if self.evidence.bypass_allowed:
                    row["bypass_allowed"] = True
            if self.spread is not None:
                row |= {"seeds": self.spread.seeds, "top_agreed": float(self.spread.agreed[i])}
            if self.promise is not None:
                row |= {f"guaranteed_{name}": value for name, value in asdict(self.promise).items()}
                row["guarantee"] = str(self.promise)
            if self.class_kept is not None:
                row["class_kept"] = bool(self.class_kept[i])
            rows.append(row)
        return rows


def _as_tensors(stored: Any) -> dict[str, Any]:
    """Give what a stored part holds by name, arrays as tensors; nothing of no part."""
    held = {f.name: getattr(stored, f.name) for f in fields(stored)} if stored is not None else {}
    return {
        n: torch.from_numpy(np.require(v, requirements="W")) if isinstance(v, np.ndarray) else v
        for n, v in held.items()
    }
