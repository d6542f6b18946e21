"""Tables of docs/results/keep.md, from the rows that `benchmarks/keep.py` and `benchmarks/keep_texts.py` measured.

    python tools/held.py edgetpu.json mobilenet_v2.json

A file holds what was found of each input by each procedure. Quality is paired: a difference to the first procedure, or to a
named one.
"""

import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

One: TypeAlias = Mapping[str, float]
"""What was found of an input."""

SPAN = 0.02
"""Of a probability above the floor: with less there is nothing to keep."""

_SCORES = {"box": "box", "auc": "rank AUC", "degradation": "degradation", "removal": "removal"}
_PRICE = "price "
_COLUMNS: Mapping[str, Callable[[Sequence[One]], str]] = {
    "rows": lambda found: mean([one["rows"] - 1 for one in found], digits=1),  # one of them is the clean pass
    "bits": lambda found: f"{statistics.fmean(one['bits'] for one in found):,.0f}",
    "nothing needed": lambda found: str(len(found) - len(_held(found))),
    "≥ 0.9 kept": lambda found: _share(found, 0.9),
    "≥ 0.85": lambda found: _share(found, 0.85),
    "least": lambda found: f"{min(one['kept'] for one in _held(found)):.2f}",
    "mean to 1": lambda found: f"{statistics.fmean(one['capped'] for one in _held(found)):.3f}",
    "by the other noise": lambda found: (
        f"{statistics.fmean(min(max(one['other kept'], 0), 1) for one in _held(found)):.2f}"
    ),
}


def needs(one: One) -> bool:
    """Say whether the network needs to see anything of an input: else there is nothing to keep."""
    return one["before"] - one["floor"] > max(SPAN, 2 * one.get("floor error", 0.0))


def mean(values: Sequence[float], sign: str = "", digits: int = 3) -> str:
    """Return mean ± standard error."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else math.nan
    return f"{statistics.fmean(values):{sign}.{digits}f} ± {error:.{digits}f}".replace("-", "−")


class Held:
    """What was found of a network's maps.

    Attributes:
        name: of the network.
        inputs: those that every procedure has explained.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self._found: Mapping[str, Mapping[str, One]] = json.loads(path.read_text("utf-8"))
        self.inputs = sorted(set.intersection(*(set(rows) for rows in self._found.values())))
        self.procedures = [name for name in self._found if not name.startswith(_PRICE)]
        self.prices = [name for name in self._found if name.startswith(_PRICE)]

    def of(self, procedure: str) -> list[One]:
        """Return what a procedure gave for each input."""
        return [self._found[procedure][name] for name in self.inputs]

    @property
    def scores(self) -> list[str]:
        """Return the names of what is scored."""
        return [score for score in _SCORES if all(score in one for name in self.procedures for one in self.of(name))]

    def over_the_fewest(self, procedure: str) -> list[float]:
        """Return, for each input that needs anything, the bits of its map over the fewest with which some price keeps as much."""
        ratios = (self._over_the_fewest(procedure, number) for number in range(len(self.inputs)))
        return [ratio for ratio in ratios if math.isfinite(ratio)]

    def _over_the_fewest(self, procedure: str, number: int) -> float:
        one = self.of(procedure)[number]
        points = sorted((price["bits"], price["capped"]) for price in (self.of(name)[number] for name in self.prices))
        below, less = points[0][0], -math.inf
        for bits, kept in points if needs(one) else ():
            if kept >= one["capped"]:  # between two prices on a logarithmic scale
                share = (one["capped"] - less) / (kept - less) if math.isfinite(less) and kept > less else 1.0
                return one["bits"] / math.exp(math.log(below) + share * (math.log(bits) - math.log(below)))
            below, less = bits, kept
        return math.nan


def held_table(held: Sequence[Held], reference: str = "") -> str:
    """Return a line for each procedure of each network."""
    scores = held[0].scores
    lines = _head("network", "procedure", *_COLUMNS, *(_SCORES[score] for score in scores))
    for network in held:
        paired = network.of(reference or network.procedures[0])
        for number, procedure in enumerate(network.procedures):
            found = network.of(procedure)
            cells = [column(found) for column in _COLUMNS.values()]
            for score in scores:
                differences = [one[score] - other[score] for one, other in zip(found, paired, strict=True)]
                cells.append(mean(differences, "+") if any(differences) else "0")
            lines.append(_line(f"{network.name} ({len(network.inputs)})" if number == 0 else "", procedure, *cells))
    return "\n".join(lines)


def proof_table(held: Sequence[Held], keep: float = 0.9, least: float = 0.85) -> str:
    """Return what the proofs of maps are worth: those told as holding, how many of them do, and how far proofs err."""
    lines = _head(
        "network", "procedure", f"told as keeping {keep}", f"of these keep {least}", "mean error", "root mean square"
    )
    for network in held:
        for number, procedure in enumerate(network.procedures):
            found = [one for one in _held(network.of(procedure)) if "said" in one]
            told = [one for one in found if one["said"] >= keep]
            errors = [min(one["said"], 1.0) - one["capped"] for one in found]
            cells = [f"{len(told)} of {len(found)}", str(sum(one["kept"] >= least for one in told))]
            cells += [
                f"{statistics.fmean(errors):+.3f}",
                f"{statistics.fmean(error**2 for error in errors) ** 0.5:.3f}",
            ]
            lines.append(_line(network.name if number == 0 else "", procedure, *cells))
    return "\n".join(lines).replace("-0.", "−0.")


def fewest_table(held: Sequence[Held]) -> str:
    """Return for each procedure of each network how many bits its maps take over the fewest of a sweep of prices."""
    lines = _head("network", "procedure", "rows", "bits over the fewest", "median")
    for network in held:
        for number, procedure in enumerate(network.procedures):
            ratios = network.over_the_fewest(procedure)
            label = f"{network.name} ({len(ratios)})" if number == 0 else ""
            rows = _COLUMNS["rows"](network.of(procedure))
            lines.append(_line(label, procedure, rows, mean(ratios), f"{statistics.median(ratios):.3f}"))
    return "\n".join(lines)


def _held(found: Sequence[One]) -> list[One]:
    return [one for one in found if one["bits"] > 1e-3 and needs(one)]


def _share(found: Sequence[One], least: float) -> str:
    return f"{statistics.fmean(one['kept'] >= least for one in _held(found)):.3f}"


def _head(*names: str) -> list[str]:
    return [_line(*names), "|---" * len(names) + "|"]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    files = [Held(Path(name)) for name in sys.argv[1:]]
    print(held_table(files))
    if files[0].prices:
        print("", fewest_table(files), sep="\n")
