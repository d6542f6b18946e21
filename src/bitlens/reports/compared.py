"""Total bits at an equal share of the decision: networks, layers or inputs side by side, from the curves that explain left.

Total bits of two maps say little while they hold different shares; where both hold the same, fewer bits are needed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitlens.core.attribution import Attribution
from bitlens.errors import DataError
from bitlens.reports.found import read_results
from bitlens.view.card import Proof


@dataclass(frozen=True)
class Needed:
    """An input by what one curve says of it.

    Attributes:
        sample: the input's name.
        target: what was asked.
        layer: where bits pass.
        bits: that hold the share; None where the curve does not tell.
        reason: why it does not.
    """

    sample: str
    target: str
    layer: str
    bits: float | None
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """Bits at an equal share, a row for each input.

    Attributes:
        kept: the share.
        columns: what is compared: networks, layers, methods.
        rows: by input, what each column says of it; None where it does not know the input.
        problems: what could not be read, and why.
    """

    kept: float
    columns: Sequence[str]
    rows: Mapping[str, Sequence[Needed | None]]
    problems: Sequence[str] = ()

    @property
    def shared(self) -> list[list[float]]:
        """Return the bits of each column (rows) over the inputs of which all columns tell them."""
        told = [[one.bits for one in row if one is not None and one.bits is not None] for row in self.rows.values()]
        whole = [row for row in told if len(row) == len(self.columns)]
        return [[row[column] for row in whole] for column in range(len(self.columns))]

    def ratios(self) -> list[float]:
        """Return how many times the bits of the first column each needs, geometric means over shared inputs."""
        first, *_ = self.shared
        if not first or min(min(column) for column in self.shared) <= 0:
            return []
        logs = [[math.log(b / a) for a, b in zip(first, column, strict=True)] for column in self.shared]
        return [math.exp(sum(column) / len(column)) for column in logs]

    def plain(self) -> list[dict[str, Any]]:
        """Give plain values, one mapping for each input and column."""
        return [
            {"photo": sample, "column": column, **vars(one), "kept": self.kept}
            for sample, row in self.rows.items()
            for column, one in zip(self.columns, row, strict=True)
            if one is not None
        ]


def needed(found: Attribution, kept: float, sample: str = "", name: str = "") -> list[Needed]:
    """Read off how many bits hold a share of the decision, for each input of an attribution.

    Args:
        found: with a curve.
        kept: the share, above 0 and below 1.
        sample: what the input is called; of several, they are numbered.
        name: of the target, in place of the attribution's own.

    Raises:
        SettingError: if `kept` is no share.
    """
    bits = found.curve.bits_at(kept).tolist() if found.curve is not None else [math.nan] * len(found)
    rows = []
    for i, number in enumerate(bits):
        proof = Proof.of(found, i)
        idle = proof is not None and proof.idle
        reason = "no curve: explain with --curve" if found.curve is None else _unreached(found, i, kept)
        known = math.isfinite(number) and not idle
        said = "" if known else "nothing needed" if idle else reason
        called = sample if len(bits) == 1 else f"{sample}, sample {i + 1}".removeprefix(", ")
        rows.append(Needed(called, name or found.targets[i], found.layer, number if known else None, said))
    return rows


def _unreached(found: Attribution, sample: int, kept: float) -> str:
    assert found.curve is not None
    least, most = float(found.curve.kept[sample, 0]), float(found.curve.kept[sample, -1])
    return f"holds {most:.2f} at most" if most < kept else f"holds {least:.2f} at least"


def compare(places: Sequence[str | Path], kept: float = 0.9) -> Comparison:
    """Compare what explain left in folders, at an equal share of the decision: a row for each input, a column for each network.

    Args:
        places: folders that `bitlens explain --curve` wrote, or files NAME.safetensors; inputs are matched by the names of
            their files.
        kept: the share, above 0 and below 1.

    Raises:
        DataError: if a place holds no attributions, or none has a curve.
        SettingError: if `kept` is no share.
    """
    columns: dict[str, dict[str, Needed]] = {}
    problems: list[str] = []
    for place in map(Path, places):
        results = read_results(place)
        problems += results.problems
        found: dict[str, dict[str, Needed]] = {}
        for entry in (entry for group in results.groups for entry in group):
            try:
                attribution = Attribution.load(entry.path)
            except DataError as error:
                problems.append(str(error))
                continue
            if attribution.total_bits is None:
                continue  # methods without a unit
            label = str(entry.row.get("method") or attribution.method)
            told = needed(attribution, kept, Path(entry.sample).name, str(entry.row.get("name") or ""))
            found.setdefault(label, {}).update({one.sample: one for one in told})
        for label, known in found.items():
            columns[_called(place, label if len(found) > 1 else "", columns)] = known
    if not any(
        one.bits is not None or one.reason == "nothing needed" for known in columns.values() for one in known.values()
    ):
        raise DataError(
            f"no curve in {', '.join(map(str, places))} tells what holds {kept:g} of a decision: `bitlens explain … --curve` "
            "measures curves"
        )
    samples = dict.fromkeys(sample for known in columns.values() for sample in known)
    rows = {sample: [known.get(sample) for known in columns.values()] for sample in samples}
    return Comparison(kept, tuple(columns), rows, tuple(problems))


def _called(place: Path, label: str, taken: Mapping[str, Any]) -> str:
    """Name a column so that no two are alike."""
    names = [" ".join(filter(None, (name, label))) for name in (place.name or str(place), str(place))]
    free = [name for name in names if name not in taken]
    return free[0] if free else f"{names[1]} ({len(taken) + 1})"
